// Child processes that never outlive the test process, with their output at hand when something goes wrong.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { within } from "./wait.js";

const KEPT_LINES = 200;
const SHOWN_LINES = 30;

/** Path of a binary: those of the release, or FLEETCAST_BIN (the server's) and what lies beside it. */
export function binary(name) {
  const release = fileURLToPath(new URL("../../../target/release/fleetcast", import.meta.url));
  const server = process.env.FLEETCAST_BIN ?? release;
  const chosen = name === "fleetcast" ? server : join(dirname(server), name);
  if (!existsSync(chosen)) throw new Error(`${chosen} is not there: make build`);
  return chosen;
}

export class Process {
  /** `env` is the whole environment of the child: nothing of ours leaks into what is tested. */
  constructor(command, args, env) {
    this.name = command.split("/").at(-1);
    this.lines = [];
    this.listeners = new Set();
    this.child = spawn(command, args, { env, stdio: ["pipe", "pipe", "pipe"] });
    this.child.stdin.on("error", () => {}); // it may have ended first
    this.exited = once(this.child, "exit").then(([code, signal]) => ({ code, signal }));
    this.exited.catch((error) => this.#keep(`cannot start: ${error.message}`));
    for (const stream of [this.child.stdout, this.child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => this.#keep(line));
    }
    this.killer = () => this.child.kill("SIGKILL");
    process.on("exit", this.killer);
    this.exited.finally(() => process.off("exit", this.killer)).catch(() => {});
  }

  #keep(line) {
    if (process.env.FLEETCAST_TEST_LOG) console.error(`[${this.name}] ${line}`);
    this.lines.push(line);
    if (this.lines.length > KEPT_LINES) this.lines.shift();
    for (const listener of this.listeners) listener(line);
  }

  /** What it said last, for an error message. */
  tail() {
    return this.lines.slice(-SHOWN_LINES).join("\n");
  }

  /** The first truthy `pick(line)` of its output, past lines included. */
  async line(pick, what, timeout = 15_000) {
    for (const line of this.lines) {
      const found = pick(line);
      if (found) return found;
    }
    const { promise, resolve, reject } = Promise.withResolvers
      ? Promise.withResolvers()
      : withResolvers();
    const listener = (line) => {
      const found = pick(line);
      if (found) resolve(found);
    };
    this.listeners.add(listener);
    this.exited.then(
      ({ code, signal }) => reject(new Error(`it ended with ${code ?? signal}`)),
      (error) => reject(error),
    );
    try {
      return await within(promise, what, timeout);
    } catch (error) {
      throw new Error(`${this.name}: ${error.message}; it said:\n${this.tail()}`);
    } finally {
      this.listeners.delete(listener);
    }
  }

  /** Sends the signal and waits for the end; after `timeout` milliseconds it is killed and that is an error. */
  async stop(signal = "SIGTERM", timeout = 15_000) {
    this.child.kill(signal);
    try {
      return await within(this.exited, `the end of ${this.name} after ${signal}`, timeout);
    } catch (error) {
      this.child.kill("SIGKILL");
      throw new Error(`${error.message}; it said:\n${this.tail()}`);
    }
  }
}

// Node 20 has no Promise.withResolvers yet.
function withResolvers() {
  let resolve, reject;
  const promise = new Promise((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise, resolve, reject };
}
