// Starting, being asked for its health, stopping.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Broker } from "../harness/broker.js";
import { resuming } from "../harness/client.js";
import { toAll } from "../harness/records.js";
import { Server } from "../harness/server.js";
import { eventually, within } from "../harness/wait.js";

let broker;
before(async () => (broker = await Broker.open()));
after(() => broker.close());

const TRANSPORTS = {
  websocket: { transports: ["websocket"] },
  polling: { transports: ["polling"], upgrade: false },
};

/** Opens the second namespace on the connection of a client, so that two sessions share one transport. */
async function enterSecondNamespace(client) {
  const second = client.socket.io.socket("/ws", { auth: { token: client.token } });
  const welcomed = new Promise((resolve) => second.once("connection_established", resolve));
  second.connect();
  await within(welcomed, "the welcome in the second namespace");
}

for (const signal of ["SIGTERM", "SIGINT"]) {
  test(`s4_04_${signal}_closes_the_transports_evenly_over_the_drain_time_and_exits_0`, async () => {
    const drain = 2;
    const server = await Server.start(broker, { DRAIN_SECONDS: String(drain) });
    const clients = [];
    const ends = [];
    for (let index = 0; index < 12; index++) {
      const transport = TRANSPORTS[index % 6 ? "websocket" : "polling"];
      const client = await server.connect({ ...transport, token: { sub: `u${index}` } });
      // Most clients have two sessions on their transport: what is spread is transports.
      if (index % 4) await enterSecondNamespace(client);
      client.socket.on("disconnect", () => ends.push(performance.now() - asked));
      clients.push(client);
    }
    const asked = performance.now();
    server.process.child.kill(signal);
    // While it drains it says so, and admits no client; a stock client would try again elsewhere.
    await eventually(async () => {
      try {
        return (await fetch(`${server.url}/ready`)).status === 503;
      } catch {
        return true; // gone already
      }
    }, "503 from /ready");
    const { code } = await server.process.stop("SIGCONT", 7_000);
    assert.equal(code, 0);
    for (const [index, client] of clients.entries()) {
      await eventually(() => client.disconnects.length > 0, `the end of connection ${index}`);
      assert.equal(client.disconnects.length, 1);
      const allowed = index % 6 ? ["transport close"] : ["transport close", "transport error"];
      assert.ok(allowed.includes(client.disconnects[0]), client.disconnects[0]);
    }
    // One after the other: each in its own part of the time, none early, the last before the time is over.
    const shown = ends.map((end) => Math.round(end)).join(", ");
    assert.equal(ends.length, clients.length);
    for (const [nth, end] of ends.entries()) {
      const due = (nth / clients.length) * drain * 1000;
      assert.ok(end >= due - 20, `close ${nth} came before ${due} ms: ${shown}`);
    }
    assert.ok(ends.at(-1) <= drain * 1000 + 500, `the last came late: ${shown}`);
    server.closeClients();
  });
}

test("s4_04_a_second_signal_cuts_the_drain_short", async () => {
  const server = await Server.start(broker, { DRAIN_SECONDS: "30" });
  for (let index = 0; index < 5; index++) await server.connect(TRANSPORTS.websocket);
  server.process.child.kill("SIGTERM");
  await eventually(async () => {
    try {
      return (await fetch(`${server.url}/ready`)).status === 503;
    } catch {
      return true;
    }
  }, "503 from /ready");
  const { code, signal } = await server.process.stop("SIGTERM", 5_000);
  assert.deepEqual({ code, signal }, { code: 0, signal: null });
  server.closeClients();
});

test("s4_04_clients_of_a_stopped_server_come_back_to_the_next_one_and_miss_nothing", async () => {
  const first = await Server.start(broker);
  const port = new URL(first.url).port;
  const lines = resuming();
  const client = first.client(lines.options);
  lines.follow(client);
  await client.connect();
  await broker.produce("incident", toAll(0));
  await client.next("incident_created");
  assert.equal((await first.process.stop("SIGTERM", 6_000)).code, 0);
  for (let n = 1; n <= 5; n++) await broker.produce("incident", toAll(n));
  const second = await Server.start(broker, { PORT: port });
  try {
    await eventually(() => client.numbers.length >= 6, "what was missed");
    assert.deepEqual(client.numbers, [0, 1, 2, 3, 4, 5]);
    assert.equal(client.welcome.resume, "resumed");
  } finally {
    client.close();
    await second.stop();
  }
});

test("s4_19_health_ready_stats_metrics", async () => {
  const server = await Server.start(broker);
  try {
    await server.connect();
    for (const base of [server.url, server.internal]) {
      assert.equal((await fetch(`${base}/health`)).status, 200);
      const ready = await fetch(`${base}/ready`);
      assert.equal(ready.status, 200);
      const body = await ready.json();
      assert.equal(body.status, "ready", JSON.stringify(body));
      assert.ok(body.components.kafka, JSON.stringify(body));
      const stats = await fetch(`${base}/stats`);
      assert.equal(stats.status, 200);
      assert.equal(typeof (await stats.json()), "object");
    }
    assert.equal(await server.metric("fleetcast_connections"), 1);
    assert.equal((await fetch(`${server.url}/metrics`)).status, 404, "not on the public listener");
    const missing = await fetch(`${server.url}/nowhere`);
    assert.equal(missing.status, 404);
    assert.match(missing.headers.get("content-type"), /^application\/problem\+json/);
  } finally {
    await server.stop();
  }
});

test("s3_08_s2_15_the_views_of_stats_count_what_clients_did", async () => {
  const server = await Server.start(broker);
  const view = async (base, path) => (await fetch(`${base}${path}`)).json();
  try {
    const stays = await server.connect();
    const goes = await server.connect();
    await stays.subscribe("channel:7");
    await goes.subscribe("channel:8");
    await broker.produce("incident", toAll(0));
    await broker.produce("incident", toAll(1));
    await eventually(
      () => stays.numbers.length === 2 && goes.numbers.length === 2,
      "two events each",
    );
    goes.close();
    await eventually(
      async () => (await view(server.url, "/ws/stats")).total_disconnections === 1,
      "the end of one connection",
    );
    for (const base of [server.url, server.internal]) {
      // Own room of the organisation, own room of the user, and channel 7.
      assert.deepEqual(await view(base, "/ws/stats"), {
        active_connections: 1,
        total_connections: 2,
        total_disconnections: 1,
        total_rooms: 3,
        messages_sent: 4,
        messages_received: 2,
      });
      const { uptime_seconds, ...counts } = await view(base, "/api/v1/websocket/stats");
      assert.ok(Number.isInteger(uptime_seconds));
      assert.deepEqual(counts, {
        connections: 1,
        rooms: { "channel:*": 1, "org:*": 1, "user:*": 1 },
        events_emitted: 4,
      });
    }
  } finally {
    await server.stop();
  }
});

test("s4_08_a_wrong_setting_stops_the_start_with_78", async () => {
  for (const [env, name] of [
    [{ PORT: "80a" }, "PORT"],
    [{ JWT_SECRET: "short" }, "JWT_SECRET"],
    [{ FLEETCAST_WINDWO: "300" }, "FLEETCAST_WINDOW"],
  ]) {
    await assert.rejects(Server.start(broker, env), (error) => {
      assert.match(error.message, /it ended with 78/);
      assert.ok(error.message.includes(name), error.message);
      return true;
    });
  }
});
