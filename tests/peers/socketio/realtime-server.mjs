#!/usr/bin/env node
// Plain Socket.IO server for testing a Socket.IO client. The /realtime
// namespace wants a fresh token in the CONNECT payload of every single
// connection; the main namespace is open. Commands arrive as events from the
// client or as HTTP requests under /control.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { parseFlags, announceReady, sleep } from "./cli.mjs";

const flags = parseFlags(process.argv.slice(2), {
  port: "0",
  host: "127.0.0.1",
  namespace: "/realtime",
  "ping-interval": 25000,
  "ping-timeout": 20000,
  "connect-timeout": 45000,
  "max-payload": 1000000,
  transports: "polling,websocket",
  "recovery-ms": 0, // > 0 turns connection state recovery on
  "auth-delay-ms": 0,
  // counter: auth.token must be "tok-<n>" with n larger than any n seen before
  // static:  auth.token must equal --token
  // none:    anything goes
  "auth-mode": "counter",
  token: "secret",
  "deflate": false,
  "limit-ms": 0,
  "ready-file": "",
});

const http = createServer();
const io = new Server(http, {
  pingInterval: flags["ping-interval"],
  pingTimeout: flags["ping-timeout"],
  connectTimeout: flags["connect-timeout"],
  maxHttpBufferSize: flags["max-payload"],
  transports: flags.transports.split(","),
  perMessageDeflate: flags.deflate,
  serveClient: false,
  ...(flags["recovery-ms"] > 0 ? { connectionStateRecovery: { maxDisconnectionDuration: flags["recovery-ms"] } } : {}),
});

const stats = {
  engineConnections: 0,
  upgrades: 0,
  connects: 0,
  refused: 0,
  recovered: 0,
  reusedTokens: 0,
  eventsReceived: 0,
  acksReceived: 0,
  disconnects: {},
  tokens: [],
  maxTokenSeen: 0,
};

io.engine.on("connection", (conn) => {
  stats.engineConnections++;
  conn.on("upgrade", () => stats.upgrades++);
});

// Stops all traffic towards one client without closing anything, as if the
// network had gone: the client can only notice the missing pings.
function freeze(socket) {
  const conn = socket.conn;
  conn.transport.send = () => {};
  conn.transport.close = () => {};
  conn.transport.removeAllListeners("packet");
}

const kickModes = {
  // Socket.IO DISCONNECT packet, transport stays open
  namespace: (s) => s.disconnect(false),
  // DISCONNECT for every namespace, then a regular transport close
  close: (s) => s.disconnect(true),
  // transport closed without any Socket.IO packet
  engine: (s) => s.conn.close(),
  // TCP connection cut
  abort: (s) => {
    const ws = s.conn.transport.socket;
    if (ws?.terminate) ws.terminate();
    else s.conn.close(true);
  },
  // an Engine.IO "close" packet in a message of its own, transport left open
  "close-packet": (s) => s.conn.transport.send([{ type: "close" }]),
  freeze,
};

// Sends bytes exactly as given, bypassing every encoder.
function sendRaw(socket, text) {
  socket.conn.transport.socket?.send(text);
}

function checkToken(token) {
  if (flags["auth-mode"] === "none") return null;
  if (typeof token !== "string") return { message: "token required", data: { code: "missing" } };
  if (flags["auth-mode"] === "static") return token === flags.token ? null : { message: "invalid token", data: { code: "invalid" } };
  const m = /^tok-(\d+)$/.exec(token);
  if (!m) return { message: "invalid token", data: { code: "invalid" } };
  const n = Number(m[1]);
  if (n <= stats.maxTokenSeen) {
    stats.reusedTokens++;
    return { message: "stale token", data: { code: "stale", last: stats.maxTokenSeen } };
  }
  stats.maxTokenSeen = n;
  return null;
}

function refuse(problem) {
  const error = new Error(problem.message);
  error.data = problem.data;
  stats.refused++;
  return error;
}

let refuseNext = 0;

async function guard(socket, next) {
  stats.tokens.push(socket.handshake.auth?.token ?? null);
  if (flags["auth-delay-ms"] > 0) await sleep(flags["auth-delay-ms"]);
  if (refuseNext > 0) {
    refuseNext--;
    return next(refuse({ message: "temporarily refused", data: { code: "later" } }));
  }
  const problem = checkToken(socket.handshake.auth?.token);
  next(problem ? refuse(problem) : undefined);
}

function attach(socket) {
  stats.connects++;
  if (socket.recovered) stats.recovered++;
  socket.onAny(() => stats.eventsReceived++);
  socket.on("disconnect", (reason) => (stats.disconnects[reason] = (stats.disconnects[reason] ?? 0) + 1));
  socket.on("error", () => {});

  socket.emit("welcome", { id: socket.id, auth: socket.handshake.auth, recovered: socket.recovered, transport: socket.conn.transport.name });

  // echo <...args>: emits echo-back with the same arguments, or acknowledges with them
  socket.on("echo", (...args) => {
    const ack = typeof args.at(-1) === "function" ? args.pop() : null;
    if (ack) ack(...args);
    else socket.emit("echo-back", ...args);
  });
  // late <ms> <value>: acknowledges after a while; never: does not acknowledge
  socket.on("late", (ms, value, ack) => setTimeout(() => ack(value), ms));
  socket.on("never", () => {});
  // burst <n>: n numbered events in a row
  socket.on("burst", (n) => {
    for (let i = 0; i < n; i++) socket.emit("tick", i);
  });
  // ask-me <...args>: the server asks back with an acknowledgement and reports the answer
  socket.on("ask-me", (...args) => {
    socket.timeout(2000).emit("question", ...args, (error, ...answer) => {
      if (!error) stats.acksReceived++;
      socket.emit("answered", error ? { error: error.message } : { answer });
    });
  });
  // binary <sizes>: one event with a blob per size
  socket.on("binary", (...sizes) => socket.emit("blobs", ...sizes.map((n) => Buffer.alloc(n, 0xa5))));
  // raw <text>: that text as one WebSocket message
  socket.on("raw", (text) => sendRaw(socket, text));
  socket.on("kick", (mode = "close") => kickModes[mode]?.(socket));
  // offset-probe: plain event used by recovery tests
  socket.on("say", (value) => socket.emit("said", value));
}

const guarded = io.of(flags.namespace);
guarded.use(guard);
guarded.on("connection", attach);
if (flags.namespace !== "/") io.of("/").on("connection", attach);

const control = {
  stats: () => stats,
  // POST /control/kick?mode=abort          every client of the guarded namespace
  kick: (q) => {
    const sockets = [...guarded.sockets.values()];
    for (const s of sockets) kickModes[q.get("mode") ?? "close"]?.(s);
    return { kicked: sockets.length };
  },
  // POST /control/emit?event=x&data=<json>
  emit: (q) => {
    guarded.emit(q.get("event") ?? "news", JSON.parse(q.get("data") ?? "null"));
    return { sent: guarded.sockets.size };
  },
  // POST /control/raw?text=...
  raw: (q) => {
    for (const s of guarded.sockets.values()) sendRaw(s, q.get("text") ?? "");
    return { sent: guarded.sockets.size };
  },
  // POST /control/refuse?n=2               refuse the next n CONNECTs
  refuse: (q) => {
    refuseNext = Number(q.get("n") ?? 1);
    return { refuseNext };
  },
  exit: () => {
    setTimeout(finish, 20);
    return { bye: true };
  },
};

http.on("request", (req, res) => {
  const url = new URL(req.url, "http://localhost");
  if (!url.pathname.startsWith("/control/")) return;
  const action = control[url.pathname.slice("/control/".length)];
  const body = JSON.stringify(action ? action(url.searchParams) : { error: "unknown" });
  res.writeHead(action ? 200 : 404, { "content-type": "application/json" });
  res.end(body);
});

let finished = false;
function finish() {
  if (finished) return;
  finished = true;
  process.stdout.write(JSON.stringify({ peer: "node-realtime-server", ok: true, ...stats }) + "\n", () => process.exit(0));
}
process.on("SIGTERM", finish);
process.on("SIGINT", finish);
if (flags["limit-ms"] > 0) setTimeout(finish, flags["limit-ms"]);

http.listen({ port: Number(flags.port), host: flags.host }, () => {
  announceReady({ type: "ready", port: http.address().port, namespace: flags.namespace }, flags["ready-file"]);
});
