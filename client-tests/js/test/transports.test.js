// The same events by every transport that a stock client may use.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { Client } from "../harness/client.js";
import { slowWebSockets } from "../harness/delay.js";
import { toAll } from "../harness/records.js";
import { startFleet } from "../harness/server.js";
import { eventually, sleep } from "../harness/wait.js";

let fleet;
before(async () => (fleet = await startFleet()));
afterEach(() => fleet.server.closeClients());
after(() => fleet.stop());

const POLLING = { transports: ["polling"], upgrade: false };
const WEBSOCKET = { transports: ["websocket"] };
const numbered = (count, from = 0) =>
  Array.from({ length: count }, (_, index) => ({ value: toAll(from + index) }));
const sequence = (from, to) => Array.from({ length: to - from }, (_, index) => from + index);

for (const [name, options] of Object.entries({ polling: POLLING, websocket: WEBSOCKET })) {
  test(`s4_04_${name}_only_delivers_in_order_and_answers_commands`, async () => {
    const client = await fleet.server.connect(options);
    assert.equal(client.socket.io.engine.transport.name, name);
    assert.equal((await client.ask("rooms")).success, true);
    await fleet.broker.produceAll("incident", numbered(20));
    await eventually(() => client.numbers.length >= 20, "20 events");
    assert.deepEqual(client.numbers, sequence(0, 20));
    assert.equal(client.socket.io.engine.transport.name, name);
  });

  test(`s4_13_200_kB_in_one_event_arrive_by_${name}`, async () => {
    const client = await fleet.server.connect(options);
    const value = toAll(1);
    value.data.text = "é\u{1f692}x".repeat(200_000 / 7);
    assert.ok(Buffer.byteLength(JSON.stringify(value)) > 190_000);
    await fleet.broker.produceAll("incident", [{ value }, { value: toAll(2) }]);
    await eventually(() => client.numbers.includes(2), "the event behind the large one");
    assert.deepEqual(client.numbers, [1, 2]);
    assert.deepEqual(client.routed[0].args[0], value);
  });
}

test("a_websocket_subprotocol_that_is_offered_is_answered_also_at_an_upgrade", async () => {
  for (const options of [WEBSOCKET, {}]) {
    const token = (await fleet.server.connect(WEBSOCKET)).token;
    const protocols = [`bearer.${token}`, "notify"];
    const client = await fleet.server.connect({ ...options, protocols });
    const { engine } = client.socket.io;
    await eventually(() => engine.transport.name === "websocket", "a WebSocket");
    assert.equal(engine.transport.ws.protocol, "notify");
    assert.equal((await client.ask("rooms")).success, true);
  }
});

test("s4_13_a_polling_client_gets_300_queued_events_in_order", async () => {
  const client = await fleet.server.connect(POLLING);
  await fleet.broker.produceAll("incident", numbered(300));
  await eventually(() => client.numbers.length >= 300, "300 events", 30_000);
  assert.deepEqual(client.numbers, sequence(0, 300));
});

test("s4_13_several_large_events_pass_a_polling_client", async () => {
  // Together more than one polling answer may hold.
  const client = await fleet.server.connect(POLLING);
  const records = numbered(8).map(({ value }) => {
    value.data.text = "x".repeat(200_000);
    return { value };
  });
  for (const record of records) await fleet.broker.produceAll("incident", [record]);
  await eventually(() => client.numbers.length >= 8, "8 large events", 30_000);
  assert.deepEqual(client.numbers, sequence(0, 8));
});

test("s4_04_300_events_during_the_upgrade_are_neither_lost_nor_reordered", async () => {
  const network = await slowWebSockets(fleet.server.url, 50);
  try {
    const clients = Array.from({ length: 5 }, () => new Client(network.url));
    const seenAtUpgrade = new Map();
    for (const client of clients) {
      client.socket.io.once("open", () =>
        client.socket.io.engine.once("upgrade", () =>
          seenAtUpgrade.set(client, client.numbers.length),
        ),
      );
    }
    // The stream runs before, while and after the five connect, one after the other.
    let count = 0;
    const more = async () => {
      await fleet.broker.produceAll("incident", numbered(3, count));
      count += 3;
    };
    const stream = (async () => {
      while (count < 300 || (seenAtUpgrade.size < clients.length && count < 3000)) {
        await more();
        await sleep(8);
      }
      await more();
    })();
    for (const client of clients) {
      await client.connect();
      await eventually(() => client.numbers.length > 0, "its first event");
    }
    await stream;
    let during = 0;
    for (const client of clients) {
      await eventually(() => client.numbers.at(-1) === count - 1, "the last event");
      const first = client.numbers[0];
      assert.deepEqual(client.numbers, sequence(first, count));
      await eventually(() => seenAtUpgrade.has(client), "the upgrade");
      assert.equal(client.socket.io.engine.transport.name, "websocket");
      const polled = seenAtUpgrade.get(client);
      if (polled > 0 && polled < count - first) during += 1;
      client.close();
    }
    assert.ok(during >= 3, "without events on both sides of an upgrade this means nothing");
  } finally {
    network.close();
  }
});

test("s4_04_a_burst_at_the_moment_of_the_upgrade_arrives_whole", async () => {
  const client = fleet.server.client({ transports: ["polling", "websocket"] });
  const upgrading = new Promise((resolve) =>
    client.socket.io.once("open", () => client.socket.io.engine.once("upgrading", resolve)),
  );
  await client.connect();
  await upgrading;
  await fleet.broker.produceAll("incident", numbered(300));
  await eventually(() => client.numbers.length >= 300, "300 events");
  assert.deepEqual(client.numbers, sequence(0, 300));
  await eventually(() => client.socket.io.engine.transport.name === "websocket", "the upgrade");
});

test("s4_04_heartbeats_keep_a_quiet_connection", async () => {
  const server = await fleet.server.constructor.start(fleet.broker, {
    PING_INTERVAL: "200ms",
    PING_TIMEOUT: "1",
  });
  try {
    const clients = [await server.connect(POLLING), await server.connect(WEBSOCKET)];
    const pings = clients.map(() => 0);
    clients.forEach((client, index) => client.socket.io.on("ping", () => (pings[index] += 1)));
    // Seven intervals are longer than an interval and the timeout: unanswered, the first would have ended it.
    await eventually(() => pings.every((count) => count >= 7), "seven heartbeats");
    for (const client of clients) {
      assert.deepEqual(client.disconnects, []);
      assert.equal(client.socket.connected, true);
    }
  } finally {
    await server.stop();
  }
});
