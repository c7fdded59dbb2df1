// One server with its clients, their proxies, and what is produced for them; and the judgement of it all.

import { Manager } from "socket.io-client";

import { Broker } from "../harness/broker.js";
import { Server } from "../harness/server.js";
import { eventually, sleep } from "../harness/wait.js";
import { Cutter } from "./cutter.js";
import { ForeignClients } from "./foreign.js";
import { Load } from "./load.js";
import { StrictClient } from "./strict.js";
import { Produced, Transcript } from "./transcript.js";

/** Milliseconds after which everything must have arrived. */
const PATIENCE = 40_000;
const METRIC = "fleetcast_acknowledgements_total";

export class Scene {
  transcripts = [];
  strict = [];
  receipts = [];
  produced = new Produced();
  #cutters = [];
  #followers = []; // in this process
  #foreign = [];
  #managers = [];

  static async start(env = {}) {
    const scene = new Scene();
    scene.broker = await Broker.open(["receipts"]);
    scene.server = await Server.start(scene.broker, {
      RECEIPTS_TOPIC: `${scene.broker.prefix}receipts`,
      PING_INTERVAL: "2",
      PING_TIMEOUT: "8",
      COMMANDS_PER_SECOND: "0",
      MAX_CONNECTIONS_PER_USER: "0",
      ...env,
    });
    await scene.#readReceipts();
    return scene;
  }

  /** From the beginning, with a group of its own each time. */
  async #readReceipts() {
    await this.consumer?.disconnect();
    this.receipts = [];
    const topic = `${this.broker.prefix}receipts`;
    this.consumer = this.broker.kafka.consumer({ groupId: `${topic}-${performance.now()}` });
    await this.consumer.connect();
    await this.consumer.subscribe({ topic, fromBeginning: true });
    const joined = new Promise((resolve) =>
      this.consumer.on(this.consumer.events.GROUP_JOIN, resolve),
    );
    await this.consumer.run({
      eachMessage: async ({ message }) => {
        this.receipts.push(JSON.parse(message.value.toString()));
      },
    });
    await joined;
  }

  transcript(name, options) {
    const transcript = new Transcript(name, options);
    this.transcripts.push(transcript);
    return transcript;
  }

  /** The URL of a proxy of its own. */
  async proxy(options) {
    const cutter = await Cutter.start(this.server.url, options);
    this.#cutters.push(cutter);
    return cutter.url;
  }

  /** socket.io-client, one connection for all namespaces: `{ "/": follower, "/ws": follower }`. */
  stock(url, options, followers) {
    const manager = new Manager(url, {
      autoConnect: false,
      reconnectionDelay: 20,
      reconnectionDelayMax: 60,
      ...options,
    });
    this.#managers.push(manager);
    for (const [namespace, follower] of Object.entries(followers)) {
      const socket = manager.socket(namespace, { auth: follower.auth });
      follower.attach(socket);
      follower.connect = () => socket.connect();
      this.#followers.push(follower);
    }
  }

  /** The strict client; `cuts` and `pauses` as it has them. */
  strictly(url, options, followers) {
    const [{ transcript }] = Object.values(followers);
    const client = new StrictClient(url, { fault: (text) => transcript.fault(text), ...options });
    for (const [namespace, follower] of Object.entries(followers)) {
      follower.attach(client.socket(namespace, { auth: follower.auth }));
      this.#followers.push(follower);
    }
    Object.values(followers)[0].connect = () => void client.run();
    this.strict.push({ name: transcript.name, client });
  }

  foreign(language, followers, rooms) {
    this.#foreign.push(new ForeignClients(language, followers, rooms));
  }

  /**
   * Connects all, produces for so many seconds while connections are cut, and waits for the rest. `settle`: those that join and
   * leave rooms are in all of them in the end.
   */
  async play(rate, seconds, { settle = true, patience = PATIENCE } = {}) {
    for (const follower of this.#followers) follower.connect?.();
    await Promise.all(this.#foreign.map((foreign) => foreign.connected()));
    await Promise.all(this.#followers.map((follower) => this.#joined(follower)));
    const load = new Load(this.broker, this.produced);
    for (const cutter of this.#cutters) cutter.active = true;
    const runs = this.#followers.map((follower) => follower.run());
    await load.run(rate, seconds * 1000);
    for (const follower of this.#followers) follower.stopped = true;
    for (const foreign of this.#foreign) foreign.settle();
    for (const cutter of this.#cutters) cutter.active = false;
    await Promise.all(runs);
    if (settle) await Promise.all(this.#followers.map((follower) => follower.settle?.()));
    const missing = () => this.transcripts.some((each) => each.missing(this.produced) !== "");
    await eventually(() => !missing(), "the rest", patience).catch(() => {});
    for (const foreign of this.#foreign) await foreign.explain(this.produced);
    await sleep(300); // what comes twice may come late
    await this.#judge();
  }

  async #joined(follower) {
    const { transcript } = follower;
    await eventually(
      () => transcript.sessions > 0,
      `${transcript.name} to connect: ${transcript.faults}`,
      20_000,
    );
    await follower.join();
  }

  async #judge() {
    for (const transcript of this.transcripts) {
      const missing = transcript.missing(this.produced);
      if (missing) transcript.fault(`missing: ${missing}`);
      const { asked, answered, cut } = transcript;
      if (asked !== answered + cut) {
        transcript.fault(`${asked} commands, ${answered} answers, ${cut} cut`);
      }
    }
    const last = new Map(this.transcripts.map((each) => [each.connection, each]));
    await this.#disconnect();
    await this.#questions(last);
  }

  /** Each question is settled; unanswered are only those of connections that were cut. */
  async #questions(last) {
    const of = (outcome) => this.server.metric(METRIC, { outcome });
    const count = async () => {
      const [asked, acknowledged, missing, notAsked] = await Promise.all(
        ["asked", "acknowledged", "missing", "not_asked"].map(of),
      );
      const kept = await this.server.metric("fleetcast_receipts_total", { outcome: "kept" });
      const read = this.receipts.length;
      this.questions = { asked, acknowledged, missing, not_asked: notAsked, kept, read };
      return asked === acknowledged + missing && kept === asked && read === asked;
    };
    const alerts = this.transcripts[0];
    await eventually(count, "receipts", 5_000).catch(async () => {
      // What the brokers have and this reader has not is its own fault, seen on the mock broker.
      const { kept, read } = this.questions;
      if (read < kept) await this.#readReceipts();
    });
    await eventually(count, "receipts", 10_000).catch(() =>
      alerts.fault(`questions: ${JSON.stringify(this.questions)}`),
    );
    for (const transcript of this.transcripts) this.#receiptsOf(transcript, last);
  }

  #receiptsOf(transcript, last) {
    const own = this.receipts.filter(({ user_id }) => user_id === transcript.name);
    for (const { kind, connection_id, id } of own) {
      if (kind !== "missing") continue;
      if (!transcript.cuts || last.has(connection_id)) {
        transcript.fault(`${id} is missing, though ${connection_id} was not cut`);
      }
    }
    if (transcript.unordered) return;
    for (const [connection, heard] of transcript.alerts) {
      const of = own.filter(({ connection_id }) => connection_id === connection);
      const received = of.filter(({ kind }) => kind === "received").length;
      if (received > heard || of.length < heard) {
        transcript.fault(`${connection} got ${heard} alerts: ${received} of ${of.length} receipts`);
      }
    }
  }

  async #disconnect() {
    for (const manager of this.#managers) {
      manager.reconnection(false);
      manager._close();
    }
    for (const { client } of this.strict) client.close();
    await Promise.all(this.#foreign.map((foreign) => foreign.close()));
    this.#foreign = [];
  }

  /** Of clients that ask for the newest positions: how often some came only behind the cursor event, of how many. */
  get late() {
    const asking = this.#followers.filter(({ snapshots }) => snapshots !== undefined);
    return new Map(asking.map((it) => [it.transcript, `${it.late} of ${it.snapshots}`]));
  }

  get cuts() {
    return this.#cutters.reduce((sum, { cuts }) => sum + cuts, 0);
  }

  async close() {
    await this.#disconnect();
    for (const cutter of this.#cutters) cutter.close();
    await this.consumer?.disconnect();
    await this.server.stop();
    await this.broker.close();
  }
}
