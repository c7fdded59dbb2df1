// Stock clients of one balancer, what is produced for them, and the judgement of it all.

import { Manager } from "socket.io-client";

import { eventually, sleep } from "../harness/wait.js";
import { ALL_ASSETS, ALL_CHANNELS, Follower } from "../lane/follower.js";
import { ForeignClients } from "../lane/foreign.js";
import { Load } from "../lane/load.js";
import { Produced, Transcript } from "../lane/transcript.js";

/** Records per second. */
const RATE = 60;
/** Milliseconds in which nothing happens to the instances, so that no session may end. */
const STEADY = 2_500;
/**
 * Its first session, one for each instance that ended, one for the drain, and for a client that is known by its address two more: it may lose a session
 * to the others of that address, which have moved.
 */
const MOST_SESSIONS = 7;
/** Milliseconds after which everything must have arrived. */
const PATIENCE = 20_000;
const ROOMS = [
  ...ALL_CHANNELS.map((channel) => `channel:${channel}`),
  ...ALL_ASSETS.map((asset) => `asset:${asset}`),
];

export class Scene {
  transcripts = [];
  followers = [];
  managers = [];
  foreign = [];
  produced = new Produced();
  refusals = new Map();

  constructor(balancer) {
    this.balancer = balancer;
    this.urls = {
      url: balancer.url,
      byAddress: balancer.byAddress,
      named: balancer.url.replace("127.0.0.1", "localhost"),
    };
  }

  #follower(name) {
    const transcript = new Transcript(name);
    this.transcripts.push(transcript);
    return new Follower(transcript, { channels: ALL_CHANNELS, assets: ALL_ASSETS });
  }

  /** `url`: which of the URLs. */
  addJavaScript(name, url, options) {
    const follower = this.#follower(name);
    const fast = { reconnectionDelay: 50, reconnectionDelayMax: 200 };
    const manager = new Manager(this.urls[url], { autoConnect: false, ...fast, ...options });
    manager.on("reconnect_error", ({ message, description }) => {
      const refusal = `${message} ${typeof description === "number" ? description : ""}`;
      this.refusals.set(name, [...(this.refusals.get(name) ?? []), refusal]);
    });
    const socket = manager.socket("/", { auth: follower.auth });
    follower.attach(socket);
    this.managers.push(manager);
    this.followers.push(follower);
    socket.connect();
  }

  /** `clients`: which of the URLs each has, by its name. */
  addForeign(language, clients) {
    const followers = Object.entries(clients).map(([name, url]) =>
      Object.assign(this.#follower(name), { url: this.urls[url] }),
    );
    this.foreign.push(new ForeignClients(language, followers, ROOMS));
  }

  async connected() {
    await Promise.all(this.foreign.map((foreign) => foreign.connected()));
    for (const follower of this.followers) {
      const { transcript } = follower;
      await eventually(
        () => transcript.sessions > 0,
        () => `${transcript.name} to connect: ${this.balancer.process.tail()}`,
      );
      await follower.join();
    }
  }

  /** Whether sessions stay where they are as long as the instances do. */
  async steady() {
    await sleep(STEADY);
    for (const transcript of this.transcripts) {
      if (transcript.sessions > 1)
        transcript.fault(`${transcript.sessions} sessions without cause`);
    }
  }

  /** Produces, and lets clients ask, while `meanwhile` runs; then waits for the rest. */
  async play(broker, meanwhile) {
    const load = new Load(broker, this.produced);
    const runs = this.followers.map((follower) => follower.run());
    let over = false;
    const producing = (async () => {
      while (!over) await load.run(RATE, 200);
    })();
    try {
      await meanwhile();
    } finally {
      over = true;
      for (const follower of this.followers) follower.stopped = true;
    }
    await producing;
    for (const foreign of this.foreign) foreign.settle();
    await Promise.all(runs);
    const missing = () => this.transcripts.some((each) => each.missing(this.produced) !== "");
    await eventually(() => !missing(), "the rest", PATIENCE).catch(() => {});
    for (const foreign of this.foreign) await foreign.explain(this.produced);
    await sleep(300); // what comes twice may come late
    for (const transcript of this.transcripts) {
      const rest = transcript.missing(this.produced);
      if (rest) transcript.fault(`missing: ${rest}`);
      // Each instance was stopped, and so was that of each client; and it was moved no more than that takes.
      const { name, sessions } = transcript;
      if (sessions < 2 || sessions > MOST_SESSIONS) transcript.fault(`${sessions} sessions`);
      // What an instance refuses because it stops, the other must have been asked.
      const refusals = this.refusals.get(name);
      if (refusals) transcript.fault(`${refusals.length} times refused: ${refusals[0]}`);
    }
  }

  async close() {
    for (const manager of this.managers) {
      manager.reconnection(false);
      manager._close();
    }
    await Promise.all(this.foreign.map((foreign) => foreign.close()));
  }

  report() {
    console.table(
      this.transcripts.map(
        ({ name, sessions, stranded, events, asked, answered, cut, faultCount }) => ({
          client: name,
          sessions,
          stranded,
          events,
          commands: asked,
          answers: answered,
          cut,
          faults: faultCount,
        }),
      ),
    );
    console.log(`${this.produced.records} records`);
    for (const { name, faults } of this.transcripts) {
      for (const fault of faults) console.log(`FAULT ${name}: ${fault}`);
    }
    return this.transcripts.every(({ faultCount }) => faultCount === 0);
  }
}
