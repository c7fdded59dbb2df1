// The built binary as a black box: its environment, its log line `listening`, its signals.

import { binary, Process } from "./process.js";
import { Client } from "./client.js";
import { Broker } from "./broker.js";
import { SECRET } from "./tokens.js";
import { eventually } from "./wait.js";

const ADDRESS = /^(?:https?:\/\/)?((?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:]+\]):\d+)\/?$/;
/** Seconds over which a stopping server closes its connections; short, for most tests do not look at it. */
const DRAIN_SECONDS = 1;

export class Server {
  /** Starts `fleetcast serve` against the broker and waits until it is ready. `env` adds to or overrides the defaults. */
  static async start(broker, env = {}) {
    const server = new Server();
    server.broker = broker;
    server.clients = new Set();
    const settings = {
      PATH: process.env.PATH,
      HOST: "127.0.0.1",
      PORT: "0",
      INTERNAL_HOST: "127.0.0.1",
      INTERNAL_PORT: "0",
      JWT_SECRET: SECRET,
      KAFKA_BOOTSTRAP_SERVERS: broker.address,
      KAFKA_TOPIC_PREFIX: broker.prefix,
      DRAIN_SECONDS: String(DRAIN_SECONDS),
      LOG_FORMAT: "json",
      // The mock broker sleeps out the whole wait of a fetch.
      ...(broker.mock ? { KAFKA_PROPERTIES_FETCH_WAIT_MAX_MS: "10" } : {}),
      ...env,
    };
    server.drain = Number(settings.DRAIN_SECONDS);
    server.process = new Process(binary("fleetcast"), ["serve"], settings);
    const { open, internal } = await server.process.line(listening, "its log line `listening`");
    server.url = `http://${open}`;
    server.internal = `http://${internal}`;
    // Its public listener may want a preamble first, which is not for us to write.
    const asked = settings.PROXY_PROTOCOL === "true" ? server.internal : server.url;
    try {
      await eventually(
        async () => (await fetch(`${asked}/ready`)).status === 200,
        "200 from /ready",
        20_000,
      );
    } catch (error) {
      server.process.child.kill("SIGKILL");
      throw new Error(`${error.message}; it said:\n${server.process.tail()}`);
    }
    return server;
  }

  /** A client that is not connected yet; see Client. */
  client(options) {
    const client = new Client(this.url, options);
    this.clients.add(client);
    return client;
  }

  /** A client that is connected and welcomed. */
  async connect(options) {
    const client = this.client(options);
    await client.connect();
    return client;
  }

  closeClients() {
    for (const client of this.clients) client.close();
    this.clients.clear();
  }

  /** Value of a metric summed over its label sets that contain all of `labels`. */
  async metric(name, labels = {}) {
    const text = await (await fetch(`${this.internal}/metrics`)).text();
    const wanted = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
    return text
      .split("\n")
      .filter((line) => new RegExp(`^${name}[{ ]`).test(line))
      .filter((line) => wanted.every((label) => line.includes(label)))
      .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }

  /** SIGTERM; resolves to `{ code, signal }`, an error if it takes longer than its drain time and 5 s. */
  async stop() {
    const end = await this.process.stop("SIGTERM", (this.drain + 5) * 1000);
    this.closeClients();
    return end;
  }
}

/** A broker and one server on it: what most files need. */
export async function startFleet(env = {}, topics = []) {
  const broker = await Broker.open(topics);
  try {
    const server = await Server.start(broker, typeof env === "function" ? env(broker) : env);
    return {
      broker,
      server,
      async stop() {
        server.closeClients();
        await server.stop();
        await broker.close();
      },
    };
  } catch (error) {
    await broker.close();
    throw error;
  }
}

/** The addresses of the JSON log line `listening`, whether its fields are nested or flat. */
export function listening(line) {
  let entry;
  try {
    entry = JSON.parse(line);
  } catch {
    return undefined;
  }
  const fields = { ...entry, ...entry.fields };
  if (fields.message !== "listening") return undefined;
  const open = ADDRESS.exec(fields.public ?? "")?.[1];
  const internal = ADDRESS.exec(fields.internal ?? "")?.[1];
  return open && internal && { open, internal };
}
