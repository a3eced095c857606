// A HyperHQ host of three handlers on npm socket.io. Argument: the folder that holds node_modules.
import { createRequire } from "node:module";
import { createServer } from "node:http";
import path from "node:path";

const { Server } = createRequire(path.join(process.argv[2], "package.json"))("socket.io");
const http = createServer();
const io = new Server(http);

io.on("connection", (socket) => {
  socket.on("authenticate", ({ pluginId }) => socket.emit("authenticated", { success: true, pluginId }));
  socket.on("subscribeEvents", (events) => socket.emit("eventsSubscribed", { events }));
  socket.on("requestData", ({ requestId, method, params }) => {
    if (method === "announce") {
      const event = { type: "announcement", data: params.body, timestamp: Date.now() };
      for (let n = 0; n < params.count; n++) io.emit("hyperHqEvent", event);
    }
    const answer = { requestId, success: true, data: params };
    socket.emit("dataResponse", answer);
    socket.emit("data_response", answer);
  });
});
http.listen(0, "127.0.0.1", () => console.log(`READY 127.0.0.1:${http.address().port}`));
process.stdin.on("end", () => process.exit(0)).resume();
