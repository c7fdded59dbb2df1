// What the internal API does to stock clients.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startFleet } from "../harness/server.js";
import { eventually } from "../harness/wait.js";

let fleet;
before(async () => (fleet = await startFleet()));
after(() => fleet?.stop());

const TRANSPORTS = {
  websocket: { transports: ["websocket"], reconnection: true },
  polling: { transports: ["polling"], upgrade: false, reconnection: true },
};

async function close(client, query = "") {
  const url = `${fleet.server.internal}/api/connections/${client.welcome.connection_id}${query}`;
  const answer = await fetch(url, { method: "DELETE" });
  assert.equal(answer.status, 200, await answer.text());
}

for (const [name, options] of Object.entries(TRANSPORTS)) {
  test(`a_${name}_client_whose_connection_is_deleted_comes_back_by_itself`, async () => {
    const client = await fleet.server.connect(options);
    const before = client.welcome.connection_id;
    await close(client);
    await eventually(() => client.welcome.connection_id !== before, "another welcome");
    assert.ok(client.socket.connected);
    client.close();
  });

  test(`a_${name}_client_that_is_dismissed_stays_away`, async () => {
    const client = await fleet.server.connect(options);
    const before = client.welcome.connection_id;
    await close(client, "?reconnect=false");
    await eventually(() => client.disconnects.length > 0, "the disconnect");
    assert.deepEqual(client.disconnects, ["io server disconnect"]);
    // Longer than the library waits before it tries again, and than the transport is left open.
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    assert.equal(client.socket.connected, false);
    assert.equal(client.welcome.connection_id, before);
    client.close();
  });
}
