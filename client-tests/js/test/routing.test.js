// Which record reaches whom, and in what shape: the table of the contract, event by event.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { EVENTS, record, toAll, toChannel } from "../harness/records.js";
import { startFleet } from "../harness/server.js";
import { eventually } from "../harness/wait.js";

let fleet;
before(async () => (fleet = await startFleet()));
afterEach(() => fleet.server.closeClients());
after(() => fleet.stop());

/** People of o1, each in the own organisation's and user's room and in what is named here. */
const OBSERVERS = {
  bystander: { sub: "bystander", rooms: [] },
  channel: { sub: "listener", rooms: ["channel:7"] },
  incident: { sub: "commander", rooms: ["incident:5"] },
  asset: { sub: "tracker", rooms: ["asset:9"] },
  assignee: { sub: "assignee", rooms: [] },
  everywhere: { sub: "everywhere", rooms: ["channel:7", "incident:5", "asset:9"] },
  elsewhere: { sub: "elsewhere", rooms: ["channel:8", "incident:8", "asset:8"] },
};
const EVERYBODY = Object.keys(OBSERVERS);

const transmission = (event) => [
  { event, data: { channel_id: "7" }, reaches: ["channel", "everywhere"] },
  {
    event,
    data: { channel_id: "7", incident_id: "5" },
    reaches: ["channel", "incident", "everywhere"],
  },
];
const toOrganisation = (event, ...data) =>
  data.map((fields) => ({ event, data: fields, reaches: EVERYBODY }));

const TABLE = [
  ...transmission("transmission_started"),
  ...transmission("transmission_completed"),
  ...transmission("transcription_completed"),
  ...transmission("transmission_tagged"),
  ...toOrganisation("incident_created", { incident_id: "5" }, { id: "5" }),
  ...toOrganisation("incident_updated", { incident_id: "5" }, { id: 5 }),
  ...toOrganisation("incident_status_changed", { incident_id: "5" }),
  ...toOrganisation("task_assigned", { assigned_to: "assignee" }, { assignee_id: "assignee" }),
  ...toOrganisation("task_completed", { assigned_to: "assignee", incident_id: "5" }),
  ...toOrganisation("task_updated", { incident_id: 5 }, {}),
  { event: "asset_position_updated", data: { asset_id: "9" }, reaches: ["asset", "everywhere"] },
  { event: "asset_position_updated", data: { id: 9 }, reaches: ["asset", "everywhere"] },
  {
    event: "asset_position_updated",
    data: { asset_id: "9", incident_id: "5" },
    reaches: ["asset", "incident", "everywhere"],
  },
  ...toOrganisation("asset_status_changed", { asset_id: "9" }, { id: "9" }),
  ...toOrganisation("alert_created", { incident_id: "5", asset_id: "9" }, {}),
  ...toOrganisation("alert_acknowledged", { asset_id: "9" }),
];

test("s4_14_to_18_each_event_reaches_exactly_the_rooms_of_the_table_and_each_client_once", async () => {
  assert.deepEqual(
    [...new Set(TABLE.map(({ event }) => event))].sort(),
    Object.keys(EVENTS).sort(),
    "the table covers the 14 events",
  );
  const observers = {};
  const foreigners = [];
  for (const [name, { sub, rooms }] of Object.entries(OBSERVERS)) {
    observers[name] = await fleet.server.connect({ token: { sub } });
    await observers[name].subscribe(...rooms);
    // The same person with the same rooms, in another organisation.
    const foreigner = await fleet.server.connect({ token: { sub, organization_id: "o2" } });
    await foreigner.subscribe(...rooms);
    foreigners.push(foreigner);
  }

  for (const [index, { event, data, reaches }] of TABLE.entries()) {
    const value = record(event, { ...data, n: index });
    await fleet.broker.produce(EVENTS[event], value);
    for (const name of reaches) {
      const { args } = await observers[name].next(event, (payload) => payload.data.n === index);
      assert.deepEqual(args[0], value, "the record as it came");
    }
    // Behind it something for everybody, so that what should not come has had its time.
    const fence = TABLE.length + index;
    await fleet.broker.produce("incident", toAll(fence));
    await fleet.broker.produce("incident", toAll(fence, "o2"));
    for (const client of [...Object.values(observers), ...foreigners]) {
      await eventually(() => client.numbers.includes(fence), "the fence");
    }
    for (const [name, client] of Object.entries(observers)) {
      const times = client.numbers.filter((n) => n === index).length;
      assert.equal(times, reaches.includes(name) ? 1 : 0, `${event} ${index} at ${name}`);
    }
    for (const client of foreigners) assert.ok(!client.numbers.includes(index), "foreign");
  }
});

test("s4_06_another_organisation_with_the_same_ids_never_gets_anything", async () => {
  const rooms = ["channel:7", "incident:5", "asset:9"];
  const members = {};
  for (const organisation of ["o1", "o2", "o1x", "O1"]) {
    members[organisation] = await fleet.server.connect({
      token: { sub: "same", organization_id: organisation, roles: ["admin"] },
    });
    await members[organisation].subscribe(...rooms);
  }
  const names = Object.keys(members);
  const records = [];
  for (let n = 0; n < 200; n++) {
    const organisation = names[n % names.length];
    const data = { channel_id: "7", incident_id: "5", asset_id: "9", assigned_to: "same", n };
    const event = Object.keys(EVENTS)[n % 14];
    // A position may be overtaken by a newer one, so it is left out where every one is counted.
    const counted = event === "asset_position_updated" ? "asset_status_changed" : event;
    records.push({ topic: EVENTS[counted], value: record(counted, data, organisation) });
  }
  for (const { topic, value } of records) await fleet.broker.produce(topic, value);
  for (const [index, name] of names.entries()) {
    const expected = records.map((_, n) => n).filter((n) => n % names.length === index);
    await eventually(() => members[name].numbers.length >= expected.length, `all of ${name}`);
    assert.deepEqual(
      members[name].numbers.slice().sort((a, b) => a - b),
      expected,
    );
    for (const { args } of members[name].routed) assert.equal(args[0].organization_id, name);
  }
});

const TELL = (n, extra) => ({ organization_id: "o1", data: { incident_id: "5", n }, ...extra });
const FORMS = {
  "field event_type": { value: TELL(1, { event_type: "incident_created" }) },
  "field type": { value: TELL(1, { type: "incident_created" }) },
  "field event": { value: TELL(1, { event: "incident_created" }) },
  "dotted name": { value: TELL(1, { event_type: "incident.created" }) },
  "CamelCase name": { value: TELL(1, { event_type: "IncidentCreated" }) },
  "header event_type": { value: TELL(1), headers: { event_type: "incident_created" } },
  "header ce_type": { value: TELL(1), headers: { ce_type: "incident.created" } },
  "header over field": {
    value: TELL(1, { event_type: "incident_updated" }),
    headers: { event_type: "incident_created" },
  },
  "plural topic": { topic: "incidents", value: TELL(1, { event_type: "incident_created" }) },
  "organisation in a header": {
    value: { event_type: "incident_created", data: { incident_id: "5", n: 1 } },
    headers: { organization_id: "o1" },
  },
  "header organisation first": {
    value: { ...TELL(1, { event_type: "incident_created" }), organization_id: "o2" },
    headers: { organization_id: "o1" },
  },
};

for (const [name, { topic = "incident", value, headers }] of Object.entries(FORMS)) {
  test(`s4_07_record_with_${name.replaceAll(" ", "_")}`, async () => {
    const client = await fleet.server.connect();
    await fleet.broker.produce(topic, value, { headers });
    const { args } = await client.next("incident_created");
    assert.deepEqual(args[0], value);
  });
}

test("s4_07_a_flat_record_is_routed_like_an_enveloped_one", async () => {
  const client = await fleet.server.connect();
  await client.subscribe("channel:7");
  const value = { event_type: "transmission_started", organization_id: "o1", channel_id: 7, x: 1 };
  await fleet.broker.produce("transmission", value);
  assert.deepEqual((await client.next("transmission_started")).args[0], value);
});

test("s4_13_an_event_has_two_arguments_payload_and_cursor", async () => {
  const client = await fleet.server.connect();
  await client.subscribe("channel:7");
  for (const [n, event] of ["transmission_started", "transmission_tagged"].entries()) {
    // A topic that was found late makes cursors long until other instances must have found it too.
    const isShort = async () => {
      await fleet.broker.produce("transmission", record(event, { channel_id: "7", n }));
      const { args } = await client.next(event);
      assert.equal(args.length, 2);
      assert.match(args[1], /^v1\.[A-Za-z0-9_-]+/);
      return args[1].length <= 110;
    };
    await eventually(isShort, "a cursor of 110 characters at most", 60_000);
  }
});

test("s4_18_alert_created_carries_its_cursor_last_but_for_a_callback", async () => {
  const client = await fleet.server.connect();
  await fleet.broker.produce("alert", record("alert_created", { n: 1 }));
  const { args } = await client.next("alert_created");
  const plain = args.filter((argument) => typeof argument !== "function");
  assert.equal(plain.length, 2);
  assert.match(plain[1], /^v1\./);
});

test("s4_13_the_payload_is_the_record_byte_for_byte", async () => {
  const client = await fleet.server.connect({ transports: ["websocket"] });
  const packets = [];
  client.socket.io.engine.on("packet", ({ data }) => packets.push(data));
  // Numbers beyond a double, a trailing zero, an escape, a repeated harmless field, white space.
  const value =
    '{ "event_type":"incident_created","organization_id":"o1", "data":{"incident_id":"5","n":1,' +
    '"price":1.10,"big":12345678901234567890,"text":"\\u00e9\\n \u00e9 \u{1f692}", "nested":[ [ ] ,{ } ]} }';
  await fleet.broker.produce("incident", value);
  await client.next("incident_created");
  assert.ok(
    packets.some((data) => typeof data === "string" && data.includes(value)),
    JSON.stringify(packets.at(-1)),
  );
});

test("s4_13_meta_puts_the_records_place_before_the_cursor", async () => {
  const client = await fleet.server.connect({ auth: { meta: true } });
  const started = Date.now();
  await fleet.broker.produce("incident", toAll(1), { key: "the-key", partition: 1 });
  await fleet.broker.produce("incident", toAll(2), { key: null, partition: 1 });
  await eventually(() => client.numbers.includes(2), "the second event");
  const [first, second] = client.routed.map(({ args }) => args);
  assert.equal(first.length, 3);
  assert.match(first[2], /^v1\./);
  const { id, timestamp, key } = first[1];
  const [topic, partition, offset] = id.split("/");
  assert.equal(topic, `${fleet.broker.prefix}incident`);
  assert.equal(partition, "1");
  assert.equal(second[1].id, `${topic}/1/${Number(offset) + 1}`);
  assert.equal(key, "the-key");
  assert.equal(second[1].key ?? null, null);
  const time = typeof timestamp === "number" ? timestamp : Date.parse(timestamp);
  assert.ok(Math.abs(time - started) < 60_000, `timestamp ${timestamp}`);
});

test("s4_13_a_cursor_event_follows_a_subscription", async () => {
  const client = await fleet.server.connect();
  await client.subscribe("channel:7");
  const { args } = await client.next("cursor");
  assert.equal(args.length, 1);
  assert.match(args[0], /^v1\./);
});

/** Kinds of broken record, by what they are counted as. None may reach a client, none may hold up its partition. */
const good = { incident_id: "5", n: -1 };
const BROKEN = {
  tombstone: [[null]],
  empty: [[""]],
  not_json: [
    [" "],
    ["not json"],
    ['{"event_type":"incident_created","organization_id":"o1","data":{"n":-1}'],
    [Buffer.from([0, 0, 0, 0, 7, 1, 2, 3])],
  ],
  not_object: [["[]"], ["7"], ["null"], ['"text"']],
  not_utf8: [[Buffer.from([0xff, 0xfe, 0x00, 0x80])]],
  too_deep: [["[".repeat(100_000)], [`{"a":`.repeat(5_000) + "1" + "}".repeat(5_000)]],
  too_large: [[record("incident_created", { ...good, text: "x".repeat(300_000) })]],
  no_organisation: [[{ event_type: "incident_created", data: good }]],
  bad_organisation: [
    [record("incident_created", good, "o1:org:o2")],
    [record("incident_created", good, "x".repeat(65))],
    [record("incident_created", good, 1.5)],
    [record("incident_created", good, ["o1"])],
    [record("incident_created", good), { headers: { organization_id: "no id!" } }],
  ],
  no_event: [[{ organization_id: "o1", data: good }]],
  unknown_event: [[record("incident_exploded", good)]],
  reserved_event: [
    [record("disconnect", good)],
    [record("cursor", good)],
    [record("connection_established", good)],
  ],
  no_room: [[record("transmission_started", { n: -1 })]],
  bad_id: [[record("transmission_started", { channel_id: ["7"], n: -1 })]],
};

test("s4_07_each_kind_of_broken_record_has_its_outcome_and_its_neighbours_are_served", async () => {
  const client = await fleet.server.connect();
  const counted = (outcome) =>
    fleet.server.metric("fleetcast_records_total", outcome ? { outcome } : {});
  const before = {};
  for (const outcome of Object.keys(BROKEN)) before[outcome] = await counted(outcome);
  const total = await counted();
  const broken = Object.values(BROKEN).flat();
  const records = broken.flatMap(([value, options], index) => [
    { value, partition: 0, ...options },
    { value: toAll(index), partition: 0 },
  ]);
  for (const entry of records) await fleet.broker.produceAll("incident", [entry]);
  await eventually(() => client.numbers.at(-1) === broken.length - 1, "the last neighbour");
  assert.deepEqual(
    client.numbers,
    broken.map((_, index) => index),
  );
  assert.deepEqual(
    client.seen.filter(({ args }) => args[0]?.data?.n === -1),
    [],
  );
  await eventually(
    async () => (await counted()) - total === records.length,
    async () => `all records in the metric: ${(await counted()) - total}`,
  );
  for (const [outcome, kinds] of Object.entries(BROKEN)) {
    assert.equal((await counted(outcome)) - before[outcome], kinds.length, outcome);
  }
});

test("s4_07_records_that_lack_the_id_of_their_room_reach_no_client", async () => {
  const client = await fleet.server.connect();
  await client.subscribe("channel:7", "channel:null", "channel:undefined", "channel:1");
  for (const data of [{}, { channel_id: null }, { channel_id: 1.0001 }, { channel_id: ["7"] }]) {
    const value = record("transmission_started", { ...data, n: -1 });
    await fleet.broker.produce("transmission", value, { partition: 0 });
  }
  await fleet.broker.produce("transmission", toChannel("7", 1), { partition: 0 });
  await client.next("transmission_started");
  assert.deepEqual(client.numbers, [1]);
});
