// Drives the HPX clients of npm, happypandax-client 1.0.1 and 2.2.0: node hpx_js_client.mjs PACKAGE_FOLDER.
// Commands as in lines.mjs; `client` names one of several clients in this program and is "a" when absent.
//
//   open          {client?, port, name?, session?}   connects: {version, guest_allowed, ready}
//   login         {client?, user?, password?}        no user: as guest: {session}
//   request_auth  {client?}                          greeting and login once more: {session}
//   call          {client?, calls}                   one message with a list of calls: the whole reply
//   call_text     {client?, text}                    the same with the exact JSON text of the list
//   many          {port, connections, calls, fname?, session?, user?, password?}
//                                                    that many clients at once, each `calls` echoes: {right, wrong}
//   state         {client?}                          {alive, ready, session}
//   close         {client?}
//
// Errors carry the class name and code of the package. These clients never settle a call whose connection ended.
import { createRequire } from 'node:module';
import path from 'node:path';
import { serve } from './lines.mjs';

const require = createRequire(path.join(path.resolve(process.argv[2]), 'package.json'));
const { Client } = require('happypandax-client');
const { version } = require('happypandax-client/package.json');
const HAS_MESSAGE_IDS = version.startsWith('2.');

const clients = new Map();

function named(client = 'a') {
  const found = clients.get(client);
  if (!found) throw new Error(`there is no client ${client}`);
  return found;
}

async function open({ port, name = 'js-driver', session }) {
  const client = new Client({ name, host: '127.0.0.1', port, session_id: session });
  await client.connect();
  return client;
}

async function login(client, { user, password }) {
  await client.handshake({ user: user ?? null, password });
  return { session: client.session };
}

/** Sends the envelope around `text` without parsing or spelling it anew. */
function callText(client, text) {
  const id = HAS_MESSAGE_IDS ? client._next_id() : undefined;
  const head = JSON.stringify({ session: client.session, name: client.name, ...(id === undefined ? {} : { __id__: id }) });
  return client._send(Buffer.from(`${head.slice(0, -1)},"data":${text}}`), id);
}

async function many({ port, connections, calls, fname = 'echo', session, user, password }) {
  const seen = { right: 0, wrong: 0, sessions: [] };
  await Promise.all(Array.from({ length: connections }, async (_, connection) => {
    const client = await open({ port, name: `js-driver-${connection}`, session });
    if (!session) await login(client, { user, password });
    seen.sessions.push(client.session);
    for (let call = 0; call < calls; call++) {
      const value = { connection, call, text: 'gr\u00fc\u00df \u4f60\u597d <EOF'.repeat(call % 7) };
      const reply = await client.send([{ fname, value }]);
      if (JSON.stringify(reply.data?.[0]?.data) === JSON.stringify(value)) seen.right++; else seen.wrong++;
    }
    client.close();
  }));
  return seen;
}

serve({
  async open({ client = 'a', ...args }) {
    const opened = await open(args);
    clients.set(client, opened);
    return { version: opened.version, guest_allowed: opened.guest_allowed, ready: opened.ready() };
  },
  login: ({ client, ...args }) => login(named(client), args),
  async request_auth({ client }) {
    await named(client).request_auth();
    return { session: named(client).session };
  },
  call: ({ client, calls }) => named(client).send(calls),
  call_text: ({ client, text }) => callText(named(client), text),
  many,
  state({ client }) {
    const found = named(client);
    return { alive: found.alive(), ready: found.ready(), session: found.session };
  },
  close({ client }) { named(client).close(); },
});
