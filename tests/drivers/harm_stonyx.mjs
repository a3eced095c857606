// The independent Stonyx peers listening to what our ends send: node harm_stonyx.mjs PACKAGE_FOLDER, with the peers in its folder
// `stonyx-peers`. Commands as in harm.mjs, and
//
//   listen   {key, encryption}        a server on a free port: {port}
//   connect  {port, key, encryption}  a client
//
// A server answers every request with {"seq": n}, the number of the message. Answers have no ids: questions are asked one at a time.
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { Heard } from './harm.mjs';
import { serve } from './lines.mjs';

const peers = pathToFileURL(path.join(path.resolve(process.argv[2]), 'stonyx-peers/'));
const { PeerServer } = await import(new URL('lib-server.mjs', peers));
const { PeerClient } = await import(new URL('lib-client.mjs', peers));

const heard = new Heard();
const waiting = [];
let open = false;
let client;

const question = (n) => new Promise((resolve) => {
  waiting.push((value) => resolve(['', value]));
  client.send({ request: 'question', data: { n } });
});

const commands = heard.commands(question);

serve({
  ...commands,
  ask: ({ count }) => commands.ask({ count, inflight: 1 }),
  async listen({ key, encryption }) {
    const server = new PeerServer({ authKey: key, encryption });
    // Every name has a handler; over what every object has the original closes the connection.
    const answer = (name) => (data) => {
      if (name in Object.prototype) throw new TypeError(`${name} is no handler`);
      return { seq: heard.hear(name, data) };
    };
    server.handlers = { get: (name) => ({ fn: answer(name), skipAuth: false }) };
    server.on('disconnect', (_conn, code, reason) => heard.trouble(`closed: ${code} ${reason}`));
    server.on('rejected', () => heard.trouble('a login was rejected'));
    server.on('authenticated', () => { open = true; });
    return { port: await server.listen() };
  },
  async connect({ port, key, encryption }) {
    client = new PeerClient({ url: `ws://127.0.0.1:${port}`, authKey: key, encryption, heartBeatMs: 500 });
    client.on('message', (name, value) => {
      if (name === 'question') waiting.shift()(value);
      else heard.hear(name, value);
    });
    client.on('undecodable', (body) => heard.trouble(`undecodable: ${body.length} bytes`));
    client.on('close', (code, reason) => heard.trouble(`closed: ${code} ${reason}`));
    await client.connect();
    open = true;
  },
  connected: async () => { while (!open) await new Promise((later) => setImmediate(later)); },
});
