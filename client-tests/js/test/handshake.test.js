// Who gets in, and what those hear who do not.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { Server, startFleet } from "../harness/server.js";
import { claims, sign, token, unixNow } from "../harness/tokens.js";
import { eventually, sleep } from "../harness/wait.js";

let fleet;
before(async () => (fleet = await startFleet()));
afterEach(() => fleet.server.closeClients());
after(() => fleet.stop());

const bearer = (text) => ({ token: null, extraHeaders: { Authorization: `Bearer ${text}` } });
const query = (text) => ({ token: null, query: { token: text } });

test("s4_02_the_token_may_stand_in_auth", async () => {
  const client = await fleet.server.connect({ token: { sub: "u5" } });
  assert.equal(client.welcome.user_id, "u5");
});

for (const transport of ["polling", "websocket"]) {
  test(`s4_02_the_token_may_stand_in_the_authorization_header_of_${transport}`, async () => {
    const client = await fleet.server.connect({
      ...bearer(token({ sub: "u6" })),
      transports: [transport],
    });
    assert.equal(client.welcome.user_id, "u6");
  });

  test(`s4_02_the_token_may_stand_in_the_query_of_${transport}`, async () => {
    const client = await fleet.server.connect({
      ...query(token({ sub: "u7" })),
      transports: [transport],
    });
    assert.equal(client.welcome.user_id, "u7");
  });
}

test("s4_02_auth_wins_over_the_header_and_the_header_over_the_query", async () => {
  const all = await fleet.server.connect({
    token: { sub: "from_auth" },
    extraHeaders: { Authorization: `Bearer ${token({ sub: "from_header" })}` },
    query: { token: token({ sub: "from_query" }) },
  });
  assert.equal(all.welcome.user_id, "from_auth");
  const two = await fleet.server.connect({
    ...bearer(token({ sub: "from_header" })),
    query: { token: token({ sub: "from_query" }) },
  });
  assert.equal(two.welcome.user_id, "from_header");
  // A bad token in the better place is not mended by a good one elsewhere.
  const bad = fleet.server.client({ ...query(token()), token: "nonsense" });
  assert.equal(await bad.refused(), "token_invalid");
});

const now = unixNow();
const valid = token();
const REFUSALS = {
  "no token": [null, "token_missing"],
  "an empty token": ["", "token_missing"],
  "text that is no token": ["nonsense", "token_invalid"],
  "another secret": [token({}, { secret: "x".repeat(64) }), "token_invalid"],
  "a changed signature": [valid.slice(0, -3) + "AAA", "token_invalid"],
  "a changed payload": [
    [valid.split(".")[0], token({ sub: "u9" }).split(".")[1], valid.split(".")[2]].join("."),
    "token_invalid",
  ],
  "algorithm none": [token({}, { header: { alg: "none" } }), "token_invalid"],
  "another algorithm": [token({}, { header: { alg: "HS512" } }), "token_invalid"],
  "no exp": [token({ exp: undefined }), "token_invalid"],
  "exp as text": [token({ exp: "tomorrow" }), "token_invalid"],
  "no sub": [token({ sub: undefined }), "token_invalid"],
  "an empty sub": [token({ sub: "" }), "token_invalid"],
  "no organisation": [token({ organization_id: undefined }), "token_invalid"],
  "an organisation that is no id": [token({ organization_id: "o1:org:o2" }), "token_invalid"],
  "not valid yet": [token({ nbf: now + 3600 }), "token_invalid"],
  "an expired token": [token({ exp: now - 3600 }), "token_expired"],
};

for (const [what, [text, message]] of Object.entries(REFUSALS)) {
  test(`s4_02_${what}_is_refused_with_${message}`, async () => {
    const client = fleet.server.client({ token: text, reconnection: true, reconnectionDelay: 10 });
    assert.equal(await client.refused(), message);
    assert.equal(client.connects, 0);
    assert.deepEqual(client.seen, []);
  });
}

test("s4_02_a_client_without_any_auth_object_is_refused", async () => {
  const client = fleet.server.client({ token: null, auth: (give) => give(undefined) });
  assert.equal(await client.refused(), "token_missing");
});

test("s4_02_a_refused_client_does_not_come_back_by_itself", async () => {
  const delay = 20;
  const client = fleet.server.client({
    token: "nonsense",
    reconnection: true,
    reconnectionDelay: delay,
    reconnectionDelayMax: delay,
  });
  let attempts = 0;
  client.socket.io.on("reconnect_attempt", () => attempts++);
  await client.refused();
  // Nothing tells that it will not come: this is several times as long as it would take.
  await sleep(5 * delay);
  assert.equal(attempts, 0);
  assert.deepEqual(client.refusals, ["token_invalid"]);
  assert.equal(client.socket.active, false);
});

test("s4_02_a_refused_client_may_connect_again_with_a_better_token", async () => {
  let text = "nonsense";
  const client = fleet.server.client({ auth: (give) => give({ token: text }) });
  await client.refused();
  text = token({ sub: "u8" });
  client.refusals.length = 0;
  assert.equal((await client.connect()).user_id, "u8");
});

test("s4_02_a_lifetime_within_the_leeway_is_accepted", async () => {
  await fleet.server.connect({ token: sign(claims({ exp: unixNow() - 2 })) });
});

test("a52_a_connection_ends_with_its_token_and_the_same_token_does_not_bring_it_back", async () => {
  const client = await fleet.server.connect({
    token: { exp: unixNow() - 2 },
    reconnection: true,
    reconnectionDelay: 10,
    reconnectionDelayMax: 10,
  });
  await eventually(() => client.refusals.length > 0, "a refusal after the end", 15_000);
  assert.deepEqual(client.refusals, ["token_expired"]);
  assert.deepEqual(client.disconnects, ["transport close"]);
  assert.equal(client.connects, 1, "it is not admitted to be disconnected again");
});

test("s4_02_organisation_and_roles_have_two_spellings_each", async () => {
  const client = await fleet.server.connect({
    token: { organization_id: undefined, org_id: "o3", roles: undefined, role: "viewer" },
  });
  assert.equal(client.welcome.organization_id, "o3");
  assert.deepEqual(client.welcome.roles, ["viewer"]);
});

test("s4_02_numeric_ids_in_claims_are_their_decimal_text", async () => {
  const client = await fleet.server.connect({ token: { sub: 17, organization_id: 4 } });
  assert.equal(client.welcome.user_id, "17");
  assert.equal(client.welcome.organization_id, "4");
});

test("s4_02_issuer_and_audience_are_checked_when_configured", async () => {
  const server = await Server.start(fleet.broker, {
    JWT_ISSUER: "https://issuer.test",
    JWT_AUDIENCE: "fleet",
    ALLOW_QUERY_TOKEN: "false",
  });
  try {
    const good = { iss: "https://issuer.test", aud: "fleet" };
    await server.connect({ token: good });
    await server.connect({ token: { ...good, aud: ["other", "fleet"] } });
    for (const bad of [{}, { iss: good.iss }, { ...good, iss: "x" }, { ...good, aud: "x" }]) {
      assert.equal(await server.client({ token: bad }).refused(), "token_invalid");
    }
    // And here the query is switched off.
    assert.equal(await server.client(query(token(good))).refused(), "token_missing");
  } finally {
    await server.stop();
  }
});

test("s4_02_no_token_is_ever_logged", async () => {
  const secretive = token({ sub: "u1", exp: unixNow() - 3600 });
  await fleet.server.client(query(secretive)).refused();
  await fleet.server.client({ token: secretive }).refused();
  const good = token({ sub: "u1", name: "an accepted one" });
  await fleet.server.connect(query(good));
  await eventually(
    () => fleet.server.process.lines.some((line) => line.includes("token_expired")),
    "a log line about the refusal",
  );
  for (const part of [secretive, good].flatMap((text) => text.split(".").slice(1))) {
    assert.ok(!fleet.server.process.lines.some((line) => line.includes(part)));
  }
});

test("s4_13_the_welcome_has_the_shape_of_the_contract", async () => {
  const before = Date.now();
  const client = await fleet.server.connect({ token: { sub: "u1", roles: ["dispatcher"] } });
  assert.equal(client.seen[0].event, "connection_established", "it is the first event");
  const { args } = client.seen[0];
  assert.equal(args.length, 2);
  assert.match(args[1], /^v1\./);
  assert.ok(!Number.isNaN(Date.parse(args[0].timestamp)));
  const { connection_id, protocol_version, rooms, server_time, window_seconds, ...rest } =
    args[0].data;
  assert.deepEqual(rest, {
    user_id: "u1",
    organization_id: "o1",
    roles: ["dispatcher"],
    resume: "fresh",
  });
  assert.deepEqual([...rooms].sort(), ["org:o1", "user:u1:org:o1"]);
  assert.equal(protocol_version, "1.0");
  assert.ok(connection_id && connection_id !== client.socket.id, "socket.id is a credential");
  assert.ok(window_seconds > 0 && window_seconds <= 300);
  const time = typeof server_time === "number" ? server_time : Date.parse(server_time);
  assert.ok(Math.abs(time - before) < 60_000, `server_time ${server_time}`);
});
