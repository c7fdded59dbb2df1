// start.sh in a folder of its own, with a .env of its own, beside the server that is tested.

import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync } from "node:fs";
import { rmSync, symlinkSync, writeFileSync } from "node:fs";
import { lookup } from "node:dns/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { Broker } from "../js/harness/broker.js";
import { binary, Process } from "../js/harness/process.js";
import { listening } from "../js/harness/server.js";
import { eventually, sleep, within } from "../js/harness/wait.js";
import { freePort, ROOT } from "./blocks.js";

const SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCD";
let broker, folder;

before(async () => {
  broker = await Broker.open();
  folder = mkdtempSync(join(tmpdir(), "fleetcast-start-"));
  mkdirSync(join(folder, "scripts"));
  for (const file of ["start.sh", "scripts/target.sh"]) {
    copyFileSync(join(ROOT, file), join(folder, file));
  }
  built("target");
});
after(async () => {
  await broker?.close();
  if (folder) rmSync(folder, { recursive: true });
});

function built(target) {
  mkdirSync(join(folder, target, "release"), { recursive: true });
  symlinkSync(binary("fleetcast"), join(folder, target, "release/fleetcast"));
}

/** What a server needs in a test, beside the brokers. */
const needed = () => ({
  JWT_SECRET: SECRET,
  HOST: "127.0.0.1",
  PORT: "0",
  INTERNAL_PORT: "0",
  KAFKA_TOPIC_PREFIX: broker.prefix,
  DRAIN_SECONDS: "0",
  LOG_FORMAT: "json",
});

/** Runs start.sh with this .env (text, an object, or none) and this environment. */
function start(args, dotenv, env = {}) {
  const path = join(folder, ".env");
  const lines = (object) => Object.entries(object).map(([name, value]) => `${name}=${value}\n`);
  if (dotenv === undefined) rmSync(path, { force: true });
  else writeFileSync(path, typeof dotenv === "string" ? dotenv : lines(dotenv).join(""));
  return new Process(join(folder, "start.sh"), args, { PATH: process.env.PATH, ...env });
}

async function ends(run, code, ...texts) {
  const end = await within(run.exited, "the end of start.sh", 20_000);
  await sleep(20); // its last lines
  assert.equal(end.code, code, run.tail());
  for (const text of texts)
    assert.ok(run.tail().includes(text), `${text} is not in:\n${run.tail()}`);
}

async function serves(run) {
  const { open } = await run.line(listening, "its log line `listening`");
  const ready = async () => (await fetch(`http://${open}/ready`)).status === 200;
  await eventually(ready, "200 from /ready", 20_000);
  assert.equal((await run.stop()).code, 0, run.tail());
}

test("start_sh_serves_with_the_settings_of_dotenv", async () => {
  const run = start([], { ...needed(), KAFKA_BOOTSTRAP_SERVERS: broker.address });
  await serves(run);
  assert.ok(run.tail().includes(`start: Kafka can be reached at ${broker.address}`), run.tail());
});

test("start_sh_serves_with_the_environment_alone", async () => {
  const run = start([], undefined, { ...needed(), KAFKA_BOOTSTRAP_SERVERS: broker.address });
  await serves(run);
  assert.ok(run.tail().includes("start: no .env here"), run.tail());
});

test("start_sh_reads_dotenv_as_text_and_the_environment_wins", async () => {
  const dotenv = [
    "# a comment",
    "",
    "export JWT_SECRET=not-shown",
    "KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1",
    `NOTHING_RUNS=$(touch ${folder}/pwned)\`touch ${folder}/pwned\``,
    `JWT_SECRET="${SECRET}"`,
  ].join("\r\n");
  const address = { KAFKA_BOOTSTRAP_SERVERS: broker.address };
  const quoted = "the quotes around JWT_SECRET in .env are part of its value";
  const ignored = "warning: line 3 of .env is ignored: expected NAME=value";
  const run = start(["--check"], dotenv, address);
  await ends(run, 0, `reached at ${broker.address}`, quoted, ignored);
  assert.ok(!/not-shown|line [12] of/.test(run.tail()), run.tail());
  assert.ok(!existsSync(join(folder, "pwned")));

  const prefixed = { FLEETCAST_KAFKA_BOOTSTRAP_SERVERS: broker.address };
  await ends(start(["--check"], dotenv, prefixed), 0, `reached at ${broker.address}`);

  const windows = `KAFKA_BOOTSTRAP_SERVERS=${broker.address}\r\n`;
  await ends(start(["--check"], windows), 0, `reached at ${broker.address}`);
});

test("start_sh_check_starts_nothing", async () => {
  const run = start(["--check"], { ...needed(), KAFKA_BOOTSTRAP_SERVERS: broker.address });
  await ends(run, 0, "Kafka can be reached");
  assert.ok(!run.tail().includes("starting"), run.tail());
});

test("start_sh_gives_up_on_kafka_after_the_time_to_wait", async () => {
  const began = performance.now();
  const address = `127.0.0.1:${await freePort()}`;
  const run = start(["--wait", "1"], { ...needed(), KAFKA_BOOTSTRAP_SERVERS: address });
  await ends(run, 1, `Kafka cannot be reached at ${address} (waited 1 s)`);
  assert.ok(performance.now() - began < 10_000);
});

test("start_sh_waits_for_kafka", async () => {
  const port = await freePort();
  const address = `127.0.0.1:${port}`;
  const run = start(["--check", "--wait", "20"], { KAFKA_BOOTSTRAP_SERVERS: address });
  await sleep(1_500);
  assert.equal(run.child.exitCode, null, run.tail());
  const kafka = createServer().listen(port, "127.0.0.1");
  await ends(run, 0, `Kafka can be reached at ${address}`);
  kafka.close();
});

test("start_sh_reads_lists_of_brokers_as_the_server_does", async (t) => {
  const kafka = createServer().listen(0, "127.0.0.1");
  await once(kafka, "listening");
  t.after(() => kafka.close());
  const { port } = kafka.address();
  const absent = `127.0.0.1:${await freePort()}`;
  // A bare system may not know the name.
  const names = await lookup("localhost").then(
    () => [`localhost:${port}`],
    () => [],
  );
  for (const list of [
    ...names,
    `PLAINTEXT://127.0.0.1:${port}`,
    `${absent},127.0.0.1:${port}`,
    `${absent}, 127.0.0.1:${port}`,
    `,127.0.0.1:${port},`,
    `[::ffff:127.0.0.1]:${port}`,
  ]) {
    const run = start(["--check", "--wait", "0"], undefined, { KAFKA_BOOTSTRAP_SERVERS: list });
    await ends(run, 0, `Kafka can be reached at ${list}`);
  }
  const list = { KAFKA_BOOTSTRAP_SERVERS: `127.0.0.1:${port};${absent}` };
  await ends(start(["--check"], undefined, list), 78, "brokers are separated by commas");
});

test("start_sh_does_not_wait_for_brokers_that_only_a_settings_file_names", async () => {
  const config = join(folder, "fleetcast.toml");
  writeFileSync(config, `[kafka]\nbootstrap_servers = "${broker.address}"\n`);
  const run = start([], { ...needed(), FLEETCAST_CONFIG: config });
  await serves(run);
  assert.ok(run.tail().includes(`start: brokers as in ${config}: not waited for`), run.tail());

  const unreadable = { FLEETCAST_CONFIG: join(folder, "absent.toml") };
  await ends(start([], unreadable), 78, "cannot read FLEETCAST_CONFIG=");
});

test("start_sh_says_what_is_missing_or_not_understood", async () => {
  await ends(start([], undefined), 78, "neither KAFKA_BOOTSTRAP_SERVERS nor FLEETCAST_CONFIG");
  await ends(start(["--nonsense"], undefined), 2, 'unknown argument "--nonsense"');
  await ends(start(["--wait"], undefined), 2, "--wait takes a number of seconds");
  await ends(start(["--wait", "soon"], undefined), 2, "--wait takes a number of seconds");
  await ends(start(["--help"], undefined), 0, "./start.sh [--wait SECONDS] [--check]");
  // The server's own check of its settings, and its exit code.
  const run = start([], { ...needed(), PORT: "80a", KAFKA_BOOTSTRAP_SERVERS: broker.address });
  await ends(run, 78, 'cannot use PORT="80a"');
});

test("start_sh_warns_of_a_redis_that_is_away_without_its_password", async () => {
  const redis = `redis://me:hush@127.0.0.1:${await freePort()}/0`;
  const env = { KAFKA_BOOTSTRAP_SERVERS: broker.address, REDIS_URL: redis };
  const run = start(["--check"], undefined, env);
  await ends(run, 0, "warning: Redis cannot be reached at 127.0.0.1");
  assert.ok(!run.tail().includes("hush"), run.tail());
});

test("start_sh_builds_a_server_that_is_not_there_and_follows_CARGO_TARGET_DIR", async () => {
  const tools = join(folder, "tools");
  mkdirSync(tools);
  // A stand-in for make, which builds the server by copying it.
  const make = `#!/bin/sh\nmkdir -p "$CARGO_TARGET_DIR/release"\nln -s ${binary("fleetcast")} "$CARGO_TARGET_DIR/release/"\necho "made: $*"\n`;
  writeFileSync(join(tools, "make"), make);
  chmodSync(join(tools, "make"), 0o755);
  const env = {
    ...needed(),
    KAFKA_BOOTSTRAP_SERVERS: broker.address,
    PATH: `${tools}:${process.env.PATH}`,
    CARGO_TARGET_DIR: join(folder, "elsewhere"),
  };
  for (const made of [true, false]) {
    const run = start([], undefined, env);
    await serves(run);
    assert.equal(run.tail().includes("made: --no-print-directory build"), made, run.tail());
  }
});
