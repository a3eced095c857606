// What the drivers of the no-harm tests share: what was heard, and what it would be if it had been heard as it was sent.
//
//   heard    {count}            waits for that many messages: a digest of each, in the order they came
//   ask      {count, inflight?} asks the other side the questions {"n": 0}, {"n": 1} and so on: a digest of each answer, by number
//   spell    {path}             a digest of each message described in that file, a line of JSON each
//   trouble  {}                 what should not have happened: errors, warnings, connections that ended
//
// A description is {"name", "text"} with the body as it is spelled, {"name", "hex"} for bytes, or {"name"} without a body; with
// "attachments", placeholders in the text stand for those bytes, and with "kind" the bytes come as {"type", "data"}.
// Both digests are made here, so that what this language makes of a number or of a surrogate is the same in both.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** Buffers at any depth, as their hex digits. */
function hexed(key, value) {
  const raw = this[key];
  return raw instanceof Uint8Array ? { $hex: Buffer.from(raw).toString('hex') } : value;
}

const digest = (name, value) => {
  const text = JSON.stringify(value === undefined ? [name] : [name, value], hexed);
  return createHash('sha1').update(text).digest('hex').slice(0, 16);
};

const described = ({ name, text, hex, kind, attachments }) => {
  if (hex !== undefined) {
    const data = Buffer.from(hex, 'hex');
    return digest(name, kind === undefined ? data : { type: kind, data });
  }
  if (text === undefined) return digest(name, undefined);
  const put = (_key, value) => (attachments && value?._placeholder ? Buffer.from(attachments[value.num], 'hex') : value);
  return digest(name, JSON.parse(text, put));
};

/** What came, in order. */
export class Heard {
  constructor() {
    this.digests = []; this.problems = []; this.wake = () => {};
    process.on('warning', (warning) => this.trouble(`${warning.name}: ${warning.message}`));
  }

  /** Notes one message and gives its number. */
  hear(name, value) {
    this.wake();
    return this.digests.push(digest(name, value)) - 1;
  }

  /** A digest of an answer. */
  digest(name, value) { return digest(name, value); }

  trouble(what) {
    this.problems.push(String(what));
    this.wake();
  }

  /** The commands of every driver; `question` asks number n and gives [name, value] of the answer. */
  commands(question) {
    return {
      heard: async ({ count }) => {
        while (this.digests.length < count) {
          if (this.problems.length) throw new Error(`heard ${this.digests.length} of ${count}, then ${this.problems}`);
          await new Promise((wake) => { this.wake = wake; });
        }
        return this.digests;
      },
      ask: async ({ count, inflight = 32 }) => {
        const answers = [];
        let next = 0;
        const worker = async () => {
          while (next < count) {
            const n = next++;
            answers[n] = digest(...await question(n));
          }
        };
        await Promise.all(Array.from({ length: inflight }, worker));
        return answers;
      },
      spell: ({ path }) => readFileSync(path, 'utf8').split('\n').filter(Boolean).map((line) => described(JSON.parse(line))),
      trouble: () => this.problems,
    };
  }
}
