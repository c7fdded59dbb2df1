// A TCP proxy that cuts connections at random bytes, and passes others on in small pieces.

import { once } from "node:events";
import { connect, createServer } from "node:net";

import { sleep } from "../harness/wait.js";
import { any } from "./load.js";
import { Tamperer } from "./tamperer.js";

/** Of 1,000 chunks, so many begin to be passed on in small pieces. */
const DRIBBLES = 30;

export class Cutter {
  active = false;
  cuts = 0;
  #open = new Set();

  /**
   * `mean`: milliseconds after which a connection is cut, on average. `rate`: bytes per second that pass to the client while active.
   * `tamper`: what is done to the frames of each WebSocket, to see that it is found.
   */
  static async start(server, { mean = 400, rate = Infinity, tamper } = {}) {
    const cutter = new Cutter();
    const { hostname, port } = new URL(server);
    Object.assign(cutter, { mean, rate, tamper });
    cutter.server = createServer({ noDelay: true }, (near) => {
      const far = connect({ host: hostname, port: Number(port), noDelay: true });
      cutter.#serve(near, far);
    });
    cutter.server.listen(0, "127.0.0.1");
    await once(cutter.server, "listening");
    cutter.url = `http://127.0.0.1:${cutter.server.address().port}`;
    return cutter;
  }

  #serve(near, far) {
    const pair = { near, far, due: false };
    this.#open.add(pair);
    pair.timer = setTimeout(() => this.#expire(pair), this.#life());
    for (const end of [near, far]) {
      end.on("error", () => {}); // "close" follows
      end.on("close", () => this.#close(pair));
    }
    const tamperer = this.tamper && new Tamperer(this.tamper);
    this.#pass(pair, near, far, {}).catch(() => this.#close(pair));
    this.#pass(pair, far, near, { down: true, tamperer }).catch(() => this.#close(pair));
  }

  /** Exponential, so that a cut comes in every phase of a connection. */
  #life() {
    return Math.min(-Math.log(1 - Math.random()) * this.mean, 600_000);
  }

  #expire(pair) {
    if (!this.active) {
      pair.timer = setTimeout(() => this.#expire(pair), this.#life());
    } else if (any(2) === 0) {
      this.#cut(pair);
    } else {
      pair.due = true; // within the next bytes to the client
      pair.timer = setTimeout(() => this.active && this.#cut(pair), 100);
    }
  }

  async #pass(pair, from, to, { down = false, tamperer }) {
    for await (const read of from) {
      const bytes = tamperer ? tamperer.push(read) : read;
      if (down && pair.due && this.active) {
        await write(to, bytes.subarray(0, any(bytes.length + 1)));
        return this.#cut(pair);
      }
      if (this.active && any(1000) < DRIBBLES) await dribble(to, bytes);
      else await write(to, bytes);
      if (down && this.active && this.rate < Infinity) {
        await sleep((bytes.length / this.rate) * 1000);
      }
    }
    to.end();
  }

  #cut(pair) {
    if (pair.cut) return;
    pair.cut = true;
    this.cuts++;
    switch (any(3)) {
      case 0:
        pair.near.resetAndDestroy();
        pair.far.resetAndDestroy();
        break;
      case 1:
        // What is on its way to the client arrives, and then the end.
        pair.near.destroySoon();
        pair.far.destroy();
        break;
      default:
        pair.near.destroy();
        pair.far.destroySoon();
    }
  }

  #close(pair) {
    clearTimeout(pair.timer);
    this.#open.delete(pair);
    pair.near.destroySoon();
    pair.far.destroySoon();
  }

  close() {
    this.server.close();
    for (const pair of this.#open) this.#close(pair);
  }
}

/** Waits while the receiver does not take more. */
async function write(to, bytes) {
  if (bytes.length === 0) return;
  if (to.destroyed) throw new Error("it has ended");
  if (to.write(bytes)) return;
  await new Promise((resolve) => {
    const done = () => {
      to.off("drain", done);
      to.off("close", done);
      resolve();
    };
    to.on("drain", done);
    to.on("close", done);
  });
}

/** The first bytes one after the other, then in larger pieces, then the rest. */
async function dribble(to, bytes) {
  let at = 0;
  for (let piece = 0; piece < 24 && at < bytes.length; piece++) {
    const size = piece < 8 ? 1 + any(3) : 1 + any(900);
    await write(to, bytes.subarray(at, at + size));
    at += size;
    await sleep(any(4));
  }
  await write(to, bytes.subarray(at));
}
