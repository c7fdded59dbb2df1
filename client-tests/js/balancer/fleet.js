// Two instances on addresses that outlive them, on one Kafka.

import { Broker } from "../harness/broker.js";
import { Server } from "../harness/server.js";
import { freePort } from "../../readme/blocks.js";

/** Seconds over which a stopping instance closes its connections: longer than a balancer takes to notice it. */
const DRAIN_SECONDS = 4;

export class Fleet {
  static async start(env = {}) {
    const fleet = new Fleet();
    fleet.broker = await Broker.open();
    fleet.ports = [await freePort(), await freePort()];
    fleet.env = {
      DRAIN_SECONDS: String(DRAIN_SECONDS),
      TRUSTED_PROXIES: "127.0.0.1",
      COMMANDS_PER_SECOND: "0",
      HANDSHAKES_PER_SECOND_PER_ADDRESS: "0",
      MAX_CONNECTIONS_PER_USER: "0",
      ...env,
    };
    fleet.servers = await Promise.all([0, 1].map((index) => fleet.#start(index)));
    return fleet;
  }

  #start(index) {
    return Server.start(this.broker, { ...this.env, PORT: String(this.ports[index]) });
  }

  get addresses() {
    return this.ports.map((port) => `127.0.0.1:${port}`);
  }

  /** SIGTERM to one of them, and all that follows from it. */
  async stop(index) {
    const { code } = await this.servers[index].stop();
    if (code !== 0) throw new Error(`instance ${index + 1} ended with ${code}`);
  }

  /** After a scale-out: this instance closes a share of its connections, which come back by the balancer. */
  async rebalance(index, share) {
    const url = `${this.servers[index].internal}/api/drain?share=${share}&seconds=1`;
    const answer = await fetch(url, { method: "POST" });
    if (answer.status !== 202) throw new Error(`${answer.status} ${await answer.text()}`);
  }

  /** The end of a machine: no word to anybody. */
  async crash(index) {
    const { child, exited } = this.servers[index].process;
    child.kill("SIGKILL");
    await exited;
    this.servers.splice(index, 1);
  }

  async restart(index) {
    this.servers[index] = await this.#start(index);
  }

  /** Connections that each of them has now. */
  async connections() {
    return await Promise.all(this.servers.map((server) => server.metric("fleetcast_connections")));
  }

  /** Addresses of this user's connections, as the instances know them. */
  async addressesOf(user) {
    const found = [];
    for (const { internal } of this.servers) {
      const answer = await fetch(`${internal}/api/connections?user_id=${user}`);
      found.push(...(await answer.json()).connections.map(({ address }) => address));
    }
    return found;
  }

  async close() {
    await Promise.all(this.servers.map((server) => server.stop()));
    await this.broker.close();
  }
}
