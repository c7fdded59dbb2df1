// The stock Python and Java clients, each several in one process, which print a line for each thing that they see.

import { fileURLToPath } from "node:url";

import { Process } from "../harness/process.js";
import { eventually, sleep } from "../harness/wait.js";

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const JAVA = file("../../../.cache/java-client");
const COMMANDS = {
  python: [file("../../../.cache/python/bin/python"), file("../../python/follow.py")],
  java: ["java", "-Xmx256m", "-cp", `${JAVA}/classes:${JAVA}/*`, "Follow"],
};

export class ForeignClients {
  /** `followers`: by name; each has a transcript, a token and the URL of its proxy. */
  constructor(language, followers, rooms) {
    this.followers = new Map(followers.map((follower) => [follower.transcript.name, follower]));
    this.language = language;
    this.ready = new Set();
    const [command, ...args] = COMMANDS[language];
    const clients = followers.map(({ transcript, token, url }) => [transcript.name, url, token]);
    this.process = new Process(command, [...args, ...clients.flat()], {
      PATH: process.env.PATH,
      ROOMS: rooms.join(" "),
    });
    this.process.listeners.add((line) => this.#line(line));
  }

  #line(line) {
    const [name, word, ...values] = line.split(" ");
    const transcript = this.followers.get(name)?.transcript;
    switch (transcript && word) {
      case "session":
        return transcript.session(...values);
      case "event":
        return transcript.event(values[0], Number(values[1]), Number(values[2]));
      case "position":
        return transcript.position(values[0], Number(values[1]));
      case "ready":
        return this.ready.add(name);
      case "asked":
        return transcript.asked++;
      case "answered":
        return transcript.answered++;
      case "cut":
        return transcript.cut++;
      case "stranded":
        return transcript.stranded++;
      case "fault":
        return transcript.fault(values.join(" "));
      default:
        // What a library says of its troubles is of interest only where something is missing.
        return;
    }
  }

  async connected() {
    const all = () => this.ready.size === this.followers.size;
    await eventually(all, () => `clients to connect: ${this.process.tail()}`, 30_000);
  }

  /** Prints what each thread does, if something is missing: a library may hang. */
  async explain(produced) {
    const lacking = [...this.followers.values()].filter(
      ({ transcript }) => transcript.missing(produced) !== "",
    );
    if (lacking.length === 0) return;
    this.process.child.kill(this.language === "java" ? "SIGQUIT" : "SIGUSR1");
    await sleep(500);
    const words = /^\S+ (event|position|session|asked|answered|cut|ready) /;
    console.log(this.process.lines.filter((line) => !words.test(`${line} `)).join("\n"));
  }

  /** No more commands. */
  settle() {
    this.process.child.stdin.write("settle\n");
  }

  async close() {
    this.process.child.stdin.end();
    await this.process.stop("SIGTERM", 5_000).catch(() => {});
  }
}
