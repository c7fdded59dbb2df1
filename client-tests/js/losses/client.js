// The stock JavaScript client, over polling alone; prints the number of each event that it gets. It goes on from its cursor.

import { io } from "socket.io-client";

let cursor;
const socket = io(process.env.URL, {
  transports: ["polling"],
  reconnectionDelay: 20,
  reconnectionDelayMax: 50,
  auth: (give) => give({ token: process.env.TOKEN, cursor }),
});
socket.onAny((event, ...args) => {
  cursor = args.findLast((arg) => typeof arg === "string" && arg.startsWith("v1.")) ?? cursor;
  if (event === "incident_created") console.log(`event ${args[0].data.n}`);
  if (event === "connection_established") console.log(`resume ${args[0].data.resume}`);
  if (event === "resync_required") console.log("resync");
});
socket.on("connect_error", (error) => socket.active || console.log(`refused ${error.message}`));
process.stdin.on("end", () => process.exit()).resume();
