// Faults that a lane could have, done to the frames on their way: the checks must find each of them.

import { FrameReader, serverFrame } from "./frames.js";

/** Events that pass before and between two faults. */
const BETWEEN = 40;

export class Tamperer {
  #reader = new FrameReader();
  #head = Buffer.alloc(0);
  #open = false; // the HTTP head has passed
  #plain = false; // not a WebSocket
  #held = undefined;
  #passed = 0;

  /** `kind`: drop, twice, swap, inside, fragment, long, text, after-close or cursor-first. */
  constructor(kind) {
    this.kind = kind;
  }

  /** What the client is given in place of these bytes. */
  push(bytes) {
    if (this.#plain) return bytes;
    if (this.#open) return this.#frames(bytes);
    this.#head = Buffer.concat([this.#head, bytes]);
    const end = this.#head.indexOf("\r\n\r\n");
    if (end < 0) return Buffer.alloc(0);
    const head = this.#head.subarray(0, end + 4);
    if (!head.toString("latin1").startsWith("HTTP/1.1 101")) {
      this.#plain = true;
      return this.#head;
    }
    this.#open = true;
    return Buffer.concat([head, this.#frames(this.#head.subarray(end + 4))]);
  }

  #frames(bytes) {
    const out = [];
    for (const frame of this.#reader.push(bytes)) out.push(...this.#frame(frame));
    return Buffer.concat(out);
  }

  #frame({ opcode, payload, bytes, length }) {
    const text = payload.subarray(0, 128).toString("latin1");
    if (this.kind === "cursor-first") return this.#cursorFirst(text, bytes);
    if (this.#held) {
      const held = this.#held;
      this.#held = undefined;
      return [bytes, held];
    }
    // Events of which each client gets each one.
    const event = opcode === 1 && /^42.*"(incident|transmission)_/.test(text) && length < 65_000;
    if (!event || ++this.#passed % BETWEEN !== 0) return [bytes];
    switch (this.kind) {
      case "drop":
        return [];
      case "twice":
        return [bytes, bytes];
      case "swap":
        this.#held = bytes;
        return [];
      case "inside": {
        const middle = bytes.length >> 1;
        return [bytes.subarray(0, middle), serverFrame(9, Buffer.alloc(0)), bytes.subarray(middle)];
      }
      case "fragment":
        return [
          serverFrame(1, payload.subarray(0, 40), { fin: 0 }),
          serverFrame(0, payload.subarray(40)),
        ];
      case "long":
        return [serverFrame(1, payload, { long: true })];
      case "after-close":
        return [serverFrame(8, Buffer.from([3, 232])), bytes];
      case "text":
        return [serverFrame(1, payload.subarray(0, payload.length - 1))];
      default:
        throw new Error(`no such fault: ${this.kind}`);
    }
  }

  /** Answers wait until a cursor event has overtaken them. */
  #cursorFirst(text, bytes) {
    if (this.#held) {
      if (!text.startsWith('42["cursor"')) return [bytes];
      const held = this.#held;
      this.#held = undefined;
      return [bytes, held];
    }
    if (text.startsWith("43") && text.includes('"subscribed"')) {
      this.#held = bytes;
      return [];
    }
    return [bytes];
  }
}
