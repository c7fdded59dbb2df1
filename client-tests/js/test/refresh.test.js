// Tokens that expire while a client is connected, and tokens that take their place.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { toAll, toChannel } from "../harness/records.js";
import { startFleet } from "../harness/server.js";
import { token, unixNow } from "../harness/tokens.js";
import { eventually, sleep } from "../harness/wait.js";

let fleet;
before(async () => (fleet = await startFleet()));
afterEach(() => fleet.server.closeClients());
after(() => fleet.stop());

const TRANSPORTS = {
  websocket: { transports: ["websocket"] },
  polling: { transports: ["polling"], upgrade: false },
};

/** How long after `exp` a connection may last, in seconds; and what a busy machine may add. */
const LATEST_END = 5;
const SLACK = 3;

const until = (unixSeconds) => sleep(Math.max(0, unixSeconds * 1000 - Date.now()));

for (const [name, options] of Object.entries(TRANSPORTS)) {
  test(`a52_a_client_that_refreshes_outlives_its_token_and_one_that_does_not_is_closed_${name}`, async () => {
    const exp = unixNow() + 8;
    const [staying, leaving] = await Promise.all([
      fleet.server.connect({ token: { exp }, ...options }),
      fleet.server.connect({ token: { exp }, ...options }),
    ]);
    const ended = new Promise((resolve) =>
      leaving.socket.on("disconnect", () => resolve(Date.now())),
    );
    for (const client of [staying, leaving]) {
      const { args } = await client.next("auth_expiring");
      assert.equal(args.length, 1);
      assert.equal(Date.parse(args[0].data.expires_at), exp * 1000);
      assert.ok(Date.parse(args[0].timestamp) <= exp * 1000);
    }
    const later = exp + 600;
    const answer = await staying.ask("auth:refresh", { token: token({ exp: later }) });
    assert.equal(answer.success, true, JSON.stringify(answer));
    assert.equal(Date.parse(answer.data.expires_at), later * 1000);
    assert.deepEqual(answer.data.rooms, ["org:o1", "user:u1:org:o1"]);

    const end = (await ended) / 1000;
    assert.ok(end >= exp, "the token is good until then");
    assert.ok(end <= exp + LATEST_END + SLACK, `closed ${end - exp} s after its expiry`);
    await until(exp + LATEST_END + 2);
    await fleet.broker.produce("incident", toAll(1));
    await staying.next("incident_created");
    assert.deepEqual(staying.disconnects, []);
    assert.equal(staying.all("auth_expiring").length, 1);
  });

  test(`a52_the_token_of_another_user_closes_the_connection_behind_the_answer_${name}`, async () => {
    for (const other of [{ sub: "u2" }, { organization_id: "o2" }]) {
      const client = await fleet.server.connect(options);
      const answer = await client.ask("auth:refresh", { token: token(other) });
      assert.equal(answer.error.reason, "forbidden");
      await eventually(() => client.disconnects.length > 0, "the end of the connection");
      // As it was, the client may come back: it was no DISCONNECT.
      assert.notEqual(client.disconnects[0], "io server disconnect");
    }
  });

  test(`a_token_that_is_refused_changes_nothing_${name}`, async () => {
    const client = await fleet.server.connect(options);
    await client.subscribe("channel:7");
    for (const [bad, reason] of [
      [token({ exp: unixNow() - 100 }), "token_expired"],
      [token({}, { secret: "another-secret-of-more-than-32-bytes" }), "token_invalid"],
      ["nonsense", "token_invalid"],
      [undefined, "bad_request"],
    ]) {
      const answer = await client.ask("auth:refresh", { token: bad });
      assert.deepEqual([answer.success, answer.error.reason], [false, reason]);
    }
    await fleet.broker.produce("transmission", toChannel("7", name));
    await client.next("transmission_started", ({ data }) => data.n === name);
    assert.deepEqual(client.disconnects, []);
  });

  test(`a_token_that_grants_less_takes_rooms_away_and_one_that_grants_more_opens_them_${name}`, async () => {
    const unit = (...channels) => ({ roles: ["field_unit"], channels });
    const client = await fleet.server.connect({
      token: unit("7", "8"),
      auth: { rooms: ["channel:7", "channel:8"] },
      ...options,
    });
    const answer = await client.ask("auth:refresh", { token: token(unit("8", "9")) });
    assert.deepEqual(answer.data.rooms, ["org:o1", "user:u1:org:o1", "channel:8:org:o1"]);
    const { args } = await client.next("room_revoked");
    assert.deepEqual(args[0].data, {
      rooms: ["channel:7:org:o1"],
      reason: "token_changed",
      code: 703,
    });
    await client.subscribe("channel:9");
    for (const channel of ["7", "8", "9"]) {
      await fleet.broker.produce("transmission", toChannel(channel, channel));
    }
    await client.next("transmission_started", ({ data }) => data.n === "9");
    await client.next("transmission_started", ({ data }) => data.n === "8");
    assert.ok(!client.numbers.includes("7"), "nothing of a room that was taken away");
  });
}

test("refreshes_of_50_clients_under_load_lose_nothing_and_repeat_nothing", async () => {
  const per = 400;
  const clients = await Promise.all(
    Array.from({ length: 50 }, (_, index) =>
      fleet.server.connect({
        token: { sub: `user-${index}` },
        auth: { rooms: ["channel:load"] },
        ...TRANSPORTS[index % 5 ? "websocket" : "polling"],
      }),
    ),
  );
  let flowing = true;
  const stream = (async () => {
    for (let n = 0; n < per; n += 4) {
      const values = [0, 1, 2, 3].map((more) => ({
        key: "load",
        value: toChannel("load", n + more),
      }));
      await fleet.broker.produceAll("transmission", values);
      await sleep(10);
    }
    flowing = false;
  })();
  let refreshes = 0;
  await Promise.all(
    clients.map(async (client, index) => {
      while (flowing) {
        const fresh = token({ sub: `user-${index}`, exp: unixNow() + 600 + refreshes });
        const answer = await client.ask("auth:refresh", { token: fresh });
        assert.equal(answer.success, true, JSON.stringify(answer));
        refreshes++;
        await sleep(100 + 4 * index);
      }
    }),
  );
  await stream;
  assert.ok(refreshes >= 100, `${refreshes} refreshes`);
  const expected = Array.from({ length: per }, (_, n) => n);
  for (const client of clients) {
    await eventually(
      () => client.numbers.length >= per,
      () => `all: ${client.numbers.length}`,
    );
    assert.deepEqual(client.numbers, expected);
    assert.deepEqual(client.disconnects, []);
    assert.deepEqual(client.all("resync_required"), []);
  }
});
