// A client that was away gets exactly what it missed, with the few lines that the documentation shows.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { OWN_EVENTS, resuming } from "../harness/client.js";
import { record, toAll, toChannel } from "../harness/records.js";
import { Server, startFleet } from "../harness/server.js";
import { eventually, sleep } from "../harness/wait.js";

let fleet;
before(async () => (fleet = await startFleet()));
afterEach(() => fleet.server.closeClients());
after(() => fleet.stop());

/** A connected client that resumes by itself, in `rooms`. */
async function resumer(server, rooms, options = {}) {
  const lines = resuming(options.token);
  const client = server.client({ ...lines.options, ...options });
  lines.follow(client);
  await client.connect();
  for (const room of rooms) await lines.subscribe(client, room);
  return { client, lines };
}

const welcomes = (client) =>
  client.all("connection_established").map(({ args }) => args[0].data.resume);

async function back(client, connects) {
  await eventually(() => welcomes(client).length >= connects, `connection ${connects}`);
}

/** Each key's events came exactly once and in order: `per` of each of `keys`. */
function assertWhole(client, keys, per) {
  for (let key = 0; key < keys; key++) {
    const got = client.routed
      .map(({ args }) => args[0].data)
      .filter((data) => data.key === key)
      .map(({ n }) => n);
    assert.deepEqual(
      got,
      Array.from({ length: per }, (_, n) => n),
      `key ${key}`,
    );
  }
  assert.equal(client.routed.length, keys * per);
}

for (const [name, options] of Object.entries({
  websocket: { transports: ["websocket"] },
  polling: { transports: ["polling"], upgrade: false },
  upgraded: {},
})) {
  test(`promise_2_cut_while_events_flow_nothing_lost_nothing_twice_${name}`, async () => {
    const { client } = await resumer(fleet.server, ["channel:7", "channel:9"], options);
    const [keys, per] = [4, 100];
    const stream = (async () => {
      for (let n = 0; n < per; n++) {
        const records = Array.from({ length: keys }, (_, key) => ({
          key: `key-${key}`,
          value: record("transmission_started", { channel_id: key % 2 ? 7 : 9, key, n }),
        }));
        await fleet.broker.produceAll("transmission", records);
        // For about a second, so that cuts find it under way.
        await sleep(8);
      }
    })();
    for (let cut = 1; cut <= 4; cut++) {
      await eventually(
        () => client.routed.length >= (cut * keys * per) / 5,
        () => `${cut} fifths: ${client.routed.length}`,
      );
      client.cut();
      await back(client, cut + 1);
    }
    await stream;
    await eventually(
      () => client.routed.length >= keys * per,
      () => `all: ${client.routed.length}`,
    );
    await fleet.broker.produce("transmission", toAll("fence"));
    await eventually(() => client.numbers.includes("fence"), "the fence");
    client.seen.splice(
      client.seen.findIndex(({ args }) => args[0]?.data?.n === "fence"),
      1,
    );
    assertWhole(client, keys, per);
    assert.deepEqual(welcomes(client), ["fresh", ...Array(4).fill("resumed")]);
    assert.deepEqual(client.all("resync_required"), []);
  });
}

test("promise_2_what_was_missed_comes_before_what_is_new_and_in_order", async () => {
  const first = await fleet.server.connect();
  await first.subscribe("channel:7");
  await fleet.broker.produce("transmission", toChannel("7", 0));
  await first.next("transmission_started");
  const { cursor } = first;
  first.close();
  for (let n = 1; n <= 200; n++) await fleet.broker.produce("transmission", toChannel("7", n));
  const second = fleet.server.client({ auth: { cursor, rooms: ["channel:7"] } });
  const live = (async () => {
    for (let n = 201; n <= 260; n++) await fleet.broker.produce("transmission", toChannel("7", n));
  })();
  const welcome = await second.connect();
  await live;
  await eventually(
    () => second.numbers.length >= 260,
    () => `260 events: ${second.numbers.length}`,
  );
  assert.deepEqual(
    second.numbers,
    Array.from({ length: 260 }, (_, index) => index + 1),
  );
  assert.equal(welcome.resume, "resumed");
  assert.ok(welcome.rooms.includes("channel:7:org:o1"));
  assert.equal(second.seen[0].event, "connection_established");
});

test("connection_state_recovery_is_not_served_so_recovered_is_undefined", async () => {
  const { client } = await resumer(fleet.server, ["channel:7"]);
  assert.equal(client.socket.recovered, undefined);
  client.cut();
  await back(client, 2);
  assert.deepEqual(welcomes(client), ["fresh", "resumed"], "resumed by its cursor all the same");
  assert.equal(client.socket.recovered, undefined);
});

test("promise_2_a_cursor_without_rooms_resumes_the_own_rooms", async () => {
  const first = await fleet.server.connect();
  const { cursor } = first;
  first.close();
  await fleet.broker.produce("incident", toAll(1));
  await fleet.broker.produce("task", record("task_assigned", { assigned_to: "u1", n: 2 }));
  const second = await fleet.server.connect({ auth: { cursor } });
  await eventually(() => second.numbers.length >= 2, "both events");
  assert.deepEqual(second.numbers.slice().sort(), [1, 2]);
  assert.equal(second.welcome.resume, "resumed");
});

test("promise_2_a_cut_right_after_a_resume_starts_from_where_it_got_to", async () => {
  // The welcome of a resumed connection carries the position that it resumes from, so nothing is skipped.
  const first = await fleet.server.connect();
  let { cursor } = first;
  first.close();
  for (let n = 0; n < 50; n++) await fleet.broker.produce("incident", toAll(n));
  const got = [];
  for (let round = 0; round < 30 && got.at(-1) !== 49; round++) {
    const client = await fleet.server.connect({ auth: { cursor }, transports: ["websocket"] });
    if (round % 3 === 2) await eventually(() => client.numbers.length > 0, "the next event");
    client.cut();
    await eventually(() => client.disconnects.length > 0, "the cut");
    got.push(...client.numbers);
    cursor = client.cursor;
  }
  const client = await fleet.server.connect({ auth: { cursor } });
  await fleet.broker.produce("incident", toAll(50));
  await eventually(() => client.numbers.includes(50), "the last event");
  got.push(...client.numbers);
  assert.deepEqual(
    got,
    Array.from({ length: 51 }, (_, n) => n),
  );
});

test("promise_2_broken_records_in_between_are_skipped", async () => {
  const first = await fleet.server.connect();
  const { cursor } = first;
  first.close();
  for (let n = 0; n < 10; n++) {
    await fleet.broker.produce("incident", "not json");
    await fleet.broker.produce("incident", null);
    await fleet.broker.produce("incident", toAll(n));
  }
  const second = await fleet.server.connect({ auth: { cursor } });
  await eventually(() => second.numbers.length >= 10, "ten events");
  assert.deepEqual(second.numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("promise_2_at_another_instance_and_after_a_crash", async () => {
  const other = await Server.start(fleet.broker);
  try {
    const first = await other.connect();
    await first.subscribe("channel:7");
    await fleet.broker.produce("transmission", toChannel("7", 0));
    await first.next("transmission_started");
    other.process.child.kill("SIGKILL");
    await other.process.exited;
    await eventually(() => first.disconnects.length > 0, "the end of the connection");
    for (let n = 1; n <= 20; n++) await fleet.broker.produce("transmission", toChannel("7", n));
    const second = await fleet.server.connect({
      auth: { cursor: first.cursor, rooms: ["channel:7"] },
    });
    await eventually(() => second.numbers.length >= 20, "what was missed");
    assert.deepEqual(
      second.numbers,
      Array.from({ length: 20 }, (_, index) => index + 1),
    );
    assert.equal(second.welcome.resume, "resumed");
  } finally {
    other.closeClients();
    other.process.child.kill("SIGKILL");
  }
});

test("promise_2_a_new_instance_reads_the_window_before_it_is_ready", async () => {
  const first = await fleet.server.connect();
  const { cursor } = first;
  first.close();
  for (let n = 1; n <= 20; n++) await fleet.broker.produce("incident", toAll(n));
  const young = await Server.start(fleet.broker);
  try {
    const second = await young.connect({ auth: { cursor } });
    await eventually(() => second.numbers.length >= 20, "what was missed");
    assert.deepEqual(
      second.numbers,
      Array.from({ length: 20 }, (_, index) => index + 1),
    );
  } finally {
    await young.stop();
  }
});

const CURSORS = {
  "garbage behind the prefix": "v1.garbage",
  "nothing behind the prefix": "v1.",
  "another version": "v2.AAAA",
  "no cursor at all": "12",
  "an endless one": `v1.${"A".repeat(20_000)}`,
};

for (const [what, cursor] of Object.entries(CURSORS)) {
  test(`promise_2_${what.replaceAll(" ", "_")}_causes_a_resync_before_any_event`, async () => {
    await resync({ cursor, rooms: ["channel:7"] });
  });
}

test("promise_2_a_changed_cursor_causes_a_resync_before_any_event", async () => {
  const first = await fleet.server.connect();
  const middle = Math.floor(first.cursor.length / 2);
  const other = first.cursor[middle] === "A" ? "B" : "A";
  await resync({ cursor: first.cursor.slice(0, middle) + other + first.cursor.slice(middle + 1) });
});

test("promise_3_a_cursor_of_another_organisation_causes_a_resync_before_any_event", async () => {
  const foreign = await fleet.server.connect({ token: { organization_id: "o2" } });
  await fleet.broker.produce("incident", toAll(1, "o2"));
  await foreign.next("incident_created");
  const client = await resync({ cursor: foreign.cursor });
  for (const { args } of client.routed) assert.equal(args[0].organization_id, "o1");
});

/** Connects with a cursor that cannot be resumed, while events flow. */
async function resync(auth) {
  let flowing = true;
  const flow = (async () => {
    for (let n = 0; flowing; n++) await fleet.broker.produce("incident", toAll(n));
  })();
  const client = fleet.server.client({ auth });
  let welcome;
  try {
    welcome = await client.connect();
    await client.next("incident_created");
  } finally {
    flowing = false;
    await flow;
  }
  assert.equal(welcome.resume, "resync");
  const told = client.all("resync_required");
  assert.equal(told.length, 1);
  const [{ data, timestamp }, cursor] = told[0].args;
  assert.ok(data.reason);
  assert.ok(Array.isArray(data.rooms));
  assert.ok(!Number.isNaN(Date.parse(timestamp)));
  assert.match(cursor, /^v1\./);
  const firstEvent = client.seen.findIndex(({ event }) => !OWN_EVENTS.has(event));
  assert.ok(client.seen.indexOf(told[0]) < firstEvent, "it comes before the first event");
  // From here on it is a connection like any other.
  await client.ask("rooms");
  assert.deepEqual(client.disconnects, []);
  return client;
}
