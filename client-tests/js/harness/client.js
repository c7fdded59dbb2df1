// A stock socket.io-client with a notebook: everything that it sees is written down in order.

import { io } from "socket.io-client";

import { token as mint } from "./tokens.js";
import { eventually } from "./wait.js";

const isCursor = (argument) => typeof argument === "string" && argument.startsWith("v1.");

export class Client {
  /**
   * `token`: text, or claims to mint one from (null: none). `auth`: further handshake fields, or a function that gives all of them.
   * `url`: what stands behind the server's address ("/ws" is a namespace). Everything else goes to `io` as it is.
   */
  constructor(server, { token = {}, auth = {}, url = "", ...options } = {}) {
    const given = token === null ? {} : { token: typeof token === "string" ? token : mint(token) };
    this.token = given.token;
    this.seen = []; // { event, args }
    this.disconnects = []; // reasons
    this.refusals = []; // messages of connect_error
    this.connects = 0;
    this.socket = io(server + url, {
      autoConnect: false,
      forceNew: true,
      reconnection: false,
      auth: typeof auth === "function" ? auth : { ...given, ...auth },
      ...options,
    });
    this.socket.onAny((event, ...args) => this.seen.push({ event, args }));
    this.socket.on("connect", () => this.connects++);
    this.socket.on("disconnect", (reason) => this.disconnects.push(reason));
    this.socket.on("connect_error", (error) => this.refusals.push(error.message));
  }

  /** Connects and waits for the welcome; a refusal is an error with the refusal's message. */
  async connect() {
    const before = this.all("connection_established").length;
    this.socket.connect();
    await eventually(
      () => this.refusals.length > 0 || this.all("connection_established").length > before,
      "connection_established",
    );
    if (this.refusals.length > 0) throw new Error(this.refusals[0]);
    return this.welcome;
  }

  /** Connects and waits for the refusal; gives its message. */
  async refused() {
    this.socket.connect();
    await eventually(() => this.refusals.length > 0 || this.connects > 0, "a refusal");
    if (this.refusals.length === 0) throw new Error("it was admitted");
    return this.refusals[0];
  }

  /** `data` of the newest connection_established. */
  get welcome() {
    return this.all("connection_established").at(-1)?.args[0].data;
  }

  /** The newest cursor that came with any event. */
  get cursor() {
    return this.seen.flatMap(({ args }) => args.filter(isCursor)).at(-1);
  }

  /** Every event of this name, in order. */
  all(event) {
    return this.seen.filter((entry) => entry.event === event);
  }

  /** What was routed here, in order: everything but the protocol's own events. */
  get routed() {
    return this.seen.filter(({ event }) => !OWN_EVENTS.has(event));
  }

  /** Values of `data.n` of the routed events, in order. */
  get numbers() {
    return this.routed.map(({ args }) => args[0]?.data?.n).filter((n) => n !== undefined);
  }

  /** The first event of this name that `matches`, now or soon. */
  async next(event, matches = () => true, timeout = 10_000) {
    return await eventually(
      () => this.all(event).find(({ args }) => matches(...args)),
      () => `${event}; came: ${JSON.stringify(this.seen.slice(-5)).slice(0, 2000)}`,
      timeout,
    );
  }

  /** A command and its acknowledgement. */
  async ask(command, ...args) {
    return await this.socket.timeout(10_000).emitWithAck(command, ...args);
  }

  /** Subscribes and insists on success. */
  async subscribe(...rooms) {
    for (const room of rooms) {
      const answer = await this.ask("subscribe", { room });
      if (answer.success !== true) throw new Error(`${room}: ${JSON.stringify(answer)}`);
    }
  }

  /** Cuts the transport as a lost network would, without a word of Socket.IO. */
  cut() {
    this.socket.io.engine.close();
  }

  close() {
    this.socket.io.reconnection(false);
    this.socket.disconnect();
    this.socket.io.engine?.close();
  }
}

/** What the protocol says itself (docs/protocol.md). */
export const OWN_EVENTS = new Set([
  "connection_established",
  "cursor",
  "resync_required",
  "stale",
  "auth_expiring",
  "room_revoked",
  "error",
]);

/** The options that make a stock client resume by itself: the lines that the documentation shows, nothing more. */
export function resuming(claims = {}) {
  const state = { rooms: new Set(), cursor: undefined };
  const token = mint(claims);
  return {
    state,
    options: {
      reconnection: true,
      reconnectionDelay: 20,
      reconnectionDelayMax: 100,
      auth: (give) => give({ token, cursor: state.cursor, rooms: [...state.rooms] }),
    },
    follow(client) {
      client.socket.onAny((_event, ...args) => {
        state.cursor = args.find(isCursor) ?? state.cursor;
      });
    },
    async subscribe(client, room) {
      if ((await client.ask("subscribe", { room })).success) state.rooms.add(room);
    },
  };
}
