// npm socket.io or socket.io-client listening to what our ends send: node harm_socketio.mjs PACKAGE_FOLDER. Commands as in harm.mjs, and
//
//   listen   {namespace}                    socket.io on a free port: {port}
//   connect  {url, namespace, transports}   socket.io-client
//
// What wants an acknowledgement gets {"seq": n}, the number of the message.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { Heard } from './harm.mjs';
import { serve } from './lines.mjs';

const require = createRequire(path.join(path.resolve(process.argv[2]), 'package.json'));
const heard = new Heard();
let socket;

/** None, one, or the list of several. */
const one = (args) => (args.length > 1 ? args : args[0]);

function listenTo(opened) {
  socket = opened;
  socket.onAny((name, ...args) => {
    const answer = typeof args.at(-1) === 'function' ? args.pop() : undefined;
    const seq = heard.hear(name, one(args));
    if (answer) answer({ seq });
  });
  socket.on('disconnect', (reason) => heard.trouble(`disconnect: ${reason}`));
  socket.on('connect_error', (e) => heard.trouble(`connect_error: ${e.message}`));
}

const question = (n) => new Promise((resolve) => { socket.emit('question', { n }, (...args) => resolve(['', one(args)])); });

serve({
  ...heard.commands(question),
  listen: ({ namespace }) => new Promise((resolve) => {
    const { Server } = require('socket.io');
    const http = createServer();
    const io = new Server(http, { serveClient: false });
    io.of(namespace).on('connection', listenTo);
    io.engine.on('connection_error', (e) => heard.trouble(`connection_error: ${e.code} ${e.message}`));
    http.listen(0, '127.0.0.1', () => resolve({ port: http.address().port }));
  }),
  connect: ({ url, namespace, transports }) => new Promise((resolve) => {
    const { io } = require('socket.io-client');
    const opened = io(url + namespace, { reconnection: false, forceNew: true, transports });
    opened.io.on('error', (e) => heard.trouble(`error event: ${e.message}`));
    listenTo(opened);
    opened.on('connect', () => resolve());
  }),
  connected: async () => { while (!socket?.connected) await new Promise((later) => setImmediate(later)); },
});
