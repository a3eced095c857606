// A Stonyx server on `ws` and node:crypto, echoing every request. Arguments: the folder that holds node_modules, the shared key.
import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from "node:crypto";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.argv[2], "package.json"));
const { WebSocketServer } = require("ws");
const shared = scryptSync(process.argv[3], "stonyx-sockets", 32);

const seal = (key, text) => {
  const iv = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", key, iv);
  const body = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), body]);
};
const open = (key, bytes) => {
  const cipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, 12));
  cipher.setAuthTag(bytes.subarray(12, 28));
  return Buffer.concat([cipher.update(bytes.subarray(28)), cipher.final()]).toString("utf8");
};

const members = new Set();
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false }, () => {
  console.log(`READY 127.0.0.1:${server.address().port}`);
});
server.on("connection", (socket) => {
  let key = null;
  socket.on("error", () => socket.terminate());
  socket.on("close", () => members.delete(socket));
  socket.on("message", (bytes) => {
    const { request, data } = JSON.parse(open(key ?? shared, bytes));
    if (request === "auth") {
      const fresh = randomBytes(32);
      const answer = { request, response: "success", sessionKey: fresh.toString("base64") };
      socket.send(seal(shared, JSON.stringify(answer)));
      key = fresh;
      socket.push = (name, value) => socket.send(seal(key, JSON.stringify({ request: name, response: value })));
      members.add(socket);
      return;
    }
    if (request === "announce") {
      for (let n = 0; n < data.count; n += 1) {
        for (const member of members) member.push("announcement", data.body);
      }
    }
    socket.send(seal(key, JSON.stringify({ request, response: request === "announce" ? members.size : data })));
  });
});
process.stdin.on("end", () => process.exit(0));
process.stdin.resume();
