// What the drivers of the three WebSocket wires have in common: each is a server or a client of somebody else's, driven by the same
// commands, so that one test runs on all of them.
//
// Server:
//   listen  {secret}        on a free port: {port}; lets in who shows the secret
//   push    {name, data}    tells everybody that is connected (and subscribed, where the wire has that): {told}
//   drop    {}              cuts every connection without a word
//   events  login {shown}, present {} (it would hear a push now), asked {name, data}, told {name, data}
// It answers a request `echo` with its data, `late` with its data after `ms`, and `hang` never.
//
// Client:
//   connect {port, secret, listen?}   connects and logs in; `listen` names the events to ask for, where a wire wants that
//   call    {name, data}      the answer
//   emit    {name, data}
//   events  heard {name, data}, closed {code, reason}, and before it left {reason} where a wire says more
import { event } from './lines.mjs';

/** An event that every wire here takes from a client. */
export const TOLD = 'thumbnail:created';

/** What a server does with a request: `answer` is called with the answer, at once, late or never. */
export function served(name, data, answer) {
  event('asked', { name, data: data ?? null });
  if (name === 'hang') return;
  if (name === 'late') setTimeout(() => answer(data), data.ms);
  else answer(data);
}
