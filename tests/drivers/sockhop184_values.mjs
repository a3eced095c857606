// JavaScript values as tests name them, and what both Sockhop drivers do with messages.
import { event } from './lines.mjs';

class Widget {
  constructor(members) { Object.assign(this, members); }
}
class Told {
  toJSON() { return ['told', { by: 'toJSON' }]; }
}
/** An instance of a class without a name. */
const nameless = () => new (class { x = 1; })();

/**
 * A value from its description: {"json": any} {"date": text} {"buffer": hex} {"widget": members} {"undefined": true},
 * {"repeat": text, "count": n} for long strings.
 */
export function make(described) {
  if ('json' in described) return described.json;
  if ('date' in described) return new Date(described.date);
  if ('buffer' in described) return Buffer.from(described.buffer, 'hex');
  if ('widget' in described) return new Widget(described.widget);
  if ('repeat' in described) return described.repeat.repeat(described.count);
  if ('undefined' in described) return undefined;
  throw new Error(`no value is described by ${JSON.stringify(described)}`);
}

/** One value of every kind that can be sent, by name. */
export const KINDS = {
  object: { a: 1, nested: { list: [1, null, true], text: 'x' } },
  array: [1, 'two', null, false, { three: 3 }, []],
  string: 'hello',
  number: -12.5,
  'large number': 1e21,
  true: true,
  widget: new Widget({ n: 7, name: 'gear' }),
  date: new Date('2020-02-29T12:34:56.789Z'),
  buffer: Buffer.from([0, 1, 2, 10, 13, 254, 255]),
  unicode: { 'gr\u00fc\u00df': '\u4f60\u597d \u{1f680} \u2028 "q" \\ \n\t\u0000' },
  'lone surrogate': '\ud800x',
  'empty object': {},
  'empty array': [],
  'empty buffer': Buffer.alloc(0),
  'long string': 'x'.repeat(100_000),
  infinity: Infinity,
  'minus infinity': -Infinity,
  map: new Map([['k', 1]]),
  set: new Set([1, 2]),
  error: new Error('lost on the way'),
  'error of a kind': new TypeError('lost on the way'),
  'typed array': new Uint8Array([0, 128, 255]),
  'other typed array': new Float64Array([0.5, NaN, -0]),
  'array buffer': new ArrayBuffer(4),
  'array with holes': [1, , undefined, () => 1, Symbol('s'), NaN, 7],
  'members that vanish': { a: undefined, b: () => 1, c: Symbol('s'), d: -0, e: Infinity, 10: 'ten', 2: 'two' },
  'told by toJSON': new Told(),
  'member with toJSON': { when: new Date(0), told: new Told() },
  'class without a name': nameless(),
  'boxed values': [new Number(1), new String('s'), new Boolean(false)],
  'boxed number': new Number(7),
  'pattern': /a+b/gi,
  promise: Promise.resolve(1),
  'own constructor': { constructor: { name: 'Gadget' }, n: 1 },
  function: function named() {},
  'class itself': Widget,
  symbol: Symbol('s'),
};

/** Kinds the client accepts and the server's send() refuses. */
export const FALSY = { 'empty string': '', zero: 0, false: false, 'minus zero': -0, 'not a number': NaN };

/** As it is once it was JSON: undefined where it has no such form. */
const plain = (value) => {
  const text = JSON.stringify(value);
  return text === undefined ? undefined : JSON.parse(text);
};

/** What was received, as plain JSON; no `data` when it is undefined. */
export const reveal = (data, type) => ({ type: type ?? null, ...(data === undefined ? {} : { data }) });

/** Sends every kind with a callback, one after another, and says what came back for each and whether it is what was sent. */
export async function echoKinds(kinds, call) {
  const seen = [];
  for (const [kind, value] of Object.entries(kinds)) {
    const { data, type } = await call(value);
    const equal = JSON.stringify(data) === JSON.stringify(value);
    const sent = plain(value);
    seen.push({ kind, equal, has_data: sent !== undefined, sent_type: value.constructor.name, sent: sent ?? null, type: type ?? null, data: data ?? null });
  }
  return seen;
}

/** `count` callback echoes, at most `inflight` open; says how many were right and in which order they came. */
export async function bulk({ count, inflight = 16, size = 16 }, call) {
  const pad = 'x'.repeat(size);
  const started = process.hrtime.bigint();
  let sent = 0; let right = 0; let wrong = 0; let disordered = 0; let last = -1;
  const worker = async () => {
    while (sent < count) {
      const bulk = sent++;
      const { data } = await call({ bulk, pad });
      if (data?.bulk === bulk && data.pad === pad) right++; else wrong++;
      if (bulk < last) disordered++;
      last = bulk;
    }
  };
  await Promise.all(Array.from({ length: Math.min(inflight, count) }, worker));
  return { sent, right, wrong, disordered, milliseconds: Number(process.hrtime.bigint() - started) / 1e6 };
}

/** Counts one-way messages {"burst": i} and checks their order; reports all other messages as events. */
export class Inbox {
  constructor(answer) {
    this.answer = answer ?? 'echo';
    this.count = 0; this.next = 0; this.disordered = 0; this.waiting = [];
  }

  receive(data, meta, from = {}) {
    if (!meta.callback && Number.isInteger(data?.burst)) {
      if (data.burst !== this.next) this.disordered++;
      this.next = data.burst + 1;
      this.count++;
      for (const wake of this.waiting.splice(0)) wake();
      return;
    }
    // The bulk of bulk tests would only fill the pipe.
    if (!Number.isInteger(data?.bulk)) event('receive', { ...from, ...reveal(data, meta.type), wants_answer: !!meta.callback });
    if (!meta.callback || this.answer === 'none') return;
    if (this.answer === 'echo') meta.callback(data ?? {});
    else meta.callback(make(this.answer));
  }

  /** Waits until `count` one-way messages came in all. */
  async expect({ count }) {
    while (this.count < count) await new Promise((wake) => this.waiting.push(wake));
    return { count: this.count, disordered: this.disordered };
  }
}

/** Sends `count` one-way messages without waiting in between. */
export async function burst({ count, size = 16 }, send) {
  const pad = 'x'.repeat(size);
  const sending = [];
  for (let i = 0; i < count; i++) sending.push(send({ burst: i, pad }));
  await Promise.all(sending);
  return { sent: count };
}

/** A 1.x request: all packets until the last. */
export async function request({ value, timeout }, ask) {
  const packets = await ask(make(value), timeout === undefined ? {} : { timeout });
  const seen = [];
  return new Promise((resolve) => {
    packets.on('data', (data, type) => seen.push(reveal(data, type)));
    packets.on('end', (error) => resolve({ packets: seen, error: error ? { code: error.code ?? null, message: error.message } : null }));
  });
}

/** Answers 1.x requests: {"stream": n} with n packets and an end, anything else with itself. */
export function answerRequest(req, res, from = {}) {
  event('request', { ...from, ...reveal(req.data, req.type) });
  const failed = (e) => event('error', { ...from, code: e.code ?? null, message: e.message });
  if (!Number.isInteger(req.data?.stream)) { res.send(req.data).catch(failed); return; }
  for (let i = 0; i < req.data.stream; i++) res.write({ packet: i }).catch(failed);
  res.end().catch(failed);
}
