// The Sockhop 2.1 peer listening to what our ends send, strict as the original: what kills that ends this program with 70.
// node harm_sockhop21.mjs (no package). Commands as in harm.mjs, and
//
//   connect  {port, mode?}   as a client; `mode` as in the programs of peers/sockhop
//   listen   {}              as a server on a free port: {port}
//
// Callbacks are answered with {"seq": n}, the number of the message.
import { Peer } from '../peers/sockhop/peer.mjs';
import { Heard } from './harm.mjs';
import { serve } from './lines.mjs';

const heard = new Heard();
let link;

function peer(role, mode = 'binary') {
  const made = new Peer({ role, mode, crashLikeOriginal: true, crashOnError: true });
  const hear = (data, meta) => {
    const seq = heard.hear(meta.type, data);
    if (meta.callback) meta.callback({ seq }).catch((e) => heard.trouble(`an answer could not be sent: ${e.message}`));
  };
  made.on('receive', hear);
  made.on('receive:buffer', hear);
  made.on('error', (e) => heard.trouble(`error event: ${e.code} ${e.message}`));
  made.on('crash', (reason) => {
    process.stderr.write(`died as the original: ${reason}\n`);
    process.exit(70);
  });
  made.on('disconnect', () => heard.trouble('disconnected'));
  made.on('handshake', (open, ok) => { if (ok) link = open; else heard.trouble('the handshake failed'); });
  made.ping(1000);
  return made;
}

const question = (n) => new Promise((resolve, reject) => {
  link.send({ n }, (data, meta) => resolve([meta.type, data])).catch(reject);
});

serve({
  ...heard.commands(question),
  async connect({ port, mode }) { await peer('client', mode).start({ port }); },
  listen: async () => ({ port: await peer('server').listen() }),
  connected: async () => { while (!link) await new Promise((later) => setImmediate(later)); },
});
