// Commands and their acknowledgements, and which rooms a role may join.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { toAll, toChannel } from "../harness/records.js";
import { startFleet } from "../harness/server.js";
import { eventually } from "../harness/wait.js";

let fleet;
before(async () => (fleet = await startFleet()));
afterEach(() => fleet.server.closeClients());
after(() => fleet.stop());

const CHANNEL = "channel:7:org:o1";
const OWN_ROOMS = ["org:o1", "user:u1:org:o1"];

function assertSuccess(answer) {
  assert.equal(answer.status, "success", JSON.stringify(answer));
  assert.equal(answer.success, true);
  assert.equal(typeof answer.message, "string");
  assert.ok(Array.isArray(answer.data.rooms));
}

function assertError(answer, ...reasons) {
  assert.equal(answer.status, "error", JSON.stringify(answer));
  assert.equal(answer.success, false);
  assert.equal(typeof answer.message, "string");
  assert.equal(typeof answer.error.code, "number");
  assert.equal(typeof answer.error.retryable, "boolean");
  assert.ok(reasons.includes(answer.error.reason), JSON.stringify(answer));
}

const held = async (client) => (await client.ask("rooms")).data.rooms.slice().sort();

test("s4_13_own_org_room_is_joined", async () => {
  const client = await fleet.server.connect();
  assert.deepEqual(await held(client), OWN_ROOMS);
  await fleet.broker.produce("incident", toAll(1));
  await client.next("incident_created");
});

test("s4_13_own_user_room_is_joined", async () => {
  const client = await fleet.server.connect({ token: { sub: "u77" } });
  assert.ok((await held(client)).includes("user:u77:org:o1"));
});

const SPELLINGS = {
  "type and id": { type: "channel", id: "7" },
  "a room": { room: "channel:7" },
  "a list of rooms": { rooms: ["channel:7"] },
  "the displayed name": { room: CHANNEL },
};

for (const [spelling, payload] of Object.entries(SPELLINGS)) {
  test(`s4_13_subscribe_and_unsubscribe_by_${spelling.replaceAll(" ", "_")}`, async () => {
    const client = await fleet.server.connect();
    const joined = await client.ask("subscribe", payload);
    assertSuccess(joined);
    if (!payload.rooms) assert.equal(joined.data.room, CHANNEL);
    assert.ok(joined.data.rooms.includes(CHANNEL));
    assert.deepEqual(await held(client), [CHANNEL, ...OWN_ROOMS]);

    await fleet.broker.produce("transmission", toChannel("7", 1));
    await client.next("transmission_started");

    assertSuccess(await client.ask("unsubscribe", payload));
    assert.deepEqual(await held(client), OWN_ROOMS);
    await fleet.broker.produce("transmission", toChannel("7", 2));
    await fleet.broker.produce("transmission", toAll(3));
    await eventually(() => client.numbers.includes(3), "the event behind it");
    assert.deepEqual(client.numbers, [1, 3]);
  });
}

for (const kind of ["channel", "incident", "asset"]) {
  test(`s4_09_to_12_${kind}_rooms_can_be_joined`, async () => {
    const client = await fleet.server.connect();
    const answer = await client.ask("subscribe", { type: kind, id: "a-B_9" });
    assertSuccess(answer);
    assert.equal(answer.data.room, `${kind}:a-B_9:org:o1`);
  });
}

test("s4_13_many_rooms_in_one_command", async () => {
  const client = await fleet.server.connect();
  assertSuccess(await client.ask("subscribe", { rooms: ["channel:1", "incident:2", "asset:3"] }));
  assert.deepEqual(
    await held(client),
    ["asset:3:org:o1", "channel:1:org:o1", "incident:2:org:o1", ...OWN_ROOMS].sort(),
  );
});

test("s4_13_rooms_and_debug_rooms_give_the_same_answer", async () => {
  const client = await fleet.server.connect();
  await client.subscribe("channel:7");
  for (const command of ["rooms", "debug:rooms"]) {
    for (const args of [[], [{}], [null]]) {
      const answer = await client.ask(command, ...args);
      assertSuccess(answer);
      assert.deepEqual(answer.data.rooms.slice().sort(), [CHANNEL, ...OWN_ROOMS]);
    }
  }
});

test("s4_13_subscribing_twice_and_leaving_what_is_not_held_are_no_errors", async () => {
  const client = await fleet.server.connect();
  await client.subscribe("channel:7", "channel:7");
  await fleet.broker.produce("transmission", toChannel("7", 1));
  await fleet.broker.produce("transmission", toAll(2));
  await eventually(() => client.numbers.includes(2), "the last event");
  assert.deepEqual(client.numbers, [1, 2]);
  assertSuccess(await client.ask("unsubscribe", { room: "channel:8" }));
});

const LONG = "x".repeat(65);
const MALFORMED = [
  [],
  [null],
  [7],
  [true],
  [[]],
  [{}],
  [{ type: "channel" }],
  [{ id: "7" }],
  [{ type: "channel", id: "" }],
  [{ type: "channel", id: null }],
  [{ type: "channel", id: {} }],
  [{ type: "channel", id: 1.5 }],
  [{ type: ["channel"], id: "7" }],
  [{ type: "channel", id: "7:org:o2" }],
  [{ type: "channel", id: "../7" }],
  [{ type: "channel", id: LONG }],
  [{ room: "" }],
  [{ room: "channel" }],
  [{ room: "channel:" }],
  [{ room: "channel: 7" }],
  [{ room: `channel:${LONG}` }],
  [{ room: { type: "channel" } }],
  [{ rooms: "channel:7" }],
  [{ rooms: [7] }],
  [{ rooms: ["channel:7", null] }],
];

for (const command of ["subscribe", "unsubscribe"]) {
  test(`s4_26_malformed_${command}_commands_are_answered_bad_request`, async () => {
    const client = await fleet.server.connect();
    for (const args of MALFORMED) {
      const answer = await client.ask(command, ...args);
      assertError(answer, "bad_request");
      assert.equal(answer.error.retryable, false);
    }
    assert.deepEqual(await held(client), OWN_ROOMS);
    assert.deepEqual(client.disconnects, []);
  });
}

test("s4_26_unknown_commands_are_answered_and_reach_no_other_client", async () => {
  const client = await fleet.server.connect();
  const neighbour = await fleet.server.connect({ token: { sub: "u2" } });
  await neighbour.subscribe("channel:7");
  assertError(await client.ask("", {}), "bad_request"); // no name at all
  for (const command of [
    "nonsense",
    "__proto__",
    "error",
    "x".repeat(500),
    // What the server sends is no command.
    "incident_created",
    "alert_created",
    "cursor",
    "resync_required",
    "room_revoked",
    "connection_established",
  ]) {
    const data = { room: "channel:7", data: { channel_id: "7" }, organization_id: "o1" };
    assertError(await client.ask(command, data), "unknown_event");
  }
  await fleet.broker.produce("incident", toAll(1));
  for (const { numbers, routed } of [await upTo(client, 1), await upTo(neighbour, 1)]) {
    assert.deepEqual(numbers, [1]);
    assert.equal(routed.length, 1);
  }
  assert.deepEqual(neighbour.all("resync_required"), []);
});

/** The client, once it has seen this number. */
async function upTo(client, number) {
  await eventually(() => client.numbers.includes(number), `number ${number}`);
  return client;
}

test("a73_own_rooms_cannot_be_left", async () => {
  const client = await fleet.server.connect();
  for (const room of ["org:o1", "user:u1", "user:u1:org:o1"]) {
    assertError(await client.ask("unsubscribe", { room }), "bad_request");
  }
  assertError(await client.ask("unsubscribe", { room: "org:o2" }), "forbidden");
  const { rooms } = (await client.ask("rooms")).data;
  assert.deepEqual(rooms.sort(), ["org:o1", "user:u1:org:o1"]);
});

test("s4_26_a_binary_argument_is_answered_too", async () => {
  const client = await fleet.server.connect();
  assertError(await client.ask("subscribe", Buffer.from("channel:7")), "bad_request");
  assertError(await client.ask("nonsense", Buffer.from("x")), "unknown_event");
});

test("s4_26_a_failed_command_without_acknowledgement_becomes_an_error_event", async () => {
  const client = await fleet.server.connect();
  client.socket.emit("subscribe", { type: "channel" });
  client.socket.emit("nonsense");
  await eventually(() => client.all("error").length >= 2, "two error events");
  const [first, second] = client.all("error").map(({ args }) => args[0]);
  assert.equal(first.data.reason, "bad_request");
  assert.equal(second.data.reason, "unknown_event");
  assert.ok(!Number.isNaN(Date.parse(first.timestamp)));
});

test("s4_13_commands_take_effect_in_the_order_in_which_they_were_sent", async () => {
  const client = await fleet.server.connect();
  const room = { room: "channel:7" };
  for (let round = 0; round < 12; round++) {
    const answered = [];
    const send = (command, name) => client.ask(command, room).then(() => answered.push(name));
    await Promise.all([
      send("subscribe", 1),
      send("unsubscribe", 2),
      send("subscribe", 3),
      ...(round % 2 ? [send("unsubscribe", 4)] : []),
    ]);
    assert.deepEqual(answered, round % 2 ? [1, 2, 3, 4] : [1, 2, 3]);
    assert.equal((await held(client)).includes(CHANNEL), round % 2 === 0, `round ${round}`);
  }
});

const MAY = "success";
const NO = "forbidden";
const ROLES = {
  admin: { roles: ["admin"], channel: MAY, incident: MAY, asset: MAY },
  supervisor: { roles: ["supervisor"], channel: MAY, incident: MAY, asset: MAY },
  dispatcher: { roles: ["dispatcher"], channel: MAY, incident: MAY, asset: MAY },
  viewer: { roles: ["viewer"], channel: NO, incident: MAY, asset: NO },
  "field_unit without ids": { roles: ["field_unit"], channel: NO, incident: NO, asset: NO },
  "field_unit with other ids": {
    roles: ["field_unit"],
    claims: { channels: ["8"], incidents: ["8"], assets: ["8"] },
    channel: NO,
    incident: NO,
    asset: NO,
  },
  "field_unit with its ids": {
    roles: ["field_unit"],
    claims: { channels: ["7"], incidents: [7], assets: ["7", "8"] },
    channel: MAY,
    incident: MAY,
    asset: MAY,
  },
  "field_unit and viewer": {
    roles: ["field_unit", "viewer"],
    claims: { channels: ["7"] },
    channel: MAY,
    incident: MAY,
    asset: NO,
  },
  "no role": { roles: [], channel: NO, incident: NO, asset: NO },
  "an unknown role": { roles: ["root"], channel: NO, incident: NO, asset: NO },
  "a viewer with ids": {
    roles: ["viewer"],
    claims: { channels: ["7"] },
    channel: NO,
    incident: MAY,
    asset: NO,
  },
};

for (const [name, { roles, claims, ...kinds }] of Object.entries(ROLES)) {
  test(`s4_06_role_policy_${name.replaceAll(" ", "_")}`, async () => {
    const client = await fleet.server.connect({ token: { roles, ...claims } });
    for (const [kind, expected] of Object.entries(kinds)) {
      const answer = await client.ask("subscribe", { type: kind, id: "7" });
      if (expected === MAY) assertSuccess(answer);
      else assertError(answer, NO);
      assert.equal((await held(client)).includes(`${kind}:7:org:o1`), expected === MAY, kind);
    }
  });
}

test("s4_06_rooms_of_others_are_forbidden_and_do_not_tell_whether_they_exist", async () => {
  const victim = await fleet.server.connect({ token: { sub: "u2", organization_id: "o2" } });
  await victim.subscribe("channel:7");
  const client = await fleet.server.connect({ token: { roles: ["admin"] } });
  const answers = [];
  for (const room of [
    "org:o2",
    "channel:7:org:o2",
    "channel:7:org:unknown",
    "user:u2",
    "user:unknown",
    "user:u2:org:o2",
    "planet:7",
  ]) {
    const answer = await client.ask("subscribe", { room });
    assertError(answer, NO);
    assert.equal(answer.error.retryable, false);
    answers.push({ ...answer, message: undefined });
  }
  for (const answer of answers) assert.deepEqual(answer, answers[0]);
  assert.deepEqual(await held(client), OWN_ROOMS);
});

test("s4_13_a_room_in_the_handshake_is_joined_by_the_same_policy", async () => {
  const rooms = ["channel:7", "incident:7"];
  const dispatcher = await fleet.server.connect({ auth: { rooms } });
  assert.deepEqual(dispatcher.welcome.rooms.slice().sort(), [
    CHANNEL,
    "incident:7:org:o1",
    ...OWN_ROOMS,
  ]);
  const viewer = await fleet.server.connect({ token: { roles: ["viewer"] }, auth: { rooms } });
  assert.deepEqual(viewer.welcome.rooms.slice().sort(), ["incident:7:org:o1", ...OWN_ROOMS]);
});

for (const transport of ["websocket", "polling"]) {
  test(`s4_13_each_refused_room_of_the_handshake_is_reported_by_name_over_${transport}`, async () => {
    const many = Array.from({ length: 30 }, (_, n) => `channel:${n}:org:o2`);
    const rooms = [
      "channel:7",
      "nonsense",
      { type: "planet", id: 7 },
      { type: "asset", all: true, latest: "yes" },
      { room: "incident:5", rewind: 30 },
      ...many,
    ];
    const client = await fleet.server.connect({ auth: { rooms }, transports: [transport] });
    assert.deepEqual(client.welcome.rooms.slice().sort(), [CHANNEL, ...OWN_ROOMS]);
    await eventually(() => client.all("error").length >= rooms.length - 1, "all refusals");
    assert.equal(client.seen[0].event, "connection_established");
    const told = client.all("error").map(({ args }) => args[0].data);
    assert.deepEqual(
      told.map(({ about, reason }) => [about, reason]),
      [
        ["nonsense", "bad_request"],
        ["planet:7", "forbidden"],
        ["asset:*", "bad_request"],
        ["incident:5", "bad_request"],
        ...many.map((room) => [room, "forbidden"]),
      ],
    );
    // As precise as the answer to the command.
    for (const [place, room] of [0, 1, 2, 3].map((place) => [place, rooms[place + 1]])) {
      const answer = await client.ask("subscribe", room);
      assert.equal(told[place].message, answer.message);
      assert.equal(told[place].code, answer.error.code);
    }
  });
}

test("s4_13_a_handshake_that_asks_for_too_many_rooms_names_the_first_one_not_joined", async () => {
  const rooms = Array.from({ length: 300 }, (_, n) => ({ type: "channel", id: n }));
  const client = await fleet.server.connect({ auth: { rooms } });
  assert.equal(client.welcome.rooms.length, 202);
  const { args } = await client.next("error");
  assert.equal(args[0].data.reason, "too_many_rooms");
  assert.equal(args[0].data.about, "channel:200");
  await client.ask("rooms");
  assert.equal(client.all("error").length, 1);
});
