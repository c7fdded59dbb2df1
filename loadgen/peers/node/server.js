// A plain Socket.IO server with its defaults, as its documentation shows it: what Fleetcast is measured against.
//
// It has no authentication, no log and no cursor. The load generator publishes by a connection of its own.
import { createServer } from "node:http";
import { Server } from "socket.io";

const server = createServer((_request, response) => response.writeHead(200).end());
const io = new Server(server);

io.on("connection", (socket) => {
  socket.on("subscribe", ({ room }, answer) => {
    socket.join(room);
    answer({
      status: "success",
      success: true,
      message: "subscribed",
      data: { room, rooms: [...socket.rooms] },
    });
  });
  socket.on("echo", (argument, answer) => {
    answer({ status: "success", success: true, message: "acknowledged", data: argument });
  });
  socket.on("publish", ({ room, event, data }) => io.to(room).emit(event, data));
});

// The same backlog as Fleetcast has: the default of 511 is too short for 10,000 clients.
server.listen({ host: "127.0.0.1", port: Number(process.env.PORT), backlog: 4096 });
