// What a stock client does when it meets a limit: it tries again, not too often, and is admitted once there is a place.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Broker } from "../harness/broker.js";
import { toAll } from "../harness/records.js";
import { Server } from "../harness/server.js";
import { eventually } from "../harness/wait.js";

let broker;
const servers = [];
after(async () => {
  for (const server of servers) {
    server.closeClients();
    await server.stop();
  }
  await broker?.close();
});

async function start(env) {
  broker ??= await Broker.open();
  const server = await Server.start(broker, env);
  servers.push(server);
  return server;
}

/** A client that reconnects as it does by default. */
const stock = (server, options) => server.client({ reconnection: true, ...options });

async function welcomed(client) {
  await eventually(() => client.welcome, "it is admitted", 20_000);
}

for (const transport of ["polling", "websocket"]) {
  test(`a08_a_client_of_a_full_address_comes_in_by_${transport}_once_there_is_a_place`, async () => {
    const server = await start({ LIMIT_LOOPBACK: "true", MAX_CONNECTIONS_PER_ADDRESS: "1" });
    const first = await server.connect({ transports: [transport] });
    const second = stock(server, { transports: [transport], token: { sub: "u2" } });
    second.socket.connect();
    await eventually(() => second.refusals.length >= 2, "it is refused again", 20_000);
    assert.ok(second.socket.active, "it tries again");
    assert.equal(second.connects, 0);
    first.close();
    await welcomed(second);
    await server.broker.produce("incident", toAll(1));
    await second.next("incident_created");
  });
}

test("a10_a_client_that_comes_too_soon_comes_in_a_little_later", async () => {
  const server = await start({ LIMIT_LOOPBACK: "true", HANDSHAKES_PER_SECOND_PER_ADDRESS: "1" });
  const clients = ["u1", "u2", "u3", "u4"].map((sub) => stock(server, { token: { sub } }));
  for (const client of clients) client.socket.connect();
  for (const client of clients) await welcomed(client);
  const refused = { reason: "handshake_rate" };
  assert.ok((await server.metric("fleetcast_refused_total", refused)) > 0);
});

test("a_client_over_the_limit_of_its_user_tries_again_every_few_seconds", async () => {
  const server = await start({ MAX_CONNECTIONS_PER_USER: "1" });
  const first = await server.connect();
  const second = stock(server, { transports: ["websocket"] });
  second.socket.connect();
  const count = () => server.metric("fleetcast_refused_total", { reason: "user_limit" });
  await eventually(async () => (await count()) >= 2, "it is refused again", 20_000);
  const [begin, before] = [performance.now(), await count()];
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  const seconds = (performance.now() - begin) / 1000;
  const tries = (await count()) - before;
  assert.ok(tries <= Math.ceil(seconds / 3), `${tries} tries in ${seconds} s`);
  assert.deepEqual([second.connects, second.refusals], [0, []], "nothing that ends its retries");
  first.close();
  await welcomed(second);
});

test("a49_a_client_with_a_bad_token_is_refused_and_can_mend_it_on_the_same_transport", async () => {
  const server = await start({ LIMIT_LOOPBACK: "true" });
  const good = (await server.connect()).token;
  const client = stock(server, { token: "nonsense" });
  assert.equal(await client.refused(), "token_invalid");
  assert.equal(client.socket.active, false);
  client.socket.auth = { token: good };
  client.socket.connect();
  await welcomed(client);
});

test("a72_a_client_that_sends_too_much_is_answered_so_and_stays_connected", async () => {
  const server = await start({});
  const client = await server.connect();
  const answers = await Promise.all(Array.from({ length: 150 }, () => client.ask("rooms")));
  const limited = answers.filter(({ error }) => error?.reason === "rate_limited");
  assert.ok(limited.length > 0 && limited.length <= 50, String(limited.length));
  assert.ok(limited.every(({ error }) => error.retryable));
  await server.broker.produce("incident", toAll(2));
  await client.next("incident_created", ({ data }) => data.n === 2);
  assert.deepEqual(client.disconnects, []);
});
