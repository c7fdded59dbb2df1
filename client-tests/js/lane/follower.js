// A client with the lines of README.md that resume, over a socket of socket.io-client or of strict.js.

import { eventually, sleep, within } from "../harness/wait.js";
import { token, unixNow } from "../harness/tokens.js";
import { any, ASSETS, CHANNELS, channelStream, OWN_STREAMS } from "./load.js";
import { isCursor } from "./transcript.js";

/** Milliseconds that a command may wait for its answer on a connection that stays. */
const PATIENCE = 15_000;

export class Follower {
  cursor = undefined;
  rooms = new Set();
  stopped = false;

  /** `channels`, `assets`: whose rooms it joins; `meta`: it asks for the place of each record. */
  constructor(transcript, { channels = [], assets = [], meta } = {}) {
    Object.assign(this, { transcript, channels, assets, meta });
    for (const stream of OWN_STREAMS) transcript.hold(stream, 0);
    for (const channel of channels) transcript.hold(channelStream(channel), 0);
    this.token = token({ sub: transcript.name, exp: unixNow() + 7200 });
  }

  auth = (give) =>
    give({ token: this.token, cursor: this.cursor, rooms: [...this.rooms], meta: this.meta });

  attach(socket) {
    this.socket = socket;
    socket.on("connect", () => this.transcript.connected());
    socket.on("disconnect", () => this.disconnected());
    socket.onAny((event, ...args) => {
      const acknowledge = typeof args.at(-1) === "function" ? args.pop() : undefined;
      this.cursor = args.findLast(isCursor) ?? this.cursor;
      this.heard(event, args);
      acknowledge?.();
    });
  }

  heard(event, args) {
    this.transcript.heard(event, args);
  }

  disconnected() {}

  /** Its answer, or undefined if the connection ended first. `answered` is called before anything that comes behind it. */
  async ask(command, argument, answered = () => {}) {
    const { socket, transcript } = this;
    transcript.asked++;
    let end;
    const result = new Promise((resolve) => {
      end = () => {
        transcript.cut++;
        resolve();
      };
      socket.once("disconnect", end);
      socket.emit(command, argument, (answer) => {
        transcript.answered++;
        socket.off("disconnect", end);
        if (!answer?.success) transcript.fault(`${command}: ${JSON.stringify(answer)}`);
        answered(answer);
        resolve(answer);
      });
    });
    try {
      return await within(result, `the answer to ${command}`, PATIENCE);
    } catch (error) {
      transcript.fault(error.message);
    } finally {
      socket.off("disconnect", end);
    }
  }

  /** Joins its rooms, before anything is produced. */
  async join() {
    const rooms = [
      ...this.channels.map((channel) => `channel:${channel}`),
      ...this.assets.map((asset) => `asset:${asset}`),
    ];
    for (const room of rooms) this.rooms.add(room);
    await this.ask("subscribe", { rooms });
  }

  /** Commands beside the events, until it is stopped. */
  async run() {
    while (!this.stopped) {
      await sleep(20 + any(150));
      if (!this.socket.connected) continue;
      const answer = await this.ask("rooms", {});
      if (answer && answer.data.rooms.length !== this.rooms.size + 2) {
        this.transcript.fault(`it holds ${answer.data.rooms}, not ${[...this.rooms]}`);
      }
    }
  }
}

export const ALL_CHANNELS = Array.from({ length: CHANNELS }, (_, channel) => channel);
export const ALL_ASSETS = Array.from({ length: ASSETS }, (_, asset) => String(asset));

const WHOLE_KIND = "asset:*";

/**
 * Joins and leaves rooms all the time, several commands at once. What must hold: nothing of a room before the acknowledgement that
 * joins it, nothing behind the one that leaves it, each event in between; `cursor` behind the acknowledgement; and the state that
 * was asked for, which a resume from that cursor completes without another request.
 */
export class Changer extends Follower {
  cursors = 0;
  snapshots = 0;
  /** Snapshots of which something came only behind the cursor: the connection lagged. */
  late = 0;
  #states = new Map(); // room -> out, joining, in, leaving
  #owed = []; // commands of which the cursor event has not come
  #state = undefined; // what the state that was asked for must have, and has
  #complete = false; // its cursor event has come
  #busy = 0;

  /** `observer`: the transcript of a client that is not cut, which knows what the server has read. */
  constructor(transcript, observer) {
    super(transcript);
    this.observer = observer;
    for (const channel of ALL_CHANNELS) this.#states.set(`channel:${channel}`, "out");
    this.#states.set(WHOLE_KIND, "out");
  }

  async join() {}

  heard(event, args) {
    const data = args[0]?.data;
    if (event === "transmission_started") this.#expectHeld(`channel:${data.channel_id}`, event);
    if (event === "asset_position_updated") {
      this.#expectHeld(WHOLE_KIND, event);
      const before = this.#state?.got.get(data.asset_id) ?? -1;
      this.#state?.got.set(data.asset_id, Math.max(data.n, before));
    }
    if (this.transcript.heard(event, args) === "cursor") this.#cursorCame();
  }

  #expectHeld(room, event) {
    const state = this.#states.get(room);
    if (state === "out" || state === "joining") {
      this.transcript.fault(`${event} of ${room} while ${state}`);
    }
  }

  /** One cursor event may stand for several commands that were acknowledged before it. */
  #cursorCame() {
    this.cursors++;
    const settled = this.#owed.filter(({ acknowledged }) => acknowledged);
    if (settled.length === 0) {
      return this.transcript.fault("a cursor event before its acknowledgement");
    }
    this.#owed = this.#owed.filter(({ acknowledged }) => !acknowledged);
    if (!settled.some(({ state }) => state !== undefined && state === this.#state)) return;
    this.#complete = true;
    this.snapshots++;
    if (this.#lacking().length > 0) this.late++;
  }

  /** Positions that were known when the state was asked for, and that have not come. */
  #lacking() {
    const { known = [], got } = this.#state ?? {};
    return [...known].filter(([asset, n]) => (got.get(asset) ?? -1) < n);
  }

  /** What was joined or not left yet is joined by the next handshake. */
  disconnected() {
    this.#owed = [];
    for (const [room, state] of this.#states) {
      if (state !== "out") this.#states.set(room, "in");
    }
  }

  async run() {
    while (!this.stopped) {
      await sleep(any(25));
      if (!this.socket.connected || this.#busy >= 6) continue;
      const rooms = [...this.#states].filter(([, state]) => state === "in" || state === "out");
      if (rooms.length === 0) continue;
      const [room, state] = rooms[any(rooms.length)];
      if (state === "in" && room === WHOLE_KIND && any(4) > 0 && !this.#mayLeave()) continue;
      this.#busy++;
      const change = state === "out" ? this.#subscribe(room) : this.#unsubscribe(room);
      change.finally(() => this.#busy--);
    }
  }

  /** The state is there. Cut before its cursor event, it is asked for again (docs/protocol.md), by leaving and joining. */
  #mayLeave() {
    return this.#lacking().length === 0 || (!this.#complete && this.#owed.length === 0);
  }

  /** In the end it is in all rooms, and has the newest positions. */
  async settle() {
    const { transcript } = this;
    while (this.#busy > 0) await sleep(5);
    for (;;) {
      await eventually(() => this.socket.connected, "a connection", 20_000);
      await eventually(() => this.#owed.length === 0, "cursor events", 20_000).catch((error) =>
        transcript.fault(error.message),
      );
      const out = [...this.#states].filter(([, state]) => state === "out");
      if (out.length > 0) await this.#subscribe(out[0][0]).catch(() => {});
      else if (!this.#complete) await this.#unsubscribe(WHOLE_KIND).catch(() => {});
      else break;
    }
    await eventually(() => this.#lacking().length === 0, "the state", 20_000).catch(() => {
      transcript.fault(`of the state that it asked for it lacks ${this.#lacking()}`);
    });
  }

  async #subscribe(room) {
    if (!this.socket.connected) return;
    this.#states.set(room, "joining");
    this.rooms.add(room);
    const whole = room === WHOLE_KIND;
    const owed = {};
    if (whole) {
      this.#complete = false;
      this.#state = { known: new Map(this.observer.newest), got: new Map() };
      owed.state = this.#state;
    } else this.transcript.hold(streamOf(room));
    this.#owed.push(owed);
    await this.ask("subscribe", { room, latest: whole || undefined }, () => {
      owed.acknowledged = true;
      this.#states.set(room, "in");
    });
  }

  async #unsubscribe(room) {
    if (!this.socket.connected) return;
    this.#states.set(room, "leaving");
    if (room === WHOLE_KIND) this.#state = undefined;
    await this.ask("unsubscribe", { room }, () => {
      this.#states.set(room, "out");
      this.rooms.delete(room);
      if (room !== WHOLE_KIND) this.transcript.leave(streamOf(room));
    });
  }
}

const streamOf = (room) => channelStream(Number(room.split(":")[1]));
