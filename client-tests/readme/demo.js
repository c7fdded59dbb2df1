// `fleetcast demo` at a port of its own, with a home of its own, started and stopped as a user would.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { binary, Process } from "../js/harness/process.js";
import { eventually } from "../js/harness/wait.js";
import { freePort } from "./blocks.js";

export class Demo {
  /** Nothing runs yet: see `start`. */
  static async prepare(settings = {}) {
    const demo = new Demo();
    demo.port = await freePort();
    demo.url = `http://127.0.0.1:${demo.port}`;
    demo.home = mkdtempSync(join(tmpdir(), "fleetcast-home-"));
    demo.settings = settings;
    return demo;
  }

  async start() {
    this.process = new Process(binary("fleetcast"), ["demo"], {
      PATH: process.env.PATH,
      HOME: this.home,
      PORT: String(this.port),
      INTERNAL_PORT: "0",
      DRAIN_SECONDS: "1",
      ...this.settings,
    });
    await eventually(
      async () => {
        if (this.process.child.exitCode !== null) throw new Error(this.process.tail());
        return (await fetch(`${this.url}/ready`).catch(() => undefined))?.status === 200;
      },
      "200 from /ready",
      30_000,
    );
  }

  async stop() {
    if (this.process) await this.process.stop();
    this.process = undefined;
  }

  async restart() {
    await this.stop();
    await this.start();
  }

  async remove() {
    await this.stop();
    rmSync(this.home, { recursive: true });
  }
}
