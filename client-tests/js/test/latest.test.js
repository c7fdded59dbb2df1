// Snapshots for clients that join: the newest of each key, and whole kinds of rooms.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { resuming } from "../harness/client.js";
import { record, toAll } from "../harness/records.js";
import { startFleet } from "../harness/server.js";
import { eventually } from "../harness/wait.js";

let fleet;
before(async () => (fleet = await startFleet({ MAX_ROOMS: "3" })));
afterEach(() => fleet.server.closeClients());
after(() => fleet.stop());

// Each test has an organisation of its own, because what it leaves is kept.
let organisations = 0;
const someOrganisation = () => `map-${++organisations}`;

/** Where an asset is, keyed as producers key it. */
const position = (organisation, asset, n, more = {}) => ({
  key: asset,
  value: record("asset_position_updated", { asset_id: asset, n, ...more }, organisation),
});

const status = (organisation, asset, n) =>
  record("asset_status_changed", { asset_id: asset, n }, organisation);

const stats = async () => await (await fetch(`${fleet.server.url}/stats`)).json();

/** Produces, and waits until the server has it all. */
async function drive(...positions) {
  const { records_published: before } = await stats();
  await fleet.broker.produceAll("asset", positions);
  await eventually(
    async () => (await stats()).records_published >= before + positions.length,
    "the server to read them",
  );
}

const dispatcher = (organisation, more = {}) =>
  fleet.server.connect({
    token: { organization_id: organisation, roles: ["dispatcher"] },
    ...more,
  });

/** What came, by asset: the numbers in order. */
function byAsset(client) {
  const assets = {};
  for (const { args } of client.all("asset_position_updated")) {
    (assets[args[0].data.asset_id] ??= []).push(args[0].data.n);
  }
  return assets;
}

test("snapshot_comes_first_and_live_events_follow", async () => {
  const organisation = someOrganisation();
  await drive(
    position(organisation, "a", 1),
    position(organisation, "b", 1),
    position(organisation, "a", 2),
  );
  const client = await dispatcher(organisation);
  const before = client.all("cursor").length;
  const answer = await client.ask("subscribe", { type: "asset", all: true, latest: true });
  assert.equal(answer.success, true, JSON.stringify(answer));
  assert.equal(answer.data.room, `asset:*:org:${organisation}`);
  assert.equal(answer.data.latest, 2);
  await eventually(() => client.all("cursor").length > before, "the cursor behind them");
  assert.deepEqual(byAsset(client), { a: [2], b: [1] });

  await drive(position(organisation, "b", 2), position(organisation, "c", 1));
  await eventually(() => client.all("asset_position_updated").length >= 4, "what is new");
  assert.deepEqual(byAsset(client), { a: [2], b: [1, 2], c: [1] });
  const stranger = await dispatcher(someOrganisation());
  const nothing = await stranger.ask("subscribe", { type: "asset", all: true, latest: true });
  assert.equal(nothing.data.latest, 0);
});

for (const [spelling, payload] of Object.entries({
  "one room": { type: "asset", id: "a", latest: true },
  "a name": { room: "asset:a", latest: true },
  "a list": { rooms: ["asset:a", "asset:none"], latest: true },
  "one of a list": { rooms: ["asset:b", { room: "asset:a", latest: true }] },
})) {
  test(`the_newest_of_${spelling.replaceAll(" ", "_")}`, async () => {
    const organisation = someOrganisation();
    await drive(
      position(organisation, "a", 1),
      position(organisation, "b", 1),
      position(organisation, "a", 2),
    );
    const client = await dispatcher(organisation);
    const answer = await client.ask("subscribe", payload);
    assert.equal(answer.data.latest, 1, JSON.stringify(answer));
    await client.next("asset_position_updated");
    await client.next("cursor");
    assert.deepEqual(byAsset(client), { a: [2] });
    const again = await client.ask("subscribe", payload);
    assert.equal(again.data.latest, 1);
    await eventually(() => byAsset(client).a.length >= 2, "the same again");
  });
}

test("role_with_a_list_of_ids_may_not_join_a_whole_kind", async () => {
  const token = { roles: ["field_unit"], assets: ["7"], channels: ["7"] };
  const client = await fleet.server.connect({ token });
  for (const payload of [
    { type: "asset", all: true },
    { type: "asset", id: "*" },
    { room: "asset:*" },
    "asset:*:org:o1",
    { rooms: ["asset:7", "asset:*"] },
    { type: "incident", all: true },
    { type: "user", all: true },
    { type: "org", all: true },
    { type: "user", id: "*" },
  ]) {
    const answer = await client.ask("subscribe", payload);
    assert.equal(answer.error?.reason, "forbidden", JSON.stringify(payload));
  }
  assert.deepEqual((await client.ask("rooms")).data.rooms, ["org:o1", "user:u1:org:o1"]);
  const viewer = await fleet.server.connect({ token: { roles: ["viewer"] } });
  assert.equal((await viewer.ask("subscribe", { type: "incident", all: true })).success, true);
  assert.equal((await viewer.ask("subscribe", "asset:*")).error.reason, "forbidden");
  for (const payload of [
    { type: "asset", all: true, id: "7" },
    { type: "asset", all: "yes" },
    { type: "asset", id: "7", latest: 1 },
    { room: "asset:7", all: true },
  ]) {
    const answer = await viewer.ask("subscribe", payload);
    assert.equal(answer.error?.reason, "bad_request", JSON.stringify(payload));
  }
});

test("member_of_a_whole_kind_and_of_a_room_of_it_gets_each_event_once", async () => {
  const organisation = someOrganisation();
  const client = await dispatcher(organisation);
  const whole = `asset:*:org:${organisation}`;
  await client.subscribe("asset:*", "asset:a", whole);
  const { rooms } = (await client.ask("rooms")).data;
  assert.deepEqual(rooms.slice(2), [whole, `asset:a:org:${organisation}`]);
  await fleet.broker.produce("asset", status(organisation, "a", 1));
  await fleet.broker.produce("asset", status(organisation, "b", 2));
  await eventually(() => client.numbers.includes(2), "both");
  assert.deepEqual(client.numbers, [1, 2]);

  // It is one room against the limit of three.
  await client.subscribe("channel:1");
  const fourth = await client.ask("subscribe", { room: "channel:2" });
  assert.equal(fourth.error.reason, "too_many_rooms");
  const left = await client.ask("unsubscribe", { type: "asset", all: true });
  assert.ok(!left.data.rooms.includes(whole));
  await client.subscribe("channel:2");
});

test("a_whole_kind_is_resumed_and_the_newest_are_not_given_twice", async () => {
  const organisation = someOrganisation();
  await drive(position(organisation, "a", 1));
  const lines = resuming({ organization_id: organisation, roles: ["dispatcher"] });
  lines.state.rooms.add({ type: "asset", all: true, latest: true });
  const client = fleet.server.client(lines.options);
  lines.follow(client);
  await client.connect();
  assert.deepEqual(client.welcome.rooms.slice(2), [`asset:*:org:${organisation}`]);
  await client.next("asset_position_updated");
  await client.next("cursor");

  client.cut();
  await drive(position(organisation, "b", 1), position(organisation, "a", 2));
  await eventually(() => client.all("connection_established").length === 2, "it is back");
  assert.equal(client.welcome.resume, "resumed");
  await eventually(() => client.numbers.length >= 3, "what it missed");
  await drive(position(organisation, "a", 3));
  await eventually(() => client.numbers.length >= 4, "what is new");
  assert.deepEqual(byAsset(client), { a: [1, 2, 3], b: [1] });
});

test("snapshot_has_no_deleted_key", async () => {
  const organisation = someOrganisation();
  await drive(position(organisation, "gone", 1), position(organisation, "stays", 1));
  const { records } = (await stats()).latest;
  await fleet.broker.produce("asset", null, { key: "gone" });
  await eventually(async () => (await stats()).latest.records < records, "it is forgotten");
  const client = await dispatcher(organisation);
  const answer = await client.ask("subscribe", { room: "asset:*", latest: true });
  assert.equal(answer.data.latest, 1);
  await client.next("cursor");
  assert.deepEqual(byAsset(client), { stays: [1] });
});

test("live_event_of_another_room_arrives_during_a_large_snapshot", async () => {
  const organisation = someOrganisation();
  const positions = Array.from({ length: 3000 }, (_, n) => position(organisation, `a${n}`, n));
  await drive(...positions);
  const client = await dispatcher(organisation);
  const answer = await client.ask("subscribe", { type: "asset", all: true, latest: true });
  assert.equal(answer.data.latest, 3000);
  await fleet.broker.produce("incident", toAll("news", organisation));
  await eventually(() => client.numbers.includes("news"), "the news");
  await eventually(() => Object.keys(byAsset(client)).length === 3000, "all");
  assert.equal(client.numbers.length, 3001);
});
