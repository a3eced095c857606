#!/usr/bin/env node
// HyperHQ plugin peer on the real socket.io-client. Reads the documented
// environment variables (flags override them), runs one scenario against the
// host under test, prints one JSON result line, exits non-zero on failure.
import { io } from "socket.io-client";
import { WebSocket } from "ws";
import { parseFlags, Report, runPeer, within, sleep, deferred } from "./cli.mjs";

const flags = parseFlags(process.argv.slice(2), {
  scenario: "serve",
  host: "127.0.0.1",
  port: process.env.HYPERHQ_SOCKET_PORT ?? "",
  "plugin-id": process.env.HYPERHQ_PLUGIN_ID ?? "",
  challenge: process.env.HYPERHQ_AUTH_CHALLENGE ?? "",
  namespace: "/",
  transports: "polling,websocket",
  count: 10,
  inflight: 4,
  events: "gameLaunched,gameClosed,mediaProgress",
  reauth: "token", // what to present after a drop: token | challenge | token-then-challenge
  expect: "ok", // reconnect: ok | reject; expired-challenge: ok is either, closed
  "wait-ms": 0,
  "gap-ms": 5,
  alias: false,
  "omit-data-token": false,
  "omit-file-token": false,
  "file-path": "assets/blob.bin",
  "any-server-port": false, // do not compare serverPort with the port in use (a proxy sits between)
  "limit-ms": 20000,
});

const report = new Report("node-plugin", flags.scenario);

class Plugin {
  constructor() {
    this.token = null;
    this.authenticated = deferred();
    this.closed = deferred();
    this.authCount = 0;
    this.events = [];
    this.errors = [];
    this.pending = new Map();
    this.files = new Map();
    this.dataMessages = { dataResponse: 0, data_response: 0 };
    this.requests = 0;
    this.nextId = 1;
    this.tookChallengeFallback = false;
  }

  open({ autoAuth = true, reconnection = true } = {}) {
    const url = `http://${flags.host}:${flags.port}${flags.namespace === "/" ? "/" : flags.namespace}`;
    this.socket = io(url, {
      forceNew: true,
      reconnection,
      reconnectionAttempts: 10,
      reconnectionDelay: 100,
      reconnectionDelayMax: 500,
      transports: flags.transports.split(","),
      tryAllTransports: true,
    });
    this.connected = deferred();
    this.socket.on("connect", () => {
      this.connected.resolve();
      if (autoAuth) this.authenticate();
    });
    this.socket.on("connect_error", (error) => {
      this.connectError = error.message;
    });
    this.socket.on("authenticated", (r) => this.onAuthenticated(r));
    this.socket.on("disconnect", (reason) => {
      this.lastReason = reason;
      this.authenticated = deferred();
      this.closed.resolve(reason);
    });
    this.socket.on("error", (e) => this.errors.push(e));
    this.socket.on("eventsSubscribed", (e) => this.onSubscribed?.(e));
    this.socket.on("hyperHqEvent", (e) => {
      this.events.push(e);
      this.onHyperHqEvent?.(e);
    });
    this.socket.on("request", (m) => this.onRequest(m));
    for (const name of ["dataResponse", "data_response"]) {
      this.socket.on(name, (r) => {
        this.dataMessages[name]++;
        const waiter = this.pending.get(r?.requestId);
        if (!waiter) return; // duplicate from the alias, or late
        this.pending.delete(r.requestId);
        waiter.resolve(r);
      });
    }
    this.socket.on("fileData", (r) => {
      const waiter = this.files.get(r?.requestId);
      if (waiter) {
        this.files.delete(r.requestId);
        waiter.resolve(r);
      }
    });
    return within(this.connected.promise, 5000, "connect");
  }

  credentials() {
    if (this.authCount > 0 && flags.reauth !== "challenge" && this.token && !this.tookChallengeFallback) {
      return { pluginId: flags["plugin-id"], sessionToken: this.token };
    }
    return { pluginId: flags["plugin-id"], challenge: flags.challenge };
  }

  authenticate(payload = this.credentials()) {
    this.lastCredentials = payload;
    this.socket.emit("authenticate", payload);
  }

  onAuthenticated(r) {
    this.lastAuth = r;
    if (r?.success) {
      this.authCount++;
      this.token = r.sessionToken;
      this.tookChallengeFallback = false;
      // subscriptions belong to one connection, so they are repeated each time
      if (this.autoSubscribe) this.socket.emit("subscribeEvents", this.autoSubscribe);
      this.authenticated.resolve(r);
      return;
    }
    if (flags.reauth === "token-then-challenge" && this.lastCredentials.sessionToken) {
      this.tookChallengeFallback = true;
      this.authenticate();
      return;
    }
    this.authenticated.reject(new Error(`authentication refused: ${r?.error}`));
  }

  ready() {
    return within(this.authenticated.promise, 5000, "authenticated");
  }

  data(method, params = {}, { token = this.token, requestId, event } = {}) {
    const id = requestId ?? `${method}-${this.nextId++}`;
    const waiter = deferred();
    this.pending.set(id, waiter);
    const body = { method, params, requestId: id };
    if (token !== null && !flags["omit-data-token"]) body.sessionToken = token;
    this.socket.emit(event ?? (flags.alias ? "request_data" : "requestData"), body);
    return within(waiter.promise, 5000, `dataResponse for ${id}`);
  }

  file(filePath, { token = this.token } = {}) {
    const requestId = `file-${this.nextId++}`;
    const waiter = deferred();
    this.files.set(requestId, waiter);
    const body = { filePath, requestId };
    if (token !== null && !flags["omit-file-token"]) body.sessionToken = token;
    this.socket.emit("requestFile", body);
    return within(waiter.promise, 5000, `fileData for ${filePath}`);
  }

  subscribe(names) {
    const waiter = deferred();
    this.onSubscribed = (e) => waiter.resolve(e);
    this.socket.emit("subscribeEvents", names);
    return within(waiter.promise, 5000, "eventsSubscribed");
  }

  reply(id, data, type = "response") {
    this.socket.emit("response", { id, type, data, sessionToken: this.token });
  }

  async onRequest(m) {
    this.requests++;
    let data;
    try {
      data = await this.handle(m);
    } catch (error) {
      data = { error: error.message };
    }
    if (data !== undefined) this.reply(m.id, data);
    if (m?.method === "shutdown") {
      await sleep(50);
      this.shutdown?.resolve();
    }
  }

  async handle(m) {
    switch (m?.method) {
      case "initialize":
        return "initialized";
      case "test":
        return Boolean(this.token);
      case "shutdown":
        return "ok";
      case "execute":
        return this.execute(m.data ?? {});
      default:
        return { error: `Unknown method: ${m?.method}` };
    }
  }

  async execute(d) {
    switch (d.action) {
      case "get_status":
        return { connected: this.socket.connected, authenticated: Boolean(this.token), pluginId: flags["plugin-id"] };
      case "echo":
        return d;
      case "sync": {
        const r = await this.data("getSystems");
        return { success: r.success, systemCount: r.data?.length };
      }
      case "slow": {
        const until = Date.now() + d.workMs;
        while (Date.now() < until) {
          this.socket.emit("statusUpdate", { status: "working", message: `${until - Date.now()} ms left` });
          await sleep(Math.min(d.everyMs, Math.max(1, until - Date.now())));
        }
        return { success: true };
      }
      case "silent":
        await sleep(d.answerAfterMs);
        return { success: true, late: true };
      case "event_count": {
        await sleep(100);
        const ids = this.events.map((e) => Number(String(e?.data?.gameId ?? "").split("-").at(-1)));
        return { events: ids.length, inOrder: ids.every((n, i) => i === 0 || n > ids[i - 1]) };
      }
      default:
        return { error: `Unknown action: ${d.action}` };
    }
  }

  close() {
    this.socket?.close();
  }
}

const plugin = new Plugin();

async function start(options) {
  await plugin.open(options);
  return plugin.ready();
}

async function refused(body, what) {
  try {
    await body();
    report.check(what, false, "was accepted");
  } catch (error) {
    report.check(what, /refused/.test(error.message), error.message);
  }
}

const scenarios = {
  // behave as the guide's plugin until the host asks for shutdown
  async serve() {
    plugin.shutdown = deferred();
    const left = deferred();
    const subscribed = deferred();
    if (flags.events) {
      plugin.autoSubscribe = flags.events.split(",");
      plugin.onSubscribed = (e) => subscribed.resolve(e);
    } else {
      subscribed.resolve({ events: [] });
    }
    const opening = start();
    plugin.socket.on("disconnect", (reason) => {
      // the client library does not come back by itself after these two
      if (reason === "io server disconnect" || reason === "io client disconnect") left.resolve(reason);
    });
    const auth = await opening;
    report.check("session token received", typeof auth.sessionToken === "string" && auth.sessionToken.length > 0);
    await Promise.race([plugin.shutdown.promise, left.promise]);
    const confirmation = await Promise.race([subscribed.promise, sleep(500)]);
    if (plugin.lastReason === undefined) report.check("subscription confirmed", Array.isArray(confirmation?.events), confirmation);
    report.set("requests", plugin.requests);
    report.set("authCount", plugin.authCount);
    report.set("lastReason", plugin.lastReason ?? null);
  },

  async auth() {
    const r = await start();
    report.equal("success", r.success, true);
    report.check("sessionToken", typeof r.sessionToken === "string" && r.sessionToken.length >= 16, r.sessionToken?.length);
    report.check("pluginId echoed or absent", r.pluginId === undefined || r.pluginId === flags["plugin-id"], r.pluginId);
    report.check("serverPort matches or absent", flags["any-server-port"] || r.serverPort === undefined || Number(r.serverPort) === Number(flags.port), r.serverPort);
    report.check("no error field", r.error === undefined || r.error === null, r.error);
  },

  // `count` data requests, `inflight` at a time, through every known method
  async data() {
    await start();
    const systems = await plugin.data("getSystems");
    report.check("getSystems succeeds", systems.success === true, systems);
    const list = Array.isArray(systems.data) ? systems.data : systems.data?.systems;
    report.check("getSystems returns systems", Array.isArray(list) && list.length > 0 && list.every((s) => s.name !== undefined && s.referenceId !== undefined), systems.data);
    const ref = list?.[0]?.referenceId;
    const folders = await plugin.data("getMediaFolders", { systemReferenceId: ref, mediaTypes: ["boxart", "logo"] });
    report.check("getMediaFolders returns folders", folders.success === true && typeof folders.data?.folders === "object", folders);
    const made = await plugin.data("createSystem", { name: "Peer Games", description: "made by a test", platform: "PC", referenceId: "peer-games", allowedExtensions: ".exe", enabled: true });
    report.check("createSystem returns an id", made.success === true && made.data?.id !== undefined, made);
    const again = await plugin.data("createSystem", { name: "Peer Games", referenceId: "peer-games" });
    report.check("duplicate createSystem fails with a message", again.success === false && typeof again.error === "string", again);
    const added = await plugin.data("addGames", { systemId: "peer-games", games: [{ name: "Ünïcode ☃", fileName: "a.exe", romPath: "C:\\games\\a", referenceId: "p1", enabled: true }] });
    report.check("addGames succeeds", added.success === true, added);
    const games = await plugin.data("getGamesForSystem", { systemId: "peer-games" });
    const gameList = Array.isArray(games.data) ? games.data : games.data?.games;
    report.check("the game comes back unchanged", gameList?.[0]?.name === "Ünïcode ☃" && gameList?.[0]?.romPath === "C:\\games\\a", games);
    const launched = await plugin.data("launchGame", { gameId: gameList?.[0]?.id });
    report.check("launchGame succeeds", launched.success === true, launched);
    const missing = await plugin.data("launchGame", { gameId: "no-such-game" });
    report.check("launchGame of an unknown game fails", missing.success === false && typeof missing.error === "string", missing);
    const unknown = await plugin.data("noSuchMethod");
    report.check("unknown method fails with a message", unknown.success === false && typeof unknown.error === "string", unknown);
    const other = await plugin.data("getSystems", {}, { event: flags.alias ? "requestData" : "request_data" });
    report.check("the other spelling of the event works too", other.success === true, other);
    // ids need not be unique: both callers must still get an answer
    const before = plugin.dataMessages.dataResponse;
    plugin.data("getSystems", {}, { requestId: "same-id" }).catch(() => {});
    await plugin.data("getSystems", {}, { requestId: "same-id" });
    // the second one may come with a later poll
    for (let i = 0; i < 50 && plugin.dataMessages.dataResponse - before < 2; i++) await sleep(100);
    report.equal("a repeated requestId is answered twice", plugin.dataMessages.dataResponse - before, 2);
    let sent = 0;
    let good = 0;
    await Promise.all(Array.from({ length: flags.inflight }, async () => {
      while (sent < flags.count) {
        const n = sent++;
        const r = await plugin.data("getSystems", { n });
        if (r.success) good++;
      }
    }));
    report.equal("bulk requests answered", good, flags.count);
    report.set("dataMessages", plugin.dataMessages);
  },

  async "wrong-token"() {
    await start();
    const r = await plugin.data("getSystems", {}, { token: "0".repeat(64) });
    report.check("a wrong token is refused", r.success === false && typeof r.error === "string", r);
    report.check("no data leaks", r.data === undefined || r.data === null, r.data);
    const ok = await plugin.data("getSystems");
    report.check("the right token still works", ok.success === true, ok);
  },

  // everything before authentication must be refused, and the connection stays usable
  async "no-auth"() {
    await plugin.open({ autoAuth: false });
    const answer = await plugin.data("getSystems", {}, { token: null }).catch((e) => e);
    const refusedData = answer instanceof Error ? plugin.errors.length > 0 || !plugin.socket.connected : answer.success === false;
    report.check("requestData refused", refusedData, String(answer?.error ?? answer));
    if (plugin.socket.connected) {
      const file = await plugin.file("README.md", { token: null }).catch((e) => e);
      report.check("requestFile refused", file instanceof Error || file.success === false, file);
    }
    if (plugin.socket.connected) {
      const sub = await plugin.subscribe(["gameLaunched"]).catch((e) => e);
      report.check("subscribeEvents refused", sub instanceof Error, sub);
    }
    plugin.socket.emit("statusUpdate", { status: "x" });
    plugin.socket.emit("response", { id: "forged", type: "response", data: "x" });
    report.set("errors", plugin.errors);
    report.set("stillConnected", plugin.socket.connected);
  },

  async "bad-challenge"() {
    await plugin.open({ autoAuth: false, reconnection: false });
    plugin.authenticate({ pluginId: flags["plugin-id"], challenge: "definitely-wrong" });
    await refused(() => plugin.ready(), "wrong challenge refused");
    report.check("error text given", typeof plugin.lastAuth?.error === "string" && plugin.lastAuth.error.length > 0, plugin.lastAuth);
    report.check("no token given", !plugin.lastAuth?.sessionToken);
    const r = await plugin.data("getSystems", {}, { token: null }).catch((e) => e);
    report.check("no data after refusal", r instanceof Error || r.success === false, r);
  },

  async "wrong-plugin-id"() {
    await plugin.open({ autoAuth: false, reconnection: false });
    plugin.authenticate({ pluginId: "somebody-else", challenge: flags.challenge });
    await refused(() => plugin.ready(), "challenge of another plugin refused");
  },

  async "malformed-auth"() {
    for (const payload of [null, "text", 42, [], {}, { pluginId: "" }, { pluginId: 5, challenge: flags.challenge }, { challenge: flags.challenge }]) {
      const p = new Plugin();
      await p.open({ autoAuth: false, reconnection: false });
      p.socket.emit("authenticate", payload);
      await sleep(80);
      const refusedOrClosed = p.lastAuth ? p.lastAuth.success === false : true;
      report.check(`refused: ${JSON.stringify(payload)}`.slice(0, 60), refusedOrClosed, p.lastAuth);
      p.close();
    }
    const ok = await start();
    report.equal("the challenge is still good", ok.success, true);
  },

  async "expired-challenge"() {
    await plugin.open({ autoAuth: false, reconnection: false });
    // for as long as it takes, where nothing else is expected
    const limit = flags.expect === "closed" ? 15000 : flags["wait-ms"];
    await Promise.race([plugin.closed.promise, sleep(limit)]);
    if (!plugin.socket.connected || flags.expect === "closed") {
      report.check("host closed the idle unauthenticated connection", !plugin.socket.connected);
      return;
    }
    plugin.authenticate();
    await refused(() => plugin.ready(), "expired challenge refused");
  },

  // second connection presents the same challenge while the first is alive
  async "reuse-challenge"() {
    await start();
    const second = new Plugin();
    await second.open({ autoAuth: false, reconnection: false });
    second.authenticate({ pluginId: flags["plugin-id"], challenge: flags.challenge });
    await refused(() => second.ready(), "second use of the challenge refused");
    const still = await plugin.data("getSystems");
    report.check("first session unharmed", still.success === true, still);
    second.close();
  },

  // drop our own transport and come back
  async reconnect() {
    await start({ reconnection: true });
    const firstToken = plugin.token;
    for (let i = 0; i < flags.count; i++) {
      plugin.closed = deferred();
      plugin.socket.io.engine.close();
      await within(plugin.closed.promise, 3000, "own disconnect");
      await sleep(1);
      if (flags.expect === "reject") {
        await refused(() => plugin.ready(), `re-authentication with ${flags.reauth} refused`);
        return;
      }
      await plugin.ready();
      report.check(`authenticated again (${i + 1})`, plugin.authCount === i + 2);
      const r = await plugin.data("getSystems");
      report.check(`data works again (${i + 1})`, r.success === true, r);
    }
    const old = await plugin.data("getSystems", {}, { token: firstToken });
    report.set("oldTokenStillAccepted", old.success);
    report.set("tokenChanged", plugin.token !== firstToken);
  },

  async events() {
    plugin.shutdown = deferred();
    await start();
    const names = flags.events.split(",");
    const reply = await plugin.subscribe(names);
    report.equal("confirmed names", [...reply.events].sort(), [...names].sort());
    report.check("pluginId in confirmation", reply.pluginId === undefined || reply.pluginId === flags["plugin-id"], reply.pluginId);
    const enough = deferred();
    plugin.onHyperHqEvent = () => plugin.events.length >= flags.count && enough.resolve();
    await within(enough.promise, flags["limit-ms"] - 1000, `${flags.count} events`);
    report.check("only subscribed types", plugin.events.every((e) => names.includes(e.type)), plugin.events.map((e) => e.type));
    report.check("envelope fields", plugin.events.every((e) => "data" in e && "timestamp" in e), plugin.events[0]);
    report.set("timestampType", typeof plugin.events[0]?.timestamp);
    await Promise.race([plugin.shutdown.promise, sleep(1000)]);
  },

  async file() {
    await start();
    const r = await plugin.file(flags["file-path"]);
    report.check("file delivered", r.success === true, { ...r, data: undefined });
    const bytes = typeof r.data === "string" ? Buffer.from(r.data, "base64") : Buffer.from(r.data ?? []);
    report.set("encoding", typeof r.data === "string" ? "base64" : "binary");
    report.set("bytes", bytes.length);
    report.equal("size field", r.size, bytes.length);
    report.equal("filePath echoed", r.filePath, flags["file-path"]);
    if (flags["file-path"] === "assets/blob.bin") report.check("content intact", bytes.length === 256 && bytes.every((b, i) => b === i));
    const empty = await plugin.file("empty.txt");
    report.check("empty file delivered", empty.success === true && empty.size === 0 && (empty.data?.length ?? 0) === 0, empty);
    for (const bad of ["../secret.txt", "assets/../../secret.txt", "..\\secret.txt", "/etc/hostname", "C:\\Windows\\win.ini", "\\\\server\\share\\x", "escape.txt", "assets", "missing.txt", "", "a\0b", "./../secret.txt", "assets/%2e%2e/%2e%2e/secret.txt"]) {
      const x = await plugin.file(bad);
      report.check(`refused: ${JSON.stringify(bad)}`, x.success === false && (x.data === undefined || x.data === null) && typeof x.error === "string", { ...x, data: Boolean(x.data) });
    }
    const noToken = await plugin.file("README.md", { token: null });
    report.set("fileWithoutToken", noToken.success ? "accepted" : "refused");
    const wrong = await plugin.file("README.md", { token: "0".repeat(64) });
    report.check("wrong token refused", wrong.success === false, wrong);
  },

  async thumbnails() {
    await start();
    plugin.socket.emit("thumbnail:created", { videoPath: "v/a.mp4", thumbnailPath: "t/a.jpg", timestamp: Date.now() });
    for (let i = 1; i <= 4; i++) plugin.socket.emit("thumbnail:progress", { processed: i, total: 4, generated: i, skipped: 0, failed: 0, percentComplete: i * 25 });
    plugin.socket.emit("thumbnail:complete", { generated: 4, skipped: 0, failed: 0, durationMs: 12 });
    const r = await plugin.data("getSystems");
    report.check("connection unaffected", r.success === true, r);
  },

  // events older plugins send although the host does not handle them
  async legacy() {
    await start();
    plugin.socket.emit("plugin:register", { id: flags["plugin-id"], version: "0.1.0", type: "executable", sessionToken: plugin.token, capabilities: ["games"] });
    for (const name of ["plugin:progress", "plugin:notify", "plugin:error", "plugin:status", "plugin_log", "pluginLog"]) {
      plugin.socket.emit(name, { pluginId: flags["plugin-id"], level: "info", message: "x", timestamp: Date.now() });
    }
    plugin.socket.emit("somethingNobodyKnows", 1, "two", { three: [3] });
    plugin.socket.emit("statusUpdate", { status: "connected", message: null });
    plugin.socket.emit("statusUpdate", "running");
    plugin.socket.emit("statusUpdate");
    const r = await plugin.data("getSystems");
    report.check("connection unaffected", r.success === true, r);
    report.equal("no error events", plugin.errors.length, 0);
  },

  // the opening of the published C# helper: raw WebSocket, an Engine.IO "0"
  // packet from the client, then CONNECT and `authenticate` without waiting
  async "sdk-opening"() {
    const ws = new WebSocket(`ws://${flags.host}:${flags.port}/socket.io/?EIO=4&transport=websocket`);
    const got = [];
    const authenticated = deferred();
    ws.on("message", (data, isBinary) => {
      const text = isBinary ? "<binary>" : data.toString();
      got.push(text);
      if (text === "2") ws.send("3");
      if (text.startsWith('42["authenticated"')) authenticated.resolve(JSON.parse(text.slice(2))[1]);
    });
    ws.on("error", (error) => authenticated.reject(error));
    ws.on("close", (code) => authenticated.reject(new Error(`closed by host: ${code}`)));
    await new Promise((resolve) => ws.on("open", resolve));
    const frames = ["0", "40", `42${JSON.stringify(["authenticate", { pluginId: flags["plugin-id"], token: flags.challenge, challenge: flags.challenge }])}`];
    for (const f of frames) {
      ws.send(f);
      if (flags["gap-ms"] > 0) await sleep(flags["gap-ms"]);
    }
    const r = await within(authenticated.promise, 3000, "authenticated").catch((e) => e);
    report.check("accepted", r?.success === true, String(r?.error ?? r));
    report.set("frames", got.map((t) => t.slice(0, 24)));
    ws.close();
  },
};

await runPeer(report, flags["limit-ms"], async () => {
  const scenario = scenarios[flags.scenario];
  if (!scenario) throw new Error(`unknown scenario: ${flags.scenario}; known: ${Object.keys(scenarios).join(", ")}`);
  if (!flags.port || !flags["plugin-id"] || !flags.challenge) throw new Error("HYPERHQ_SOCKET_PORT, HYPERHQ_PLUGIN_ID and HYPERHQ_AUTH_CHALLENGE are required");
  try {
    await scenario();
  } finally {
    plugin.close();
  }
});
