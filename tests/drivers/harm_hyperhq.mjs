// The two ends of HyperHQ listening to what ours send: node harm_hyperhq.mjs PACKAGE_FOLDER. Commands as in harm.mjs, and
//
//   listen   {plugin, files}                     the independent host, in the folder's `hyperhq-peers`: {port, challenge}
//   connect  {port, plugin, challenge, events}   a plugin on socket.io-client that subscribes to these events
//   file     {path, binary}                      the plugin asks for a file: {success, size, hex}
//   shutdown {}                                  the host asks for the shutdown: its answer
//   left     {}                                  waits for the end of the connection, from now on no trouble: its reason
//
// Requests are answered with {"seq": n}, the number of the message.
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { Heard } from './harm.mjs';
import { serve } from './lines.mjs';

const folder = path.resolve(process.argv[2]);
const heard = new Heard();
let question;
let shutdown;
let file;
let open = false;

/** The end of the connection, which is trouble until it is waited for. */
const end = { awaited: false, note: () => {} };
end.reason = new Promise((note) => { end.note = note; });
function ended(reason) {
  if (!end.awaited) heard.trouble(`disconnect: ${reason}`);
  end.note(reason);
}

/** Events of the flow itself. */
const FLOW = new Set(['authenticate', 'response', 'subscribeEvents']);

async function listen({ plugin, files }) {
  const { HyperHost } = await import(pathToFileURL(path.join(folder, 'hyperhq-peers/host-core.mjs')));
  const host = new HyperHost();
  // Requests are noted where every event is, and answered a moment later, in the same order.
  const asked = [];
  host.library = { call: () => ({ seq: asked.shift() }) };
  host.on('event', (_conn, name, args) => {
    if (name === 'requestData') asked.push(heard.hear(args[0].method, args[0].params));
    else if (!FLOW.has(name)) heard.hear(name, args[0]);
  });
  host.on('disconnect', (_conn, reason) => ended(reason));
  host.on('refused', (_conn, why) => heard.trouble(`refused: ${why}`));
  host.on('authenticated', (session) => {
    question = async (n) => ['', (await host.request(session, 'question', { n })).data];
    shutdown = async () => (await host.request(session, 'shutdown')).data;
    open = true;
  });
  const port = await host.start();
  host.io.engine.on('connection_error', (e) => heard.trouble(`connection_error: ${e.message}`));
  const { HYPERHQ_AUTH_CHALLENGE: challenge } = host.launch({ pluginId: plugin, installDir: files });
  return { port, challenge };
}

function connect({ port, plugin, challenge, events }) {
  const { io } = createRequire(path.join(folder, 'package.json'))('socket.io-client');
  const socket = io(`http://127.0.0.1:${port}`, { reconnection: false, forceNew: true, transports: ['websocket'] });
  const waiting = new Map();
  let token;
  question = (n) => new Promise((resolve) => {
    waiting.set(String(n), ({ success, data, error }) => resolve(['', success ? data : { error }]));
    socket.emit('requestData', { method: 'question', params: { n }, requestId: String(n), sessionToken: token });
  });
  socket.on('dataResponse', (answer) => {
    waiting.get(answer.requestId)(answer);
    waiting.delete(answer.requestId);
  });
  socket.on('request', ({ id, method, data }) => {
    end.awaited ||= method === 'shutdown';
    socket.emit('response', { id, type: 'response', data: { seq: heard.hear(method, data) }, sessionToken: token });
  });
  socket.on('hyperHqEvent', ({ type, data }) => heard.hear(type, data));
  socket.on('error', (e) => heard.trouble(`error: ${e.message}`));
  socket.on('connect_error', (e) => heard.trouble(`connect_error: ${e.message}`));
  socket.on('disconnect', ended);
  file = ({ path: filePath, binary }) => new Promise((resolve) => {
    socket.once('fileData', ({ success, data, size, error }) => {
      const bytes = typeof data === 'string' ? Buffer.from(data, 'base64') : Buffer.from(data ?? []);
      resolve({ success, size, hex: bytes.toString('hex'), binary: data !== undefined && typeof data !== 'string', error });
    });
    socket.emit('requestFile', { filePath, requestId: filePath, sessionToken: token, encoding: binary ? 'binary' : undefined });
  });
  socket.on('connect', () => socket.emit('authenticate', { pluginId: plugin, challenge }));
  return new Promise((resolve) => {
    socket.on('authenticated', (answer) => {
      if (!answer.success) { heard.trouble(`refused: ${answer.error}`); return; }
      token = answer.sessionToken;
      socket.emit('subscribeEvents', events);
    });
    socket.on('eventsSubscribed', () => { open = true; resolve(); });
  });
}

serve({
  ...heard.commands((n) => question(n)),
  listen,
  connect,
  file: (what) => file(what),
  shutdown: () => { end.awaited = true; return shutdown(); },
  left: () => { end.awaited = true; return end.reason; },
  connected: async () => { while (!open) await new Promise((later) => setImmediate(later)); },
});
