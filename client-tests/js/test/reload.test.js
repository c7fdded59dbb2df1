// SIGHUP: what a connected client sees of a profile that changes.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";

import { record, toChannel } from "../harness/records.js";
import { startFleet } from "../harness/server.js";
import { eventually } from "../harness/wait.js";

const DISPATCH = new URL("../../../profiles/dispatch.toml", import.meta.url);
const CHANNEL = /(\[policy\.channel\]\nany = )\[.*\]/;

let fleet, directory, profile, dispatch;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), "fleetcast-"));
  profile = join(directory, "profile.toml");
  dispatch = await readFile(DISPATCH, "utf8");
  assert.match(dispatch, CHANNEL);
  await writeFile(profile, dispatch);
  fleet = await startFleet({ FLEETCAST_PROFILE: profile });
});
afterEach(() => fleet.server.closeClients());
after(async () => {
  await fleet?.stop();
  await rm(directory, { recursive: true });
});

/** Rewrites the profile and waits until the server goes by it. */
async function reload(text) {
  const applied = () => fleet.server.metric("fleetcast_reloads_total", { outcome: "applied" });
  const before = await applied();
  await writeFile(profile, text);
  fleet.server.process.child.kill("SIGHUP");
  await eventually(async () => (await applied()) > before, "the reload");
}

const incident = (n) => record("incident_updated", { incident_id: "5", n });

for (const transport of ["websocket", "polling"]) {
  test(`a_room_that_the_new_policy_forbids_is_revoked_over_${transport}`, async () => {
    await reload(dispatch);
    const client = await fleet.server.connect({ transports: [transport] });
    await client.subscribe("channel:7", "incident:5");
    await fleet.broker.produce("transmission", toChannel("7", 1));
    await client.next("transmission_started");

    await reload(dispatch.replace(CHANNEL, '$1["admin"]'));
    const { args } = await client.next("room_revoked");
    const { rooms, reason, code } = args[0].data;
    assert.deepEqual(rooms, ["channel:7:org:o1"]);
    assert.deepEqual([reason, code], ["policy", 701]);
    // Stock clients take the last argument for their offset.
    assert.match(args.at(-1), /^v1\./);

    await fleet.broker.produce("transmission", toChannel("7", 2));
    await fleet.broker.produce("incident", incident(3));
    await eventually(() => client.numbers.includes(3), "the event behind it");
    assert.deepEqual(client.numbers, [1, 3]);
    const { rooms: held } = (await client.ask("rooms")).data;
    assert.deepEqual(held.slice().sort(), ["incident:5:org:o1", "org:o1", "user:u1:org:o1"]);
    const again = await client.ask("subscribe", { room: "channel:7" });
    assert.equal(again.error.reason, "forbidden");
    assert.deepEqual(client.disconnects, [], "and it is connected all the while");

    await reload(dispatch);
    await client.subscribe("channel:7");
    await fleet.broker.produce("transmission", toChannel("7", 4));
    await eventually(() => client.numbers.includes(4), "the room's events again");
  });
}
