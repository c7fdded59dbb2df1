// A Socket.IO client on a bare TCP socket that takes every liberty of a server for a fault. Its sockets have the part of
// socket.io-client's interface that follower.js needs, so that the same checks run on both.

import { createHash, randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import { connect } from "node:net";
import { createRequire } from "node:module";

import { sleep } from "../harness/wait.js";
import { any } from "./load.js";
import { FrameReader, clientFrame, frameFault } from "./frames.js";

// The official parsers, of the versions that the official client brings.
const official = createRequire(createRequire(import.meta.url).resolve("socket.io-client"));
const { Decoder, Encoder, PacketType } = official("socket.io-parser");
const { decodePacket } = createRequire(official.resolve("engine.io-client"))("engine.io-parser");

const encode = (packet) => new Encoder().encode(packet)[0];

/** Milliseconds between two WebSocket pings of ours. */
const PING_EVERY = 150;
/** Milliseconds that the answer may take, when the client reads. */
const PATIENCE = 10_000;

const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

export class StrictClient {
  frames = 0;
  bytes = 0;
  /** Pings of Engine.IO that came, and WebSocket pings of ours that were answered. */
  pings = 0;
  pongs = 0;
  /** Connections that ended within a frame. */
  partial = 0;
  #sockets = new Map();
  #closed = false;

  /** `cuts`: connections end by themselves. `pauses`: it stops reading, for up to so many milliseconds. */
  constructor(url, { cuts = true, pauses = 0, fault }) {
    Object.assign(this, { url: new URL(url), cuts, pauses, fault });
  }

  socket(namespace, { auth }) {
    const socket = new StrictSocket(this, namespace, auth);
    this.#sockets.set(namespace, socket);
    return socket;
  }

  /** Connects, and again after each end. */
  async run() {
    while (!this.#closed) {
      const connection = new Connection(this, this.#sockets);
      this.connection = connection;
      await connection.run();
      for (const socket of this.#sockets.values()) socket.ended();
      if (!this.cuts && !this.#closed) this.fault("the server ended the connection");
      await sleep(20 + any(60));
    }
  }

  close() {
    this.#closed = true;
    this.connection?.destroy();
  }
}

class StrictSocket extends EventEmitter {
  connected = false;
  #asked = new Map();
  #number = 0;
  #listeners = [];

  constructor(client, namespace, auth) {
    super();
    this.setMaxListeners(0); // one for each command that waits
    Object.assign(this, { client, namespace, giveAuth: auth });
    this.send = super.emit.bind(this);
  }

  onAny(listener) {
    this.#listeners.push(listener);
  }

  /** A command with its callback. */
  emit(event, ...args) {
    if (!this.connected) throw new Error("it is not connected");
    const answer = args.pop();
    const id = this.#number++;
    this.#asked.set(id, answer);
    this.#write({ type: PacketType.EVENT, data: [event, ...args], id });
  }

  #write(packet) {
    const text = encode({ nsp: this.namespace, ...packet });
    this.client.connection.text(`4${text}`);
  }

  packet({ type, data, id }) {
    const fault = (text) => this.client.fault(`${this.namespace}: ${text}`);
    if (type === PacketType.CONNECT) {
      if (this.connected) return fault("CONNECT twice");
      if (typeof data?.sid !== "string") return fault("CONNECT without a sid");
      this.connected = true;
      this.send("connect");
      return;
    }
    if (!this.connected) return fault(`a packet of type ${type} before CONNECT`);
    if (type === PacketType.ACK) {
      const answer = this.#asked.get(id);
      if (!answer) return fault(`an acknowledgement ${id} that nothing waits for`);
      this.#asked.delete(id);
      return answer(...data);
    }
    if (type !== PacketType.EVENT)
      return fault(`a packet of type ${type}: ${JSON.stringify(data)}`);
    const args = [...data];
    if (id !== undefined) {
      let answered = false;
      args.push((...values) => {
        if (answered || !this.connected) return;
        answered = true;
        this.#write({ type: PacketType.ACK, data: values, id });
      });
    }
    for (const listener of this.#listeners) listener(...args);
  }

  ended() {
    const was = this.connected;
    this.connected = false;
    this.#asked.clear();
    if (was) this.send("disconnect", "transport close");
  }
}

class Connection {
  #reader = new FrameReader();
  #decoder = new Decoder();
  #opened = false;
  #closing = false;
  #pinged = []; // payloads that were not answered yet, with their time

  constructor(client, sockets) {
    Object.assign(this, { client, sockets });
    this.#decoder.on("decoded", (packet) => (this.decoded = packet));
  }

  async run() {
    const { hostname, port } = this.client.url;
    this.tcp = connect({ host: hostname, port: Number(port), noDelay: true });
    this.tcp.on("error", () => {}); // "close" follows
    const ended = new Promise((resolve) => this.tcp.on("close", resolve));
    const key = randomBytes(16).toString("base64");
    this.tcp.write(
      "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: strict\r\nUpgrade: websocket\r\n" +
        `Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
    );
    this.#read(key).catch((error) => {
      this.client.fault(`cannot read: ${error.stack}`);
      this.tcp.destroy();
    });
    await ended;
    clearInterval(this.pinger);
    if (this.#reader.rest > 0) this.client.partial++;
    if (this.#reader.rest > 0 && !this.client.cuts) this.client.fault("it ends within a frame");
  }

  /** Reads pieces of random sizes, with pauses in which the kernel's buffers fill. */
  async #read(key) {
    let head = Buffer.alloc(0);
    let upgraded = false;
    while (!this.tcp.destroyed) {
      if (this.tcp.readableLength === 0) {
        await new Promise((resolve) => {
          const done = () => {
            this.tcp.off("readable", done);
            this.tcp.off("close", done);
            resolve();
          };
          this.tcp.on("readable", done);
          this.tcp.on("close", done);
        });
      }
      const largest = [4, 64, 2_000, 65_536][any(4)];
      let pieces = largest < 100 ? 40 : 4;
      for (; pieces > 0 && this.tcp.readableLength > 0; pieces--) {
        const size = Math.min(1 + any(largest), this.tcp.readableLength);
        const bytes = this.tcp.read(size);
        if (bytes === null) break;
        this.client.bytes += bytes.length;
        if (upgraded) this.#take(bytes);
        else {
          head = Buffer.concat([head, bytes]);
          const end = head.indexOf("\r\n\r\n");
          if (end < 0) continue;
          if (!this.#upgrade(head.subarray(0, end).toString("latin1"), key)) return;
          upgraded = true;
          this.#take(head.subarray(end + 4));
        }
      }
      if (this.client.pauses > 0 && any(150) === 0) await sleep(any(this.client.pauses));
      if (this.tcp.readableLength === 0 && this.tcp.readableEnded) return;
      if (any(4) === 0) await new Promise(setImmediate);
    }
  }

  #upgrade(head, key) {
    const [status] = head.split("\r\n");
    if (!status.startsWith("HTTP/1.1 101")) {
      this.client.fault(`the upgrade was answered with ${status}`);
      this.tcp.destroy();
      return false;
    }
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
    const given = /^sec-websocket-accept: *(\S+)/im.exec(head)?.[1];
    if (given !== accept.digest("base64")) this.client.fault("a wrong Sec-WebSocket-Accept");
    if (/^sec-websocket-(extensions|protocol):/im.test(head)) {
      this.client.fault("it chose an extension or a protocol that was not offered");
    }
    this.pinger = setInterval(() => this.#ping(), PING_EVERY);
    return true;
  }

  #take(bytes) {
    for (const frame of this.#reader.push(bytes)) {
      this.client.frames++;
      const fault = frameFault(frame);
      if (this.#closing) this.client.fault(`opcode ${frame.opcode} behind a close frame`);
      if (fault) {
        // What follows cannot be read either.
        this.client.fault(`a frame is wrong: ${fault}`);
        return this.tcp.destroy();
      }
      switch (frame.opcode) {
        case TEXT:
          this.#text(frame.payload.toString());
          break;
        case CLOSE:
          this.#closing = true;
          break;
        case PING:
          this.#write(PONG, frame.payload);
          break;
        case PONG:
          this.#pong(frame.payload.toString());
      }
    }
  }

  #text(text) {
    const { type, data } = decodePacket(text, "nodebuffer");
    const fault = (problem) => this.client.fault(`${problem}: ${text.slice(0, 100)}`);
    if ((type === "open") === this.#opened) return fault("open comes first, and once");
    switch (type) {
      case "open":
        this.#opened = true;
        this.patience = JSON.parse(data).pingInterval + JSON.parse(data).pingTimeout;
        this.lastPing = performance.now();
        for (const [nsp, socket] of this.sockets) {
          socket.giveAuth((auth) =>
            this.text(`4${encode({ type: PacketType.CONNECT, data: auth, nsp })}`),
          );
        }
        return;
      case "ping":
        if (data) fault("a ping with data");
        this.client.pings++;
        this.lastPing = performance.now();
        return this.text("3");
      case "message":
        break;
      default:
        return fault(`a packet of type ${type}`);
    }
    this.decoded = undefined;
    try {
      this.#decoder.add(data);
    } catch (error) {
      return fault(error.message);
    }
    if (!this.decoded) return fault("no whole packet of Socket.IO");
    // JSON of our records is what JSON.stringify makes, so the official encoder must come to the same bytes.
    if (encode(this.decoded) !== data) fault("not as the official encoder has it");
    const socket = this.sockets.get(this.decoded.nsp);
    if (!socket) return fault("a namespace that was not asked for");
    socket.packet(this.decoded);
  }

  #ping() {
    const now = performance.now();
    if (this.client.pauses === 0 && this.patience && now - this.lastPing > this.patience) {
      this.client.fault(`no ping for ${Math.round(now - this.lastPing)} ms`);
      this.lastPing = now;
    }
    if (
      this.client.pauses === 0 &&
      this.#pinged.length > 0 &&
      now - this.#pinged[0].at > PATIENCE
    ) {
      this.client.fault("a WebSocket ping was not answered");
      this.#pinged = [];
    }
    const payload = randomBytes(any(62)).toString("hex");
    this.#pinged.push({ payload, at: now });
    this.#write(PING, Buffer.from(payload));
  }

  /** One answer may stand for several pings. */
  #pong(payload) {
    const at = this.#pinged.findIndex((pinged) => pinged.payload === payload);
    if (at < 0) return this.client.fault("a pong that answers nothing");
    this.client.pongs++;
    this.#pinged.splice(0, at + 1);
  }

  text(text) {
    this.#write(TEXT, Buffer.from(text));
  }

  #write(opcode, payload) {
    if (this.tcp.writable) this.tcp.write(clientFrame(opcode, payload, randomBytes(4)));
  }

  destroy() {
    this.tcp.destroy();
  }
}
