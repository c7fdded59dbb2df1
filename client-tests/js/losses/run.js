// Stock clients that poll through a proxy that loses answers, while records are produced: each event must arrive once.
//
//   node losses/run.js ROUNDS CLIENT...     CLIENT: js, python or java; a round is a lost answer

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

import { Broker } from "../harness/broker.js";
import { Process } from "../harness/process.js";
import { toAll } from "../harness/records.js";
import { Server } from "../harness/server.js";
import { token, unixNow } from "../harness/tokens.js";
import { eventually, sleep } from "../harness/wait.js";
import { LossyProxy } from "./proxy.js";

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const JAVA = file("../../../.cache/java-client");
const CLIENTS = {
  js: [process.execPath, file("client.js")],
  python: [file("../../../.cache/python/bin/python"), file("../../python/polls.py")],
  java: ["java", "-cp", `${JAVA}/classes:${JAVA}/*`, "Polls"],
};
/** Milliseconds between two records. */
const PAUSE = 5;
/** Milliseconds that a round may take. */
const PATIENCE = 5_000;

async function run(name, { rounds, repeat }) {
  const broker = await Broker.open();
  // One user that resumes, and repeats polls, as fast as the wire breaks.
  const free = { COMMANDS_PER_SECOND: "0", MAX_CONNECTIONS_PER_USER: "0" };
  const server = await Server.start(broker, free);
  const proxy = await LossyProxy.start(server.url, { rounds, repeat });
  const [command, ...args] = CLIENTS[name];
  const env = { PATH: process.env.PATH, URL: proxy.url, TOKEN: token({ exp: unixNow() + 7200 }) };
  const client = new Process(command, args, env);
  const begin = performance.now();
  const seen = [];
  let resyncs = 0;
  let sessions = 0;
  client.listeners.add((line) => {
    const [word, value] = line.split(" ");
    if (word === "event") seen.push(Number(value));
    if (word === "resume") sessions++;
    if (word === "resync") resyncs++;
  });
  let produced = 0;
  try {
    await eventually(
      () => sessions > 0,
      () => `${name} to connect: ${client.tail()}`,
      30_000,
    );
    while (proxy.lost < rounds) {
      if (performance.now() - begin > 30_000 + rounds * PATIENCE) throw new Error("it hangs");
      await broker.produce("incident", toAll(produced++));
      await sleep(PAUSE);
    }
    const all = () => new Set(seen).size === produced;
    await eventually(all, () => "the rest", 20_000).catch(() => {});
    await sleep(200); // what comes twice may come late
  } catch (error) {
    console.error(`${name}: ${error.message}; it said:\n${client.tail()}`);
  }
  const different = new Set(seen).size;
  const verdict = {
    client: name,
    "proxy repeats": repeat,
    rounds: proxy.lost,
    events: produced,
    lost: produced - different,
    twice: seen.length - different,
    sessions,
    resyncs,
    "repeated polls": await server.metric("fleetcast_polls_repeated_total"),
    seconds: Math.round((performance.now() - begin) / 1000),
  };
  client.child.stdin.end();
  await client.stop("SIGTERM", 5_000).catch(() => {});
  proxy.close();
  await server.stop();
  await broker.close();
  return verdict;
}

const [rounds, ...names] = process.argv.slice(2);
for (const [name, script] of [
  ["python", "python.sh"],
  ["java", "java.sh"],
]) {
  if (!names.includes(name)) continue;
  const made = spawnSync(file(`../../../scripts/${script}`), { stdio: "inherit" });
  if (made.status !== 0) process.exit(1);
}
const verdicts = [];
for (const name of names) {
  for (const repeat of [false, true]) {
    verdicts.push(await run(name, { rounds: Number(rounds), repeat }));
  }
}
console.table(verdicts);
const good = verdicts.every(
  (it) => it.rounds === Number(rounds) && it.lost + it.twice + it.resyncs === 0,
);
process.exit(good ? 0 : 1);
