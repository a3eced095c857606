// Drives the server of npm sockhop 1.8.4: node sockhop184_server.mjs PACKAGE_FOLDER. Commands as in lines.mjs.
//
//   listen      {port?|path?, peer_type?, terminator?, answer?, response_timeout?}   {port} or {path}; no port: a free one
//   send        {to, value}          one message to connection `to` (numbered from 0 as they came)
//   sendall     {value}
//   call        {to, value}          with a callback: {type, data}
//   kinds       {to}                 a callback for every kind of value the server can send
//   bulk        {to, count, inflight?, size?}
//   burst       {to, count, size?}   one-way messages {"burst": i}
//   expect      {from, count}        waits for one-way messages of that connection
//   request     {to, value, timeout?}
//   ping        {ms}                 pings to every connection; 0 ends it
//   pings       {to}                 {open, answered} of the last four
//   kill        {to}                 ends that connection
//
// Events carry `from`: connect, disconnect, receive, request, error. `answer` as in sockhop184_client.mjs.
import { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';
import { event, serve } from './lines.mjs';
import { Inbox, KINDS, answerRequest, bulk, burst, echoKinds, make, request, reveal } from './sockhop184_values.mjs';

const require = createRequire(path.join(path.resolve(process.argv[2]), 'package.json'));
const { server: Server } = require('sockhop');

let server;
const sockets = [];
const inboxes = new Map();

/** A port that was free a moment ago: the server turns port 0 into 50000. */
const freePort = () => new Promise((resolve, reject) => {
  const probe = net.createServer().on('error', reject).listen(0, '127.0.0.1', () => {
    const { port } = probe.address();
    probe.close(() => resolve(port));
  });
});

/** listen() never settles when the address is taken; the error event tells. */
function listenOnce(options) {
  server = new Server(options);
  return new Promise((resolve, reject) => {
    server.on('error', (e, sock) => {
      if (!sock) reject(e);
      event('error', { from: sockets.indexOf(sock), code: e.code ?? null, message: e.message });
    });
    server.listen().then(resolve);
  });
}

function number(sock, answer) {
  let n = sockets.indexOf(sock);
  // A message can arrive before the connect event, which comes one turn late.
  if (n < 0) { n = sockets.push(sock) - 1; inboxes.set(n, new Inbox(answer)); }
  return n;
}

function socket(n) {
  if (!sockets[n]) throw new Error(`there is no connection ${n}`);
  return sockets[n];
}

const caller = (to) => (value) => new Promise((resolve, reject) => {
  server.send(socket(to), value, (data, meta) => resolve({ data, type: meta.type })).catch(reject);
});

serve({
  async listen({ port, path: unix, peer_type, terminator, answer, response_timeout }) {
    for (let attempt = 0; ; attempt++) {
      const at = unix ? { path: unix } : { port: port ?? await freePort() };
      try {
        await listenOnce({ ...at, peer_type, terminator, response_timeout });
        server.on('connect', (sock) => event('connect', { from: number(sock, answer) }));
        server.on('disconnect', (sock) => event('disconnect', { from: number(sock, answer) }));
        server.on('receive', (data, meta) => {
          const from = number(meta.socket, answer);
          inboxes.get(from).receive(data, meta, { from });
        });
        server.on('request', (req, res, meta) => answerRequest(req, res, { from: number(meta.socket, answer) }));
        return at;
      } catch (e) {
        if (e.code !== 'EADDRINUSE' || unix || port || attempt === 4) throw e;
      }
    }
  },
  async send({ to, value }) { await server.send(socket(to), make(value)); },
  async sendall({ value }) { await server.sendall(make(value)); },
  async call({ to, value }) {
    const { data, type } = await caller(to)(make(value));
    return reveal(data, type);
  },
  kinds: ({ to }) => echoKinds(KINDS, caller(to)),
  bulk: ({ to, ...args }) => bulk(args, caller(to)),
  burst: ({ to, ...args }) => burst(args, (value) => server.send(socket(to), value)),
  expect: ({ from, ...args }) => inboxes.get(from).expect(args),
  request: ({ to, ...args }) => request(args, (value, options) => server.request(socket(to), value, options)),
  ping({ ms }) { server.ping(ms); },
  pings({ to }) {
    const pings = server.pings.get(socket(to)) ?? [];
    return { open: pings.filter((p) => p.unanswered()).length, answered: pings.filter((p) => !p.unanswered()).length };
  },
  async kill({ to }) { await server.kill_socket(socket(to)); },
});
