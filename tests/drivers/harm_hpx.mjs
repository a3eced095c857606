// The HPX clients of npm listening to what our server answers: node harm_hpx.mjs PACKAGE_FOLDER. Commands as in harm.mjs, and
//
//   connect  {port}   as a guest
//   refused  {port}   on a connection of its own, as somebody the server refuses: the words of it
//   quit     {}       waits until the server has ended the connection, whatever it says before: trouble as in harm.mjs
//
// Questions go out in messages of one to 128 calls. Only answers come on this wire.
import { createRequire } from 'node:module';
import path from 'node:path';
import { Heard } from './harm.mjs';
import { serve } from './lines.mjs';

const require = createRequire(path.join(path.resolve(process.argv[2]), 'package.json'));
const { Client } = require('happypandax-client');

const heard = new Heard();
const commands = heard.commands();
let client;

serve({
  ...commands,
  async connect({ port }) {
    client = new Client({ name: 'heard', host: '127.0.0.1', port });
    client.on?.('error', (e) => heard.trouble(`error event: ${e.message}`));
    await client.connect();
    await client.handshake({ user: null });
  },
  async refused({ port }) {
    const stranger = new Client({ name: 'stranger', host: '127.0.0.1', port });
    stranger.on?.('error', (e) => heard.trouble(`error event: ${e.message}`));
    await stranger.connect();
    try {
      await stranger.handshake({ user: 'nobody', password: 'wrong' });
    } catch (e) {
      return e.message;
    } finally {
      stranger.close();
    }
    throw new Error('it is let in');
  },
  async quit() {
    while (client.alive()) await new Promise((done) => { setImmediate(done); });
    return commands.trouble();
  },
  async ask({ count }) {
    const answers = [];
    while (answers.length < count) {
      const size = Math.min(count - answers.length, 1 + ((answers.length * 7) % 128));
      const calls = Array.from({ length: size }, (_, at) => ({ fname: 'question', n: answers.length + at }));
      const reply = await client.send(calls);
      if (reply.error || reply.data?.length !== size) throw new Error(`not an answer: ${JSON.stringify(reply).slice(0, 200)}`);
      for (const { data, error } of reply.data) answers.push(heard.digest('', error ? { error } : data));
    }
    return answers;
  },
  trouble: () => (client.alive() ? commands.trouble() : [...commands.trouble(), 'the connection has ended']),
});
