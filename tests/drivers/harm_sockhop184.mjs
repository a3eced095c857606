// npm sockhop 1.8.4 listening to what our ends send: node harm_sockhop184.mjs PACKAGE_FOLDER. Commands as in harm.mjs, and
//
//   connect  {port, library?, bare?}   its client; `library` asks by requests of the library instead of callbacks
//   listen   {library?, bare?}         its server on a free port: {port}
//
// Callbacks and requests are answered with {"seq": n}, the number of the message. `bare` values come without a name, because what
// the library tells of them is its own guess, and there are no pings: nobody answers those of a bare peer.
import { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';
import { Heard } from './harm.mjs';
import { serve } from './lines.mjs';

const require = createRequire(path.join(path.resolve(process.argv[2]), 'package.json'));
const { client: Client, server: Server } = require('sockhop');

const heard = new Heard();
let send;
let request;
let byRequest = false;
let leaving = false;

function listenTo(peer, bare) {
  peer.on('receive', (data, meta) => {
    // Our client's handshake, which nobody here knows: an application answers it like any message.
    if (meta.type === 'SockhopHandshake') { meta.callback({}); return; }
    const seq = heard.hear(bare ? '' : meta.type, data);
    if (meta.callback) meta.callback({ seq });
  });
  peer.on('request', (req, res) => {
    const seq = heard.hear(req.type, req.data);
    res.send({ seq }).catch((e) => heard.trouble(`an answer could not be sent: ${e.message}`));
  });
  peer.on('error', (e) => heard.trouble(`error event: ${e.code} ${e.message}`));
  peer.on('disconnect', () => { if (!leaving) heard.trouble('disconnected'); });
  if (!bare) peer.ping(1000);
}

async function question(n) {
  if (byRequest) {
    const [packet] = await (await request({ n })).all();
    return [packet.type, packet.data];
  }
  return new Promise((resolve, reject) => {
    send({ n }, (data, meta) => resolve([meta.type, data])).catch(reject);
  });
}

const freePort = () => new Promise((resolve, reject) => {
  const probe = net.createServer().on('error', reject).listen(0, '127.0.0.1', () => {
    const { port } = probe.address();
    probe.close(() => resolve(port));
  });
});

serve({
  ...heard.commands(question),
  async connect({ port, library = false, bare = false }) {
    byRequest = library;
    const client = new Client({ port, peer_type: bare ? 'json' : 'Sockhop' });
    listenTo(client, bare);
    send = (value, callback) => client.send(value, callback);
    request = (value) => client.request(value);
    await client.connect();
  },
  async listen({ library = false, bare = false }) {
    byRequest = library;
    const port = await freePort();
    const server = new Server({ port, peer_type: bare ? 'json' : 'Sockhop' });
    listenTo(server, bare);
    server.on('connect', (sock) => {
      send = (value, callback) => server.send(sock, value, callback);
      request = (value) => server.request(sock, value);
    });
    await server.listen();
    return { port };
  },
  connected: async () => { while (!send) await new Promise((later) => setImmediate(later)); },
}, () => { leaving = true; });
