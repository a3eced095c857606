// A HyperHQ plugin on npm socket.io-client with one flaw, as authors make them.
import { createRequire } from 'node:module';
import path from 'node:path';

const [, , folder, flaw] = process.argv;
const { io } = createRequire(path.join(folder, 'x.js'))('socket.io-client');
const { HYPERHQ_SOCKET_PORT: port, HYPERHQ_PLUGIN_ID: pluginId, HYPERHQ_AUTH_CHALLENGE: challenge } = process.env;

let socket;
function connect(then = () => {}) {
  const mine = io(`http://127.0.0.1:${port}`, { transports: ['websocket'], forceNew: true });
  socket = mine;
  mine.on('connect', () => mine.emit('authenticate', { pluginId, challenge: flaw === 'challenge' ? 'guessed' : challenge }));
  mine.on('authenticated', ({ success }) => {
    if (!success) process.exit(1);
    then();
  });
  mine.on('request', answer);
}
function answer({ id, method }) {
  if (flaw === 'leaves' && method === 'shutdown') process.exit(0);
  if (flaw === 'hangs' && method === 'shutdown') return;
  // As the guide's sample: a second connection, on which it then answers what was asked on the first.
  if (flaw === 'again' && method === 'initialize') return connect(() => socket.emit('response', { id, type: 'response', data: 'initialized' }));
  if (flaw === 'tokenless' && method === 'execute') {
    // As plugins on the C# helper: a file is asked for without the token.
    socket.once('fileData', ({ success, error }) => socket.emit('response', { id, type: 'response', data: success ? {} : { error } }));
    return socket.emit('requestFile', { filePath: 'plugin.json', requestId: 'f1' });
  }
  const data = { initialize: 'initialized', test: flaw !== 'test', execute: {}, shutdown: 'ok' }[method];
  socket.emit('response', flaw === 'id' && method === 'initialize' ? { requestId: id, data } : { id, type: 'response', data });
  if (method === 'shutdown') setTimeout(() => process.exit(0), 50);
}
connect();
