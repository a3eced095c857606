// npm socket.io and socket.io-client as ends: node ends_socketio.mjs PACKAGE_FOLDER, of the server to listen, of the client to connect.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { TOLD, served } from './ends.mjs';
import { event, serve } from './lines.mjs';

const require = createRequire(path.join(path.resolve(process.argv[2]), 'x.js'));
const NAMESPACE = '/realtime';

let io;
let socket;

serve({
  listen: ({ secret }) => new Promise((resolve) => {
    const http = createServer();
    io = new (require('socket.io').Server)(http, { serveClient: false });
    io.of(NAMESPACE).use(({ handshake: { auth } }, next) => {
      event('login', { shown: auth });
      next(auth.token?.startsWith(secret) ? undefined : Object.assign(new Error('another token'), { data: { code: 'stale' } }));
    });
    io.of(NAMESPACE).on('connection', (peer) => {
      event('present');
      for (const name of ['echo', 'late', 'hang']) peer.on(name, (data, answer) => served(name, data, answer));
      peer.on(TOLD, (data) => event('told', { name: TOLD, data: data ?? null }));
    });
    http.listen(0, '127.0.0.1', () => resolve({ port: http.address().port }));
  }),
  push: ({ name, data }) => {
    io.of(NAMESPACE).emit(name, data);
    return { told: io.of(NAMESPACE).sockets.size };
  },
  drop: () => { for (const { conn } of io.of(NAMESPACE).sockets.values()) conn.transport.socket.terminate(); },
  connect: ({ port, secret }) => new Promise((resolve, reject) => {
    const auth = { token: secret };
    socket = require('socket.io-client').io(`http://127.0.0.1:${port}${NAMESPACE}`, {
      auth, reconnection: false, transports: ['websocket'],
    });
    socket.onAny((name, data) => event('heard', { name, data: data ?? null }));
    // The packet that ends the namespace comes before the end of the WebSocket, whose code is the engine's to know.
    socket.on('disconnect', (reason) => event('left', { reason }));
    socket.io.engine.on('close', (_reason, details) => {
      event('closed', { code: details?.context?.code ?? null, reason: details?.context?.reason ?? '' });
    });
    socket.on('connect', () => resolve());
    socket.on('connect_error', reject);
  }),
  call: ({ name, data }) => new Promise((resolve, reject) => {
    socket.once('disconnect', (reason) => reject(new Error(`closed: ${reason}`)));
    socket.emit(name, data, resolve);
  }),
  emit: ({ name, data }) => { socket.emit(name, data); },
});
