// A Redis of one test file, on a free port, which keeps nothing.

import { createServer } from "node:net";
import { once } from "node:events";

import { Process } from "./process.js";

export class Redis {
  static async start() {
    const redis = new Redis();
    redis.port = await freePort();
    redis.url = `redis://127.0.0.1:${redis.port}`;
    const args = ["--port", redis.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    redis.process = new Process("redis-server", args.map(String), { PATH: process.env.PATH });
    await redis.process.line((line) => line.includes("Ready to accept connections"), "Redis");
    return redis;
  }

  async stop() {
    await this.process.stop();
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
