// The emitters that back-ends have, @socket.io/redis-emitter and python-socketio, as their users install them: what they emit reaches
// stock clients, and what they may not do has no effect.

import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { after, afterEach, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";

import { Process } from "../harness/process.js";
import { toAll } from "../harness/records.js";
import { Redis } from "../harness/redis.js";
import { startFleet } from "../harness/server.js";
import { eventually } from "../harness/wait.js";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const PYTHON = `${ROOT}.cache/python/bin/python`;

let redis, fleet, sender;
before(async () => {
  redis = await Redis.start();
  const emitters = "node:o1, python:o1, node:o2:of-o2, python:o2:of-o2";
  fleet = await startFleet({ REDIS_URL: redis.url, REDIS_EMITTERS: emitters });
  sender = await createClient({ url: redis.url }).connect();
  await eventually(async () => (await fleet.server.metric("fleetcast_redis_up")) === 1, "Redis");
});
afterEach(() => fleet.server.closeClients());
after(async () => {
  await sender?.close();
  await fleet?.stop();
  await redis?.stop();
});

/** An emitter of each language, with the same calls. */
const LANGUAGES = {
  node: async (key = "socket.io") => {
    const emitter = new Emitter(sender, { key });
    const of = (to) => (to ? emitter.to(to) : emitter);
    return {
      emit: async (event, args, to) => of(to).emit(event, ...args),
      emitBytes: async (event) => emitter.emit(event, { bytes: Buffer.from([0]) }),
      emitExcept: async (event) => emitter.except("channel:8").emit(event, {}),
      join: async () => emitter.socketsJoin("channel:9"),
      leave: async () => emitter.socketsLeave("channel:7"),
      disconnect: async () => emitter.disconnectSockets(true),
      stop: async () => {},
    };
  },
  python: async (channel = "socketio") => {
    assert.ok(existsSync(PYTHON), `${PYTHON} is not there: make python-client installs it`);
    const env = { PATH: process.env.PATH, URL: redis.url, CHANNEL: channel };
    const python = new Process(PYTHON, [`${ROOT}client-tests/python/emit.py`], env);
    let calls = 0;
    const call = async (method, args, keywords = {}) => {
      python.child.stdin.write(`${JSON.stringify([method, args, keywords])}\n`);
      calls += 1;
      const done = () => python.lines.filter((line) => line === "done").length === calls;
      await eventually(done, () => `${method}; it said:\n${python.tail()}`);
    };
    return {
      emit: (event, args, to) => call("emit_several", [event, ...args], to ? { to } : {}),
      emitBytes: (event) => call("emit_bytes", [event]),
      emitExcept: (event) => call("emit", [event, {}], { skip_sid: "someone" }),
      join: () => call("enter_room", ["someone", "/", "channel:9"]),
      leave: () => call("leave_room", ["someone", "/", "channel:7"]),
      disconnect: () => call("can_disconnect", ["someone", "/"]),
      stop: async () => {
        python.child.stdin.end();
        await python.exited;
      },
    };
  },
};

const TRANSPORTS = {
  websocket: { transports: ["websocket"] },
  polling: { transports: ["polling"], upgrade: false },
};

const refused = (outcome) => fleet.server.metric("fleetcast_bus_messages_total", { outcome });

/** Arguments of all events of this name. */
const args = (client, event) => client.all(event).map(({ args }) => args);

/** What comes by Redis comes in order, so whatever was emitted before is there as well, or never comes. */
async function settled(emitter, ...clients) {
  await emitter.emit("settled", []);
  for (const client of clients) {
    const before = client.settled ?? 0;
    await eventually(() => client.all("settled").length > before, "the event behind all others");
    client.settled = before + 1;
  }
}

for (const [language, start] of Object.entries(LANGUAGES)) {
  for (const [transport, options] of Object.entries(TRANSPORTS)) {
    test(`a_${language}_emitter_reaches_rooms_over_${transport}_and_moves_no_cursor`, async (t) => {
      const emitter = await start();
      t.after(emitter.stop);
      const [member, other] = [
        await fleet.server.connect({ token: { sub: "member" }, ...options }),
        await fleet.server.connect({ token: { sub: "other" }, ...options }),
      ];
      const foreign = await fleet.server.connect({
        token: { sub: "member", organization_id: "o2" },
        ...options,
      });
      await member.subscribe("channel:7");
      await foreign.subscribe("channel:7");
      // An event with a cursor, so that there is a position which could move.
      await fleet.broker.produce("incident", toAll(1));
      await member.next("incident_created");
      const { cursor } = member;
      const offset = member.socket._lastOffset;
      assert.ok(cursor);

      await emitter.emit("job.one", [{ job: 1, text: "é\u{1F600}" }], "channel:7");
      await emitter.emit("job.all", [{ job: 2 }]);
      await emitter.emit(
        "job.several",
        [{ job: 3 }, [1.5, null, true]],
        ["channel:7", "user:other"],
      );
      await emitter.emit("job.none", [], "user:other");
      await settled(emitter, member, other);

      assert.deepEqual(args(member, "job.one"), [[{ job: 1, text: "é\u{1F600}" }, null]]);
      assert.deepEqual(args(other, "job.one"), []);
      for (const client of [member, other]) {
        assert.deepEqual(args(client, "job.all"), [[{ job: 2 }, null]]);
        assert.deepEqual(args(client, "job.several"), [[{ job: 3 }, [1.5, null, true], null]]);
      }
      assert.deepEqual(args(member, "job.none"), []);
      assert.deepEqual(args(other, "job.none"), [[null]]);

      assert.equal(member.socket._lastOffset, offset);
      assert.equal(member.cursor, cursor);
      // And it is still good.
      await fleet.broker.produce("incident", toAll(2));
      await member.next("incident_created", (value) => value.data.n === 2);

      const ofForeign = await start("of-o2");
      t.after(ofForeign.stop);
      await settled(ofForeign, foreign);
      assert.deepEqual(
        foreign.routed.map(({ event }) => event),
        ["settled"],
      );
      await settled(emitter, member);
      assert.equal(args(member, "settled").length, 2, "none of the other organisation");
    });
  }

  test(`h2_a_${language}_emitter_cannot_join_leave_disconnect_or_except`, async (t) => {
    const emitter = await start();
    t.after(emitter.stop);
    const client = await fleet.server.connect();
    await client.subscribe("channel:7");
    for (const [call, outcome] of [
      ["join", "not_allowed"],
      ["leave", "not_allowed"],
      ["disconnect", "not_allowed"],
      ["emitExcept", "excluded"],
      ["emitBytes", "binary"],
    ]) {
      const before = await refused(outcome);
      await emitter[call]("job.refused");
      await eventually(async () => (await refused(outcome)) === before + 1, `${call}: ${outcome}`);
    }
    for (const [args, to, outcome] of [
      [["v1.AAAA"], undefined, "bad_argument"],
      [[{}], "channel:7:org:o2", "bad_room"],
      [[{}], client.socket.id, "bad_room"],
      [[{ text: "x".repeat(300_000) }], undefined, "too_large"],
    ]) {
      const before = await refused(outcome);
      await emitter.emit("job.refused", args, to);
      await eventually(async () => (await refused(outcome)) === before + 1, outcome);
    }
    const before = await refused("bad_event");
    await emitter.emit("cursor", [{}]);
    await eventually(async () => (await refused("bad_event")) === before + 1, "bad_event");

    await emitter.emit("job.seven", [{}], "channel:7");
    await emitter.emit("job.nine", [{}], "channel:9");
    await settled(emitter, client);
    assert.deepEqual(
      client.routed.map(({ event }) => event),
      ["job.seven", "settled"],
      "the rooms are what they were",
    );
    assert.deepEqual(client.disconnects, []);
  });
}

test("a_pickle_and_what_no_emitter_wrote_are_counted_and_nothing_else", async () => {
  const client = await fleet.server.connect();
  for (const [channel, payload, outcome] of [
    ["socketio", Buffer.from("\x80\x04\x95s\x00}\x94.", "latin1"), "pickle"],
    ["socketio", "garbage", "malformed"],
    ["socket.io#/#", Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]), "malformed"],
    ["socket.io#/#", Buffer.alloc(60_000, 0x91), "too_deep"],
    ["socket.io#/admin#", "", "other_namespace"],
  ]) {
    const before = await refused(outcome);
    await sender.publish(channel, payload);
    await eventually(async () => (await refused(outcome)) === before + 1, `${channel}: ${outcome}`);
  }
  assert.deepEqual(client.routed, []);
  assert.ok(client.socket.connected);
});

/** The samples of docs/api.md, as they stand there but for the address. */
function sample(language) {
  const page = readFileSync(`${ROOT}docs/api.md`, "utf8");
  const [, section] = page.split("\n## Emitters that you have\n");
  const [, text] = new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\`$`, "m").exec(section);
  assert.ok(text.includes("redis://127.0.0.1:6379"));
  return text.replaceAll("redis://127.0.0.1:6379", redis.url);
}

for (const [language, command, name] of [
  ["js", process.execPath, "emitter-sample.mjs"],
  ["python", PYTHON, "emitter-sample.py"],
]) {
  test(`the_${language}_sample_of_the_page_does_what_it_says`, async (t) => {
    const [member, other] = [await fleet.server.connect(), await fleet.server.connect()];
    await member.subscribe("channel:7");
    // Beside node_modules, so that the packages are found.
    const path = fileURLToPath(new URL(`../${name}`, import.meta.url));
    writeFileSync(path, sample(language));
    t.after(() => rmSync(path));
    const emitter = new Process(command, [path], { PATH: process.env.PATH });
    t.after(() => emitter.child.kill("SIGKILL"));
    await member.next("job_done", ({ job }) => job === 6);
    await other.next("job_done", ({ job }) => job === 6);
    assert.deepEqual(args(member, "job_done"), [
      [{ job: 5 }, ["a second argument"], null],
      [{ job: 6 }, null],
    ]);
    assert.deepEqual(args(other, "job_done"), [[{ job: 6 }, null]]);
  });
}
