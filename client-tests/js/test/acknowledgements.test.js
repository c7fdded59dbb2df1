// Acknowledgements and the receipts that come of them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { eventually } from "../harness/wait.js";
import { startFleet } from "../harness/server.js";

let fleet, consumer, silent, asked;
const receipts = [];

before(async () => {
  fleet = await startFleet(({ prefix }) => ({ RECEIPTS_TOPIC: `${prefix}receipts` }), ["receipts"]);
  consumer = fleet.broker.kafka.consumer({ groupId: `${fleet.broker.prefix}receipts` });
  await consumer.connect();
  await consumer.subscribe({ topic: `${fleet.broker.prefix}receipts`, fromBeginning: true });
  const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve));
  await consumer.run({
    eachMessage: async ({ message }) => {
      receipts.push({ key: message.key.toString(), ...JSON.parse(message.value.toString()) });
    },
  });
  await joined;
  // Asked at the beginning, so that the other tests run while its time passes.
  silent = await fleet.server.connect({ token: { sub: "silent", organization_id: "o30" } });
  await fleet.broker.produce("alert", alert(30, "o30"));
  await silent.next("alert_created");
  asked = performance.now();
});

after(async () => {
  await consumer?.disconnect();
  await fleet?.stop();
});

const alert = (n, organization_id = "o1") => ({
  event_type: "alert_created",
  organization_id,
  data: { alert_id: `a-${n}`, n },
});

const receipt = (what) => eventually(() => receipts.find(what), "the receipt");

test("s4_18_the_command_ack_leaves_a_receipt_with_the_identity_of_the_token", async () => {
  const client = await fleet.server.connect({ token: { sub: "u7", organization_id: "o9" } });
  const answer = await client.ask("ack", {
    id: "incident/0/12",
    event: "incident_created",
    user_id: "another-user",
    organization_id: "o1",
  });
  assert.equal(answer.success, true, JSON.stringify(answer));
  const found = await receipt(({ id }) => id === "incident/0/12");
  assert.equal(found.kind, "ack");
  assert.equal(found.event, "incident_created");
  assert.equal(found.user_id, "u7");
  assert.equal(found.organization_id, "o9");
  assert.equal(found.key, "o9");
  assert.ok(Math.abs(Date.parse(found.timestamp) - Date.now()) < 60_000);
});

for (const [name, payload] of Object.entries({
  nothing: undefined,
  text: "incident/0/1",
  "no id": { event: "incident_created" },
  "an empty id": { id: "" },
  "an id that is a number": { id: 7 },
  "an endless id": { id: "x".repeat(257) },
  "an event that is a list": { id: "a", event: [] },
  "an endless event": { id: "a", event: "x".repeat(65) },
})) {
  test(`a76_ack_with_${name.replaceAll(" ", "_")}_is_refused`, async () => {
    const client = await fleet.server.connect();
    const answer =
      payload === undefined ? await client.ask("ack") : await client.ask("ack", payload);
    assert.equal(answer.error?.reason, "bad_request", JSON.stringify(answer));
  });
}

test("a76_ack_with_markup_and_a_large_note_is_a_receipt_of_its_id_as_text_with_the_callers_identity", async () => {
  const client = await fleet.server.connect({ token: { sub: "u76", organization_id: "o76" } });
  const id = "o1/incident/0/1<script>alert(1)</script>\u0000\"'";
  const answer = await client.ask("ack", {
    id,
    event: "<b>incident</b>",
    note: `<script>${"x".repeat(60_000)}</script>`,
    kind: "received",
    connection_id: "c-0",
    timestamp: "1970-01-01T00:00:00Z",
    ["__proto__"]: { user_id: "u1" },
    constructor: { organization_id: "o1" },
  });
  assert.equal(answer.success, true, JSON.stringify(answer));
  const { key, ...found } = await receipt(({ user_id }) => user_id === "u76");
  assert.equal(key, "o76");
  assert.deepEqual(
    Object.keys(found).sort(),
    ["connection_id", "event", "id", "kind", "organization_id", "timestamp", "user_id"],
    "nothing else of what was sent",
  );
  assert.deepEqual([found.id, found.kind, found.organization_id], [id, "ack", "o76"]);
  assert.match(found.connection_id, /^c-[0-9a-f]{16}$/);
  assert.ok(Date.parse(found.timestamp) > Date.now() - 60_000);
});

test("s4_18_alert_created_asks_for_an_acknowledgement_and_a_cursor_follows", async () => {
  const client = await fleet.server.connect({ token: { sub: "u8" } });
  client.socket.on("alert_created", (...args) => args.at(-1)("seen"));
  await fleet.broker.produce("alert", alert(1));
  const { args } = await client.next("alert_created");
  assert.equal(args.length, 3, "payload, cursor, callback");
  assert.equal(typeof args[2], "function");
  const at = client.seen.findIndex(({ event }) => event === "alert_created");
  await eventually(() => client.seen[at + 1], "what follows");
  assert.deepEqual(client.seen[at + 1], { event: "cursor", args: [args[1]] });
  const found = await receipt(({ kind, user_id }) => kind === "received" && user_id === "u8");
  assert.equal(found.event, "alert_created");
  assert.match(found.id, /^.*alert\/\d+\/\d+$/);
  assert.ok(found.after_ms >= 0 && found.after_ms < 10_000);
});

test("s4_18_a_client_that_leaves_without_answering_is_reported_missing", async () => {
  const client = await fleet.server.connect({ token: { sub: "u9" } });
  await fleet.broker.produce("alert", alert(2));
  await client.next("alert_created", ({ data }) => data.n === 2);
  client.close();
  await receipt(({ kind, user_id }) => kind === "missing" && user_id === "u9");
});

test("promise_2_an_event_that_asks_is_resumed_like_any_other", async () => {
  const first = await fleet.server.connect({ token: { sub: "u10" } });
  await fleet.broker.produce("alert", alert(3));
  await first.next("alert_created", ({ data }) => data.n === 3);
  await eventually(() => first.seen.at(-1).event === "cursor", "the cursor behind it");
  const { cursor } = first;
  first.cut();
  first.close();
  await fleet.broker.produce("alert", alert(4));
  const second = await fleet.server.connect({ token: { sub: "u10" }, auth: { cursor } });
  await eventually(() => second.numbers.length >= 1, "what was missed");
  assert.deepEqual(second.numbers, [4]);
});

test("s4_18_one_alert_to_100_clients_is_100_receipts_and_one_of_them_missing", async (t) => {
  const name = (n) => `many-${n}`;
  const token = (n) => ({ sub: name(n), organization_id: "o100" });
  const clients = await Promise.all(
    Array.from({ length: 100 }, (_, n) => fleet.server.connect({ token: token(n) })),
  );
  for (const [n, client] of clients.entries()) {
    client.socket.on("alert_created", (...args) => n !== 0 && args.at(-1)());
  }
  const own = () => receipts.filter(({ organization_id }) => organization_id === "o100");
  await fleet.broker.produce("alert", alert(100, "o100"));
  await eventually(() => own().length >= 99, "a receipt of each but one");
  clients[0].close();
  await eventually(() => own().length >= 100, "word of the one that did not answer");
  assert.deepEqual(
    own()
      .map(({ user_id }) => user_id)
      .sort(),
    Array.from(clients, (_, n) => name(n)).sort(),
    "one each",
  );
  for (const { user_id, kind } of own()) {
    assert.equal(kind, user_id === name(0) ? "missing" : "received");
  }
  const after = own()
    .filter(({ kind }) => kind === "received")
    .map(({ after_ms }) => after_ms)
    .sort((a, b) => a - b);
  t.diagnostic(`99 acknowledgements: median ${after[49]} ms, last ${after.at(-1)} ms`);
});

test("s4_18_an_alert_that_is_not_acknowledged_within_30_s_is_missing_and_the_client_stays", async () => {
  const own = () => receipts.filter(({ user_id }) => user_id === "silent");
  await eventually(() => own().length > 0, "a receipt", 45_000);
  assert.ok(performance.now() - asked > 29_000, "not before its time");
  assert.equal(own()[0].kind, "missing");
  assert.match(own()[0].id, /^.*alert\/\d+\/\d+$/);
  assert.ok(own()[0].after_ms >= 29_000 && own()[0].after_ms < 34_000, own()[0].after_ms);
  // The connection goes on, and an answer that comes too late changes nothing.
  silent.all("alert_created")[0].args.at(-1)("late");
  assert.equal((await silent.ask("rooms")).success, true);
  await fleet.broker.produce("alert", alert(31, "o30"));
  const next = await silent.next("alert_created", ({ data }) => data.n === 31);
  next.args.at(-1)("in time");
  await eventually(() => own().length === 2, "the receipt of the next alert");
  assert.deepEqual(
    own().map(({ kind }) => kind),
    ["missing", "received"],
  );
  assert.notEqual(own()[0].id, own()[1].id);
  assert.deepEqual(silent.disconnects, []);
});
