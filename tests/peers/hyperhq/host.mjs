#!/usr/bin/env node
// HyperHQ host peer. Drives a plugin under test through one scenario, or just
// serves. One JSON result line on stdout; exit code 0 only if all checks held.
import { spawn } from "node:child_process";
import { mkdtemp, mkdir, writeFile, symlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { HyperHost } from "./host-core.mjs";
import { parseFlags, Report, runPeer, announceReady, within, sleep, deferred } from "./cli.mjs";

const flags = parseFlags(process.argv.slice(2), {
  scenario: "serve",
  port: "0",
  host: "127.0.0.1",
  "first-port": 52789,
  "last-port": 52818,
  namespaces: "/",
  "plugin-id": "peer-plugin",
  challenge: "",
  "challenge-life-ms": 30000,
  reauth: "both",
  "grace-ms": 60000,
  "require-data-token": false,
  "require-file-token": true,
  "request-timeout-ms": 2000,
  "max-request-ms": 600000,
  "no-aliases": false,
  "file-encoding": "base64",
  "max-file-bytes": 2000000,
  "install-dir": "",
  "ping-interval": 25000,
  "ping-timeout": 20000,
  "max-payload": 1000000,
  transports: "polling,websocket",
  launch: "",
  count: 10,
  "limit-ms": 20000,
  "idle-exit-ms": 0,
  "ready-file": "",
});

const report = new Report("node-host", flags.scenario);

async function makeInstallDir() {
  const dir = await mkdtemp(path.join(tmpdir(), "hyperhq-plugin-"));
  const root = path.join(dir, "plugin");
  await mkdir(path.join(root, "assets"), { recursive: true });
  await writeFile(path.join(root, "README.md"), "hello from the plugin folder\n");
  await writeFile(path.join(root, "assets", "blob.bin"), Buffer.from(Array.from({ length: 256 }, (_, i) => i)));
  await writeFile(path.join(root, "empty.txt"), "");
  await writeFile(path.join(dir, "secret.txt"), "must never be served\n");
  await symlink(path.join(dir, "secret.txt"), path.join(root, "escape.txt")).catch(() => {});
  return { dir, root };
}

const options = {
  port: flags.port,
  host: flags.host,
  firstPort: flags["first-port"],
  lastPort: flags["last-port"],
  namespaces: flags.namespaces.split(",").filter(Boolean),
  challengeLifeMs: flags["challenge-life-ms"],
  reauth: flags.reauth,
  graceMs: flags["grace-ms"],
  requireDataToken: flags["require-data-token"],
  requireFileToken: flags["require-file-token"],
  requestTimeoutMs: flags["request-timeout-ms"],
  maxRequestMs: flags["max-request-ms"],
  aliases: !flags["no-aliases"],
  fileEncoding: flags["file-encoding"],
  maxFileBytes: flags["max-file-bytes"],
  pingInterval: flags["ping-interval"],
  pingTimeout: flags["ping-timeout"],
  maxHttpBufferSize: flags["max-payload"],
  transports: flags.transports.split(","),
};

let host = new HyperHost(options);
let launch;
let child;
const childExit = deferred();

function once(event, filter = () => true) {
  return new Promise((resolve) => {
    const handler = (...args) => {
      if (!filter(...args)) return;
      host.off(event, handler);
      resolve(args);
    };
    host.on(event, handler);
  });
}

const gameLaunched = (n) => ({ gameId: `game-${n}`, gameName: `Game ${n}`, systemId: "arcade", timestamp: new Date().toISOString() });

const scenarios = {
  // passive: serves until told to stop, the child ends, or it has been idle long enough
  async serve() {
    const stop = deferred();
    process.once("SIGTERM", () => stop.resolve("sigterm"));
    process.once("SIGINT", () => stop.resolve("sigint"));
    childExit.promise.then(() => stop.resolve("child exit"));
    if (flags["idle-exit-ms"] > 0) {
      let timer;
      const arm = () => {
        clearTimeout(timer);
        if (host.conns.size === 0) timer = setTimeout(() => stop.resolve("idle"), flags["idle-exit-ms"]);
      };
      host.on("connection", () => clearTimeout(timer));
      host.on("disconnect", arm);
      arm();
    }
    report.set("stoppedBy", await stop.promise);
    report.check("served", true);
  },

  async lifecycle() {
    const [session] = await once("authenticated");
    const init = await host.request(session, "initialize", { settings: { apiKey: "k" }, pluginData: {} });
    report.equal("initialize answers", init.data, "initialized");
    const test = await host.request(session, "test", {});
    report.equal("test answers true", test.data, true);
    const status = await host.request(session, "execute", { action: "get_status" });
    report.check("execute get_status returns an object", status.data && typeof status.data === "object" && !Array.isArray(status.data));
    const unknown = await host.request(session, "no_such_method", {});
    report.check("unknown method reports an error", typeof unknown.data?.error === "string", unknown);
    const badAction = await host.request(session, "execute", { action: "no_such_action" });
    report.check("unknown action reports an error", typeof badAction.data?.error === "string", badAction);
    const many = await Promise.all(Array.from({ length: flags.count }, (_, i) => host.request(session, "execute", { action: "echo", n: i })));
    report.check("concurrent requests are matched by id", many.every((r, i) => r.data?.n === i));
    const bye = once("disconnect");
    const end = await host.request(session, "shutdown", {}).catch((error) => ({ error }));
    report.check("shutdown is answered or the plugin leaves", end.data === "ok" || Boolean(end.error), String(end.error ?? JSON.stringify(end.data)));
    await within(bye, 5000, "plugin disconnects after shutdown");
    report.equal("type field", init.type, "response");
  },

  async data() {
    await once("authenticated");
    await once("disconnect");
    report.check("data requests were served", host.counters.dataRequests >= flags.count, host.counters);
  },

  async events() {
    const [session] = await once("authenticated");
    if (session.conn.subscriptions.size === 0) await once("subscribed", (s) => s === session);
    const wanted = [...session.conn.subscriptions];
    report.set("subscribed", wanted);
    report.equal("nobody listens to other events", host.broadcast("notSubscribedByAnyone", { n: 1 }), 0);
    for (let i = 0; i < flags.count; i++) {
      const type = wanted[i % wanted.length];
      report.equal(`receivers of event ${i}`, host.broadcast(type, gameLaunched(i)), 1);
    }
    const seen = await host.request(session, "execute", { action: "event_count" });
    report.equal("plugin counted the events", seen.data?.events, flags.count);
    report.equal("plugin saw them in order", seen.data?.inOrder, true);
    await host.request(session, "shutdown", {}).catch(() => {});
  },

  async "timeout-extend"() {
    const [session] = await once("authenticated");
    const work = flags["request-timeout-ms"] * 3;
    const every = Math.max(20, Math.floor(flags["request-timeout-ms"] / 4));
    const reply = await host.request(session, "execute", { action: "slow", workMs: work, everyMs: every });
    report.check("reply came after the plain timeout", reply.elapsedMs > flags["request-timeout-ms"], reply);
    report.check("status updates extended the deadline", reply.extensions >= 3, reply);
    report.equal("slow action result", reply.data?.success, true);
    await host.request(session, "shutdown", {}).catch(() => {});
  },

  async "timeout-expire"() {
    const [session] = await once("authenticated");
    const started = Date.now();
    const outcome = await host.request(session, "execute", { action: "silent", answerAfterMs: flags["request-timeout-ms"] + 300 }).catch((error) => error);
    report.check("request without progress times out", outcome instanceof Error && /timed out/.test(outcome.message), String(outcome));
    report.check("it took about the timeout", Math.abs(Date.now() - started - flags["request-timeout-ms"]) < 500, Date.now() - started);
    await sleep(600);
    report.equal("the late answer is ignored", host.counters.duplicateResponses, 1);
    const alive = await host.request(session, "test", {});
    report.equal("connection still usable", alive.data, true);
    await host.request(session, "shutdown", {}).catch(() => {});
  },

  // cut the connection `count` times; the plugin must come back each time
  async reconnect() {
    let [session, how] = await once("authenticated");
    report.equal("first authentication", how, "challenge");
    report.equal("usable at first", (await host.request(session, "test", {})).data, true);
    const ways = [];
    for (let i = 0; i < flags.count; i++) {
      const again = once("authenticated");
      const oldToken = session.token;
      host.dropTransport(session);
      [session, how] = await within(again, 10000, `reconnection ${i + 1}`);
      ways.push(how);
      report.check(`token is new after drop ${i + 1}`, session.token !== oldToken);
      const alive = await host.request(session, "test", {});
      report.equal(`usable after drop ${i + 1}`, alive.data, true);
    }
    report.set("ways", ways);
    await host.request(session, "shutdown", {}).catch(() => {});
  },

  // any plugin that answers the four methods, subscribes to gameLaunched, asks for data and tells of its progress
  async whole() {
    const [session] = await once("authenticated");
    if (session.conn.subscriptions.size === 0) await once("subscribed", (s) => s === session);
    const init = await host.request(session, "initialize", { settings: {}, pluginData: {} });
    report.check("initialize is no error", init.data?.error === undefined, init);
    report.equal("test answers true", (await host.request(session, "test", {})).data, true);
    report.equal("receivers of the event", host.broadcast("gameLaunched", gameLaunched(7)), 1);
    const work = await host.request(session, "execute", { action: "sync" });
    report.check("execute is no error", work.data?.error === undefined, work);
    report.check("it asked for data", host.counters.dataRequests > 0, host.counters);
    report.check("it told of its progress", host.counters.statusUpdates > 0, host.counters);
    report.check("progress kept the request alive", work.extensions > 0, work);
    const bye = once("disconnect");
    report.equal("shutdown is answered", (await host.request(session, "shutdown", {})).data, "ok");
    await within(bye, 5000, "plugin disconnects after shutdown");
  },

  // `count` times the host is gone in mid-traffic, and another one that remembers nothing stands in its place with the same
  // challenge; the last one has another, so that the plugin must give up
  async restarts() {
    await once("authenticated");
    for (let i = 0; i <= flags.count; i++) {
      const session = host.sessions.get(flags["plugin-id"]);
      const owed = host.request(session, "test", {}, { timeoutMs: 60000 }).catch((error) => error);
      await within(once("event", (_, name) => name === "requestData"), 10000, `traffic before restart ${i + 1}`);
      await host.crash();
      await owed;
      const port = String(host.port);
      host = new HyperHost({ ...options, port });
      const refused = [];
      host.on("refused", (_, error) => refused.push(error));
      const last = i === flags.count;
      const outcome = last ? once("refused", () => refused.length === 2) : once("authenticated");
      await host.start();
      host.launch(last ? { ...launch, challenge: undefined } : launch);
      const [session2, how] = await within(outcome, 20000, `login after restart ${i + 1}`);
      const told = last ? ["Invalid session token", "Invalid challenge"] : ["Invalid session token"];
      report.equal(`refusals after restart ${i + 1}`, refused.join(), told.join());
      if (last) break;
      report.equal(`login after restart ${i + 1}`, how, "challenge");
      report.equal(`usable after restart ${i + 1}`, (await host.request(session2, "test", {})).data, true);
    }
    await within(once("disconnect"), 5000, "the plugin leaves");
    report.equal("both refusals came on one connection", host.counters.connections, 1);
  },

  // the host ends the session on purpose; the plugin must notice and leave or return
  async kick() {
    const [session] = await once("authenticated");
    report.equal("usable at first", (await host.request(session, "test", {})).data, true);
    const gone = once("disconnect");
    session.conn.socket.disconnect(true);
    await within(gone, 3000, "disconnect after kick");
    report.check("plugin was disconnected", true);
  },
};

await runPeer(report, flags["limit-ms"], async () => {
  const scenario = scenarios[flags.scenario];
  if (!scenario) throw new Error(`unknown scenario: ${flags.scenario}; known: ${Object.keys(scenarios).join(", ")}`);
  const made = flags["install-dir"] ? null : await makeInstallDir();
  const installDir = flags["install-dir"] || made.root;
  await host.start();
  launch = { pluginId: flags["plugin-id"], name: "Peer Plugin", installDir, ...(flags.challenge ? { challenge: flags.challenge } : {}) };
  const env = host.launch(launch);
  launch.challenge = env.HYPERHQ_AUTH_CHALLENGE;
  try {
    const run = scenario(); // handlers are in place before anybody can connect
    run.catch(() => {});
    await announceReady({ type: "ready", port: host.port, portsTried: host.portsTried, installDir, env }, flags["ready-file"]);
    if (flags.launch) {
      child = spawn(`exec ${flags.launch}`, { shell: true, stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, ...env } });
      let out = "";
      child.stdout.on("data", (d) => (out += d));
      child.on("exit", (code, signal) => childExit.resolve({ code, signal, out }));
    }
    await run;
    if (child) {
      const { code, out } = await within(childExit.promise, 8000, "child exit");
      let parsed = out.trim();
      try {
        parsed = JSON.parse(parsed.split("\n").at(-1));
      } catch {}
      report.set("plugin", parsed);
      report.equal("plugin exit code", code, 0);
    }
  } finally {
    report.set("counters", host.counters);
    if (child && child.exitCode === null) child.kill();
    await within(host.stop(), 3000, "host stop").catch(() => {});
    if (made) await rm(made.dir, { recursive: true, force: true });
  }
});
