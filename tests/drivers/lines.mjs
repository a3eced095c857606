// Commands in JSON lines on standard input, answers and events in JSON lines on standard output.
//
//   in   {"id":1,"do":"name",...}
//   out  {"id":1,"ok":value}   {"id":1,"error":{"name","message","code"}}   {"event":"name",...}
//
// The end of the input ends the program with status 0. An uncaught error ends it with Node's own status 1 and its
// text on standard error: a stock peer that dies must look dead.
import readline from 'node:readline';

// Packages that log to the console must not write between the answers.
for (const level of ['log', 'info', 'debug', 'warn', 'error']) {
  console[level] = (...words) => process.stderr.write(`${words.join(' ')}\n`);
}

// Lone surrogates would make the line unreadable to strict JSON parsers.
const wellFormed = (_key, value) => (typeof value === 'string' ? value.toWellFormed() : value);
const write = (value) => process.stdout.write(`${JSON.stringify(value, wellFormed)}\n`);

/** Tells of something nobody asked for. */
export const event = (name, members = {}) => write({ event: name, ...members });

/** An error as the members a test looks at. */
export const revealError = (e) => ({ name: e?.name ?? null, message: String(e?.message ?? e), code: e?.code ?? null });

/** Runs commands by name until the input ends, then `end`. Commands may overlap. */
export function serve(commands, end = () => {}) {
  const input = readline.createInterface({ input: process.stdin });
  input.on('line', async (line) => {
    const { id, do: name, ...args } = JSON.parse(line);
    try {
      const run = commands[name];
      if (!run) throw new Error(`unknown command ${name}`);
      write({ id, ok: (await run(args)) ?? null });
    } catch (e) {
      write({ id, error: revealError(e) });
    }
  });
  input.on('close', async () => {
    await end();
    process.stdout.write('', () => process.exit(0));
  });
}
