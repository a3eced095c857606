// The independent Stonyx peers as ends: node ends_stonyx.mjs PACKAGE_FOLDER, with the peers in its folder `stonyx-peers`. Commands as
// in ends.mjs; `connect` takes `encryption` too, which is on by default.
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { TOLD, served } from './ends.mjs';
import { event, serve } from './lines.mjs';

const peers = pathToFileURL(path.join(path.resolve(process.argv[2]), 'stonyx-peers/'));
const { PeerServer } = await import(new URL('lib-server.mjs', peers));
const { PeerClient } = await import(new URL('lib-client.mjs', peers));

const waiting = new Map();
let server;
let client;

serve({
  async listen({ secret }) {
    server = new PeerServer({ authKey: secret });
    for (const name of ['echo', 'late', 'hang']) {
      server.on_(name, (data) => new Promise((answer) => served(name, data, answer)));
    }
    server.on_(TOLD, (data) => { event('told', { name: TOLD, data: data ?? null }); });
    server.on('authenticated', (conn) => {
      event('login', { shown: conn.meta });
      event('present');
    });
    return { port: await server.listen() };
  },
  push: ({ name, data }) => ({ told: server.broadcast(name, data) }),
  drop: () => { for (const { ws } of server.clients.values()) ws.terminate(); },
  async connect({ port, secret, encryption = true }) {
    client = new PeerClient({ url: `ws://127.0.0.1:${port}`, authKey: secret, encryption });
    client.on('message', (name, data) => {
      const answer = waiting.get(name);
      waiting.delete(name);
      if (answer) answer(data);
      else event('heard', { name, data });
    });
    client.on('close', (code, reason) => event('closed', { code, reason }));
    await client.connect();
  },
  call: ({ name, data }) => new Promise((resolve, reject) => {
    waiting.set(name, resolve);
    client.once('close', (code) => reject(new Error(`closed: ${code}`)));
    client.send({ request: name, data });
  }),
  emit: ({ name, data }) => client.send({ request: name, data }),
});
