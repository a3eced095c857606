// npm socket.io-client, driven by commands.
import { createRequire } from 'node:module';
import path from 'node:path';
import { event, serve } from './lines.mjs';

const require = createRequire(path.join(process.argv[2], 'x.js'));
const { io } = require('socket.io-client');

let socket;
const numbers = [];
let more = () => {};

const shown = (value) => (Buffer.isBuffer(value) ? { hex: value.toString('hex') } : value);
const meant = (value) => (value?.hex === undefined ? value : Buffer.from(value.hex, 'hex'));

serve({
  connect: ({ url, options }) => new Promise((resolve, reject) => {
    socket = io(url, { reconnection: false, forceNew: true, ...options });
    socket.onAny((name, ...args) => {
      const answer = typeof args.at(-1) === 'function' ? args.pop() : undefined;
      if (name === 'n') {
        numbers.push(...args);
        more();
      } else {
        event('heard', { name, args: args.map(shown) });
      }
      if (answer) answer(...args);
    });
    socket.on('disconnect', (reason) => event('disconnect', { reason }));
    socket.on('connect', () => resolve(socket.io.engine.transport.name));
    socket.on('connect_error', (error) => reject(error));
  }),
  upgraded: () => new Promise((resolve) => {
    const { engine } = socket.io;
    if (engine.transport.name === 'websocket') resolve('websocket');
    else engine.once('upgrade', (transport) => resolve(transport.name));
  }),
  call: async ({ name, args }) => shown(await socket.timeout(10000).emitWithAck(name, ...args.map(meant))),
  transport: () => socket.io.engine.transport.name,
  burst: ({ name, count }) => { for (let number = 0; number < count; number++) socket.emit(name, number); },
  // Waits for so many events `n`: their arguments.
  heard: ({ count }) => new Promise((resolve) => {
    more = () => { if (numbers.length >= count) resolve(numbers); };
    more();
  }),
  emit: ({ name, args }) => { socket.emit(name, ...args.map(meant)); },
  leave: () => { socket.disconnect(); },
}, () => socket?.disconnect());
