// A plain Socket.IO server with its defaults, as its documentation shows it: what Fleetcast is measured against.
//
// It has no authentication, no log and no cursor. The load generator publishes by a connection of its own.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const server = createServer(answer);
const io = new Server(server);

// Events of a back-end, one in each request.
async function answer(request, response) {
  if (request.method !== "POST") return response.writeHead(200).end();
  let body = "";
  for await (const chunk of request) body += chunk;
  const { event, room, data } = JSON.parse(body);
  io.to(room).emit(event, data);
  response.writeHead(202, { "content-length": 0 }).end();
}

if (process.env.REDIS_URL) {
  const publisher = createClient({ url: process.env.REDIS_URL });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  io.adapter(createAdapter(publisher, subscriber));
}

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
