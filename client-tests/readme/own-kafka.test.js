// README.md's block "With your own Kafka", pasted into a terminal, on a machine where the demo is running.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Broker } from "../js/harness/broker.js";
import { binary, Process } from "../js/harness/process.js";
import { sleep } from "../js/harness/wait.js";
import { block, freePort, replace, ROOT } from "./blocks.js";
import { Demo } from "./demo.js";

const FLEETCAST = binary("fleetcast");
let broker, demo;

before(async () => {
  broker = await Broker.open();
  demo = await Demo.prepare();
  await demo.start();
});
after(async () => {
  await demo?.remove();
  await broker?.close();
});

/** The block as it stands, but for addresses, the topic of this test, and the build, which is done. */
async function pasted(ports) {
  let text = block("sh", "fleetcast serve &");
  text = replace(text, "make build\n", "");
  text = replace(text, "localhost:9092", broker.address);
  text = replace(text, "PORT=8002 INTERNAL_PORT=9002", ports);
  text = replace(text, "target/release/fleetcast", FLEETCAST);
  return replace(text, "-t asset ", `-t ${broker.prefix}asset `);
}

/** A shell at a terminal: jobs in the background are stopped when they read from it. */
function terminal() {
  const shell = ["bash --noprofile --norc -i", "/dev/null"];
  return new Process("script", ["--quiet", "--flush", "--command", ...shell], {
    PATH: process.env.PATH,
    KAFKA_TOPIC_PREFIX: broker.prefix,
    PS1: "$ ",
  });
}

const cleared = (line) => line.replaceAll(/\x1b\[[0-9;?]*[A-Za-z]/g, "");
const said = (shell, pattern) =>
  shell.line((line) => pattern.test(cleared(line)) && line, String(pattern), 60_000);

test("readme_own_kafka_block_shows_the_record_when_it_is_pasted", async (t) => {
  const shell = terminal();
  t.after(() => shell.child.kill("SIGKILL"));
  shell.child.stdin.write(`cd ${ROOT}\n`);
  shell.child.stdin.write(
    await pasted(`PORT=${await freePort()} INTERNAL_PORT=${await freePort()}`),
  );
  await said(shell, /^ok: the settings are complete/);
  await said(shell, /^\/ready at .* answers 200/);
  await said(shell, /-- connected as u1 of o1 \(dispatcher\)/);
  await said(shell, /asset_position_updated .*"asset_id":"engine-4"/);
  // Ctrl-C ends the client, and the server goes on.
  shell.child.stdin.write("\x03");
  await said(shell, /-- end: 1 events/);
  await sleep(500); // what is typed before it has ended would be a command for the client
  shell.child.stdin.write("kill %1 && wait %1; echo server ended with $?; exit\n");
  await said(shell, /^server ended with 0/);
});

test("a_client_in_the_background_of_a_terminal_is_not_stopped", async (t) => {
  const shell = terminal();
  t.after(() => shell.child.kill("SIGKILL"));
  const [dana] = await (await fetch(`${demo.url}/demo/people.json`)).json();
  const client = `${FLEETCAST} client --url ${demo.url} --token ${dana.token} --for 2s`;
  shell.child.stdin.write(`${client} & wait -f %1; echo client ended with $?\n`);
  await said(shell, /-- connected as u-reyes/);
  await said(shell, /^client ended with 0/);
  shell.child.stdin.write("exit\n");
});

test("a_server_whose_port_the_demo_has_says_what_to_do", async () => {
  for (const [ports, variable] of [
    [{ PORT: String(demo.port), INTERNAL_PORT: "0" }, "PORT"],
    [{ PORT: "0", INTERNAL_PORT: String(demo.port) }, "INTERNAL_PORT"],
  ]) {
    const server = new Process(FLEETCAST, ["serve"], {
      JWT_SECRET: "0123456789abcdefghijklmnopqrstuvwxyzABCD",
      KAFKA_BOOTSTRAP_SERVERS: broker.address,
      HOST: "127.0.0.1",
      LOG_FORMAT: "json",
      ...ports,
    });
    const { code } = await server.exited;
    assert.equal(code, 1, server.tail());
    const advice = `perhaps a fleetcast demo; stop it, or set ${variable}"`;
    assert.ok(
      server.lines.some((line) => line.includes(advice)),
      server.tail(),
    );
  }
});

test("variables_of_the_tests_do_not_stop_the_demo", async (t) => {
  // As in a shell that has run `export FLEETCAST_TEST_KAFKA=…` to run tests by hand.
  const another = await Demo.prepare({
    FLEETCAST_TEST_KAFKA: "127.0.0.1:1",
    FLEETCAST_TEST_KAFKA_CLUSTER: "/nowhere",
    FLEETCAST_TEST_LOG: "1",
    FLEETCAST_CACHE: "/nowhere",
    FLEETCAST_BIN: FLEETCAST,
    FLEETCAST_NO_BROWSER: "1",
  });
  t.after(() => another.remove());
  await another.start();
});

test("the_client_waits_for_its_server_and_asks_at_PORT", async (t) => {
  const late = await Demo.prepare({ JWT_SECRET: "0123456789abcdefghijklmnopqrstuvwxyzABCD" });
  t.after(() => late.remove());
  const settings = { JWT_SECRET: late.settings.JWT_SECRET, PORT: String(late.port) };
  const mint = ["token", "mint", "--sub", "u1", "--org", "metro", "--role", "dispatcher"];
  const minted = new Process(FLEETCAST, mint, settings);
  const token = await minted.line((line) => line, "a token");

  const follow = ["client", "--token", token, "--count", "1", "--for", "60s"];
  const client = new Process(FLEETCAST, follow, settings);
  const ready = new Process(FLEETCAST, ["healthcheck", "--ready", "--wait", "40s"], settings);
  await client.line((line) => /!! cannot connect to .*; trying again/.test(line), "a retry");
  await late.start();
  assert.deepEqual(await ready.exited, { code: 0, signal: null }, ready.tail());
  assert.deepEqual(await client.exited, { code: 0, signal: null }, client.tail());
});

test("waiting_is_bounded_quiet_and_ends_with_ctrl_c", async () => {
  const settings = { PORT: String(await freePort()) };
  const began = performance.now();
  const ready = new Process(FLEETCAST, ["healthcheck", "--ready", "--wait", "1s"], settings);
  assert.equal((await ready.exited).code, 1);
  const client = new Process(FLEETCAST, ["client", "--token", "t", "--wait", "2s"], settings);
  assert.equal((await client.exited).code, 1, client.tail());
  assert.ok(performance.now() - began < 10_000);
  const lines = client.lines.filter((line) => line.includes("cannot connect"));
  assert.ok(lines.length >= 2 && lines.length <= 3, client.tail());
  const retries = lines.slice(0, -1);
  assert.ok(
    retries.every((line) => line.endsWith("; trying again")),
    client.tail(),
  );

  const stopped = new Process(FLEETCAST, ["client", "--token", "t"], settings);
  await stopped.line((line) => line.includes("trying again"), "a retry");
  const { code } = await stopped.stop("SIGINT", 2_000);
  assert.equal(code, 0, stopped.tail());
});
