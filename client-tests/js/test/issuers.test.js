// Stock clients with tokens as Auth0 and Keycloak make them: ids with punctuation, and claims under names of their own.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, afterEach, before, test } from "node:test";

import { record } from "../harness/records.js";
import { startFleet } from "../harness/server.js";
import { sign, unixNow } from "../harness/tokens.js";
import { eventually } from "../harness/wait.js";

const AUTH0 = "auth0|5f7c8ec7c33c6c004bbafe82";
const KEYCLOAK = "f:6c1b8f52-9a44-4d0c-8a57-3c9b0c3f7a11:ann";

/** As the examples of docs/tokens.md; who signs is another matter. */
const ISSUERS = {
  auth0: {
    env: {
      JWT_ISSUER: "https://acme.eu.auth0.com/",
      JWT_AUDIENCE: "https://fleetcast.acme.example",
      JWT_CLAIM_ORGANIZATION: "https://acme.example/organization",
      JWT_CLAIM_ROLES: "https://acme.example/roles",
    },
    claims: (user, organisation) => ({
      iss: "https://acme.eu.auth0.com/",
      sub: user,
      aud: ["https://fleetcast.acme.example", "https://acme.eu.auth0.com/userinfo"],
      "https://acme.example/organization": organisation,
      "https://acme.example/roles": ["dispatcher"],
      scope: "openid profile",
      azp: "my_client_id",
    }),
    user: AUTH0,
    // The same up to a part that looks like the end of the room's name, and a prefix of it.
    others: [`${AUTH0}:org:acme`, "auth0"],
  },
  keycloak: {
    env: {
      JWT_ISSUER: "https://sso.acme.example/realms/fleet",
      JWT_AUDIENCE: "fleetcast",
      JWT_CLAIM_ROLES: "realm_access.roles",
    },
    claims: (user, organisation) => ({
      iss: "https://sso.acme.example/realms/fleet",
      sub: user,
      aud: ["fleetcast", "account"],
      typ: "Bearer",
      azp: "dispatch-ui",
      organization_id: organisation,
      realm_access: { roles: ["dispatcher", "offline_access", "uma_authorization"] },
      preferred_username: "ann",
    }),
    user: KEYCLOAK,
    others: ["f:6c1b8f52-9a44-4d0c-8a57-3c9b0c3f7a11", "ann"],
  },
};

for (const [name, { env, claims, user, others }] of Object.entries(ISSUERS)) {
  let fleet;
  before(async () => {
    const more = (broker) => ({ ...env, PUBLISH_TOPIC: `${broker.prefix}publish` });
    fleet = await startFleet(more, ["publish"]);
  });
  afterEach(() => fleet?.server.closeClients());
  after(() => fleet?.stop());

  const mint = (of = user, organisation = "acme") =>
    sign({ ...claims(of, organisation), iat: unixNow(), exp: unixNow() + 600 });
  const connect = (token, options = {}) =>
    fleet.server.connect({ token, transports: ["websocket"], ...options });
  const own = (of = user) => `user:${of}:org:acme`;
  /** Appends an event for one user, once; resolves when the log has it. */
  const publish = async (to, n, organisation = "acme") => {
    const body = JSON.stringify({
      event: "note",
      organization_id: organisation,
      user_id: to,
      data: { data: { n } },
      idempotency_key: randomUUID(),
    });
    let said = "nothing";
    await eventually(
      async () => {
        const answer = await fetch(`${fleet.server.internal}/api/publish`, {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body,
        });
        said = `${answer.status} ${await answer.text()}`;
        if (answer.status === 202) return true;
        // The topic is not read yet: nothing was written.
        if (said.includes('"code":"publish_unavailable"')) return false;
        throw new Error(`the publication is answered with ${said}`);
      },
      () => `a publication to be accepted; the answer was ${said}`,
    );
  };

  test(`s4_06_a_user_of_${name}_has_a_room_of_their_own_and_no_other`, async () => {
    const client = await connect(mint());
    assert.deepEqual(client.welcome.rooms, ["org:acme", own()]);
    assert.equal((await client.ask("subscribe", { room: own() })).success, true);
    const strangers = await Promise.all(others.map((other) => connect(mint(other))));
    for (const [index, stranger] of strangers.entries()) {
      const other = others[index];
      assert.deepEqual(stranger.welcome.rooms, ["org:acme", own(other)]);
      // What one of them takes for the whole name of a foreign room is to the other the short name of their own.
      const taken = await stranger.ask("subscribe", { room: own() });
      const isOwn = other === own().slice("user:".length);
      assert.equal(taken.success, isOwn, JSON.stringify(taken));
      if (!isOwn) assert.equal(taken.error?.reason, "forbidden");
      assert.deepEqual((await stranger.ask("rooms", {})).data.rooms, ["org:acme", own(other)]);
      const answer = await client.ask("subscribe", { room: own(other) });
      assert.deepEqual([answer.success, answer.error?.reason], [false, "forbidden"]);
    }
    assert.deepEqual((await client.ask("rooms", {})).data.rooms, ["org:acme", own()]);
    const namesake = await connect(mint(user, "bolt"));

    await publish(user, 1);
    for (const other of others) await publish(other, 2);
    await publish(user, 3, "bolt");
    await namesake.next("note");
    for (const stranger of strangers) await stranger.next("note");
    await client.next("note");
    // A record is offered to all that are to have it at once, so nothing of these is still to come.
    await fleet.broker.produce("incident", record("incident_created", { n: 4 }, "acme"));
    await fleet.broker.produce("incident", record("incident_created", { n: 5 }, "bolt"));
    const all = [client, ...strangers, namesake];
    await Promise.all(all.map((one) => one.next("incident_created")));
    assert.deepEqual(client.numbers, [1, 4]);
    for (const stranger of strangers) assert.deepEqual(stranger.numbers, [2, 4]);
    assert.deepEqual(namesake.numbers, [3, 5]);
  });

  test(`s4_06_a_user_of_${name}_resumes_where_they_left`, async () => {
    const first = await connect(mint());
    await first.subscribe("channel:7");
    await publish(user, 11);
    await first.next("note");
    const { cursor } = first;
    first.close();
    await publish(user, 12);
    const auth = { token: mint(), cursor, rooms: [own(), "channel:7"] };
    const again = await connect(mint(), { auth });
    assert.equal(again.welcome.resume, "resumed");
    assert.deepEqual(again.welcome.rooms, ["org:acme", own(), "channel:7:org:acme"]);
    await again.next("note");
    assert.deepEqual(again.numbers, [12]);
    assert.deepEqual(again.all("error"), []);
  });

  test(`a49_a_token_like_one_of_${name}_that_is_for_others_is_refused`, async () => {
    for (const change of [
      { iss: "https://evil.example/" },
      { aud: "https://another.example" },
      { sub: "a\u0000b" },
      { sub: "" },
    ]) {
      const token = sign({ ...claims(user, "acme"), exp: unixNow() + 600, ...change });
      const client = fleet.server.client({ token, transports: ["websocket"] });
      assert.equal(await client.refused(), "token_invalid", JSON.stringify(change));
    }
  });
}
