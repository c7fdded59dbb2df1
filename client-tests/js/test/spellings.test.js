// One server, three ways to spell its address.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { toAll, toChannel } from "../harness/records.js";
import { startFleet } from "../harness/server.js";
import { eventually } from "../harness/wait.js";

let fleet;
before(async () => (fleet = await startFleet()));
afterEach(() => fleet.server.closeClients());
after(() => fleet.stop());

const SPELLINGS = {
  "io(url)": {},
  'io(url + "/ws")': { url: "/ws" },
  'io(url, {path: "/ws/socket.io"})': { path: "/ws/socket.io" },
  'io(url + "/ws", {path: "/ws/socket.io/"})': { url: "/ws", path: "/ws/socket.io/" },
};

for (const [spelling, options] of Object.entries(SPELLINGS)) {
  test(`s4_01_${spelling}_gets_an_event_of_its_organisation`, async () => {
    const client = await fleet.server.connect(options);
    await fleet.broker.produce("incident", toAll(1));
    const { args } = await client.next("incident_created");
    assert.equal(args[0].data.n, 1);
  });
}

test("s4_01_all_spellings_share_one_room_space", async () => {
  const clients = [];
  for (const options of Object.values(SPELLINGS)) {
    const client = await fleet.server.connect(options);
    await client.subscribe("channel:7");
    clients.push(client);
  }
  await fleet.broker.produceAll(
    "transmission",
    [1, 2, 3].map((n) => ({ value: toChannel("7", n) })),
  );
  for (const client of clients) {
    await eventually(() => client.numbers.length >= 3, "three events");
    assert.deepEqual(client.numbers, [1, 2, 3]);
  }
});

test("s4_01_two_namespaces_on_one_connection_are_two_sockets", async () => {
  // One manager, so one WebSocket: each namespace has its own token, rooms and events.
  const root = await fleet.server.connect({ forceNew: false, token: { sub: "u1" } });
  const other = await fleet.server.connect({
    forceNew: false,
    url: "/ws",
    token: { sub: "u2", organization_id: "o2" },
  });
  assert.equal(root.socket.io, other.socket.io, "the test wants one connection");
  assert.equal(root.welcome.user_id, "u1");
  assert.equal(other.welcome.user_id, "u2");
  await other.subscribe("channel:7");
  assert.ok(!(await root.ask("rooms")).data.rooms.some((room) => room.startsWith("channel")));

  await fleet.broker.produce("transmission", toChannel("7", 1, "o2"));
  await fleet.broker.produce("transmission", toChannel("7", 2, "o1"));
  await fleet.broker.produce("incident", toAll(3, "o1"));
  await root.next("incident_created");
  await other.next("transmission_started");
  assert.deepEqual(root.numbers, [3]);
  assert.deepEqual(other.numbers, [1]);

  // Leaving one leaves the other alone.
  other.socket.disconnect();
  await fleet.broker.produce("incident", toAll(4, "o1"));
  await eventually(() => root.numbers.includes(4), "an event after the other namespace left");
});

test("s4_01_an_unknown_namespace_is_refused", async () => {
  const client = fleet.server.client({ url: "/other" });
  assert.match(await client.refused(), /namespace/i);
});
