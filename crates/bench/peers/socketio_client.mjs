// A client on npm socket.io-client. Arguments: the folder that holds node_modules, host:port, calls for each line on standard
// input, calls in flight, a body in JSON.
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";

const [folder, address, calls, inFlight, body] = process.argv.slice(2);
const { io } = createRequire(path.join(folder, "package.json"))("socket.io-client");
const value = JSON.parse(body);
const socket = io(`ws://${address}`, { transports: ["websocket"], reconnection: false });
socket.on("connect_error", (error) => {
  console.error(String(error));
  process.exit(1);
});
socket.on("connect", () => console.log("READY"));

createInterface({ input: process.stdin })
  .on("line", () => {
    let sent = 0;
    let answered = 0;
    const next = () => {
      sent++;
      socket.emit("echo", value, () => {
        if (++answered === Number(calls)) console.log("DONE");
        else if (sent < Number(calls)) next();
      });
    };
    for (let lane = 0; lane < Number(inFlight); lane++) next();
  })
  .on("close", () => process.exit(0));
