// Drives the client of npm sockhop 1.8.4: node sockhop184_client.mjs PACKAGE_FOLDER. Commands as in lines.mjs.
//
//   connect     {port|path, host?, peer_type?, terminator?, answer?, auto_reconnect?, auto_reconnect_interval?, response_timeout?}
//   send        {value}              one message
//   call        {value}              with a callback: {type, data}
//   kinds       {}                   a callback for every kind of value, each must be echoed
//   bulk        {count, inflight?, size?}   counted and compared echoes
//   burst       {count, size?}       one-way messages {"burst": i}
//   expect      {count}              waits for one-way messages of the peer
//   request     {value, timeout?}    a 1.x request: {packets, error}
//   ping        {ms}                 pings from now on; 0 ends it
//   pings       {}                   {open, answered} of the last four
//   state       {}                   {connected}
//   disconnect  {}
//
// Events: connect, disconnect, receive {type, data, wants_answer}, request {type, data}, error {code, message}.
// `answer` says what callbacks are answered with: "echo", "none" or a described value.
import { createRequire } from 'node:module';
import path from 'node:path';
import { event, serve } from './lines.mjs';
import { FALSY, Inbox, KINDS, answerRequest, bulk, burst, echoKinds, make, request, reveal } from './sockhop184_values.mjs';

const require = createRequire(path.join(path.resolve(process.argv[2]), 'package.json'));
const { client: Client } = require('sockhop');

let client;
let inbox;

const call = (value) => new Promise((resolve, reject) => {
  client.send(value, (data, meta) => resolve({ data, type: meta.type })).catch(reject);
});

serve({
  async connect({ port, path: unix, host, peer_type, terminator, answer, auto_reconnect, auto_reconnect_interval, response_timeout }) {
    inbox = new Inbox(answer);
    client = new Client({ port, path: unix, address: host, peer_type, terminator, auto_reconnect_interval, response_timeout });
    client.on('connect', () => event('connect'));
    client.on('disconnect', () => event('disconnect'));
    client.on('receive', (data, meta) => inbox.receive(data, meta));
    client.on('request', (req, res) => answerRequest(req, res));
    client.on('error', (e) => event('error', { code: e.code ?? null, message: e.message }));
    // The constructor ignores this option.
    client.auto_reconnect = auto_reconnect === true;
    await client.connect();
  },
  async send({ value }) { await client.send(make(value)); },
  async call({ value }) {
    const { data, type } = await call(make(value));
    return reveal(data, type);
  },
  kinds: () => echoKinds({ ...KINDS, ...FALSY }, call),
  bulk: (args) => bulk(args, call),
  burst: (args) => burst(args, (value) => client.send(value)),
  expect: (args) => inbox.expect(args),
  request: (args) => request(args, (value, options) => client.request(value, options)),
  ping({ ms }) { client.ping(ms); },
  pings: () => ({
    open: client.pings.filter((p) => p.unanswered()).length,
    answered: client.pings.filter((p) => !p.unanswered()).length,
  }),
  state: () => ({ connected: client.connected }),
  disconnect: () => client.disconnect(),
}, () => client?.disconnect());
