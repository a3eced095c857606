// The stock Sockhop 1.8.4 server, echoing every callback. Arguments: the folder that holds node_modules.
import { createRequire } from "node:module";
import net from "node:net";
import path from "node:path";

const require = createRequire(path.join(process.argv[2], "package.json"));
const sockhop = require("sockhop");

// A stock server turns port 0 into its default, so a free port is probed first.
const probe = net.createServer();
await new Promise((ready) => probe.listen(0, "127.0.0.1", ready));
const { port } = probe.address();
await new Promise((closed) => probe.close(closed));

const server = new sockhop.server({ address: "127.0.0.1", port });
server.on("receive", (data, meta) => {
  if (meta.callback) meta.callback(data);
});
server.on("error", () => {});
await server.listen();
console.log(`READY 127.0.0.1:${port}`);
process.stdin.on("end", () => process.exit(0));
process.stdin.resume();
