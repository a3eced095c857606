// A HyperHQ host of the independent peers and a plugin on npm socket.io-client as ends: node ends_hyperhq.mjs PACKAGE_FOLDER, of
// socket.io with the peers in its folder `hyperhq-peers` to listen, of socket.io-client to connect.
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { served } from './ends.mjs';
import { event, serve } from './lines.mjs';

const folder = path.resolve(process.argv[2]);
const require = createRequire(path.join(folder, 'x.js'));
const PLUGIN = 'demo';
/** Longer than any test. */
const NEVER = 2 ** 31 - 1;

const waiting = new Map();
let host;
let socket;
let last = 0;

serve({
  async listen({ secret }) {
    const core = pathToFileURL(path.join(folder, 'hyperhq-peers', 'host-core.mjs'));
    const { HyperHost } = await import(core);
    host = new HyperHost({ port: '0' });
    // The host answers data requests after `echoDelayMs`, which it looks at when the library has answered.
    host.library.call = (name, data) => {
      host.options.echoDelayMs = { late: data?.ms, hang: NEVER }[name] ?? 0;
      event('asked', { name, data: data ?? null });
      return data;
    };
    host.on('authenticated', (session, how) => event('login', { shown: { plugin: session.pluginId, how } }));
    host.on('subscribed', (_session, names) => event('present', { names }));
    host.on('thumbnail', (_conn, name, data) => event('told', { name, data }));
    await host.start();
    host.launch({ pluginId: PLUGIN, challenge: secret });
    return { port: host.port };
  },
  push: ({ name, data }) => ({ told: host.broadcast(name, data) }),
  drop: () => { for (const session of host.sessions.values()) host.dropTransport(session); },
  connect: ({ port, secret, listen }) => new Promise((resolve, reject) => {
    socket = require('socket.io-client').io(`http://127.0.0.1:${port}/`, {
      reconnection: false, transports: ['websocket'],
    });
    socket.on('connect', () => socket.emit('authenticate', { pluginId: PLUGIN, challenge: secret }));
    socket.on('connect_error', reject);
    socket.on('authenticated', (login) => {
      if (!login.success) reject(new Error(login.error));
      socket.token = login.sessionToken;
      if (listen) socket.emit('subscribeEvents', listen);
      else resolve();
    });
    socket.on('eventsSubscribed', () => resolve());
    socket.on('hyperHqEvent', ({ type, data }) => event('heard', { name: type, data }));
    socket.on('dataResponse', (answer) => {
      waiting.get(answer.requestId)?.(answer.success ? answer.data : { error: answer.error });
      waiting.delete(answer.requestId);
    });
    socket.on('disconnect', (reason) => event('left', { reason }));
    socket.io.engine.on('close', (_reason, details) => {
      event('closed', { code: details?.context?.code ?? null, reason: details?.context?.reason ?? '' });
    });
  }),
  call: ({ name, data }) => new Promise((resolve, reject) => {
    last += 1;
    waiting.set(`data-${last}`, resolve);
    socket.once('disconnect', (reason) => reject(new Error(`closed: ${reason}`)));
    socket.emit('requestData', { requestId: `data-${last}`, method: name, params: data, sessionToken: socket.token });
  }),
  emit: ({ name, data }) => { socket.emit(name, data); },
});
