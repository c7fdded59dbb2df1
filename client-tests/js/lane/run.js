// Stock clients and a strict WebSocket client on the lane, under load, their connections cut at random bytes: each event must arrive
// once and in order, each command must be answered, and each question for an acknowledgement settled.
//
//   node lane/run.js SECONDS CLIENT...     CLIENT: js (with the strict one), python or java
//
// First with faults that are put into the stream, each of which must be found; then for SECONDS over the lane, and for a third of
// that with FLEETCAST_LANE=off.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

import { ALL_ASSETS, ALL_CHANNELS, Changer, Follower } from "./follower.js";
import { Scene } from "./scene.js";

/** Records per second. */
const RATE = 300;
/** Seconds that seeded faults are looked for. */
const SEEDED_SECONDS = 4;
const WEBSOCKET = { transports: ["websocket"] };
const SLOW = { mean: 3_000, rate: 150_000 };
const ROOMS = [
  ...ALL_CHANNELS.map((channel) => `channel:${channel}`),
  ...ALL_ASSETS.map((asset) => `asset:${asset}`),
];

/** Kinds of clients, by what they do. */
function kinds(scene) {
  const all = { channels: ALL_CHANNELS, assets: ALL_ASSETS };
  const some = { channels: [0, 1, 5], assets: ALL_ASSETS, meta: true };
  return {
    all: (name, options) => new Follower(scene.transcript(name, options), all),
    some: (name, options) => new Follower(scene.transcript(name, options), some),
    changer: (name, observer, options) =>
      new Changer(scene.transcript(name, { snapshots: true, ...options }), observer),
  };
}

async function addJavaScript(scene) {
  const { url } = scene.server;
  const { all, some, changer } = kinds(scene);
  const observer = all("js-uncut", { cuts: false });
  scene.stock(url, WEBSOCKET, { "/": observer });
  scene.stock(url, {}, { "/ws": some("js-uncut-upgrade", { cuts: false }) });
  const cut = async (options, followers, how) =>
    scene.stock(await scene.proxy(how), options, followers);
  await cut(WEBSOCKET, { "/": all("js-ws") });
  await cut({}, { "/": all("js-upgrade") });
  await cut(WEBSOCKET, { "/": all("js-both-ws"), "/ws": some("js-both-ws-2") });
  await cut({}, { "/": some("js-both"), "/ws": all("js-both-2") });
  await cut(WEBSOCKET, { "/": all("js-slow") }, SLOW);
  await cut(WEBSOCKET, { "/": changer("js-changer-ws", observer.transcript) });
  await cut({}, { "/ws": changer("js-changer", observer.transcript) });
  await cut(WEBSOCKET, { "/": changer("js-changer-slow", observer.transcript) }, SLOW);

  const strict = (name, options = {}) => ({
    "/": all(name, options),
    "/ws": changer(`${name}-2`, observer.transcript, options),
  });
  scene.strictly(url, { cuts: false }, strict("strict-uncut", { cuts: false }));
  scene.strictly(url, { cuts: false, pauses: 2_500 }, strict("strict-slow", { cuts: false }));
  scene.strictly(await scene.proxy(), {}, strict("strict"));
  scene.strictly(await scene.proxy({ mean: 1_500 }), { pauses: 1_000 }, strict("strict-paused"));
}

/** Names that end in -ws connect by WebSocket alone. Java's last two share a connection. */
const FOREIGN = {
  python: [["python-ws"], ["python-upgrade"], ["python-threads", { unordered: true }]],
  java: [["java-ws"], ["java-upgrade"], ["java-both-ws"], ["java-both-ws-2"]],
};

async function addForeign(scene, language) {
  const { all } = kinds(scene);
  const followers = [];
  for (const [name, options] of FOREIGN[language]) {
    const follower = all(name, options);
    follower.url = name.endsWith("-2") ? followers.at(-1).url : await scene.proxy();
    followers.push(follower);
  }
  scene.foreign(language, followers, ROOMS);
}

async function play(env, clients, seconds) {
  const scene = await Scene.start(env);
  try {
    if (clients.includes("js")) await addJavaScript(scene);
    for (const language of Object.keys(FOREIGN)) {
      if (clients.includes(language)) await addForeign(scene, language);
    }
    await scene.play(RATE, seconds);
    return report(scene, await scene.server.metric("fleetcast_lane_writes_total"), env);
  } finally {
    await scene.close();
  }
}

function report(scene, writes, env) {
  const rows = scene.transcripts.map((it) => ({
    client: it.name,
    sessions: it.sessions,
    stranded: it.stranded,
    events: it.events,
    repeats: it.repeats,
    commands: it.asked,
    answers: it.answered,
    cut: it.cut,
    "late state": scene.late.get(it) ?? "",
    faults: it.faultCount,
  }));
  console.table(rows);
  for (const { name, client } of scene.strict) {
    const { frames, bytes, pings, pongs, partial } = client;
    console.log(
      `${name}: ${frames} frames, ${bytes} bytes, ${pings} pings, ${pongs} pongs, cut within a frame ${partial} times`,
    );
  }
  const { cuts, questions, produced } = scene;
  console.log(`${produced.records} records, ${cuts} cuts, ${writes} writes of the lane`, questions);
  for (const { name, faults } of scene.transcripts) {
    for (const fault of faults) console.log(`FAULT ${name}: ${fault}`);
  }
  const lane = env.FLEETCAST_LANE !== "off";
  if (lane !== writes > 0) console.log(`FAULT: the lane wrote ${writes} times`);
  return lane === writes > 0 && rows.every(({ faults }) => faults === 0);
}

/** Whether each seeded fault is found, and none where there is none. */
async function seeded() {
  const scene = await Scene.start();
  const { all, changer } = kinds(scene);
  const uncut = { mean: Infinity };
  const observer = all("none", { cuts: false });
  scene.stock(scene.server.url, WEBSOCKET, { "/": observer });
  scene.strictly(await scene.proxy(uncut), {}, { "/": all("none-strict") });
  for (const tamper of ["drop", "twice", "swap"]) {
    scene.stock(await scene.proxy({ ...uncut, tamper }), WEBSOCKET, { "/": all(tamper) });
  }
  const tamper = "cursor-first";
  const changes = changer(tamper, observer.transcript);
  scene.stock(await scene.proxy({ ...uncut, tamper }), WEBSOCKET, { "/": changes });
  for (const tamper of ["inside", "fragment", "long", "text", "after-close"]) {
    scene.strictly(await scene.proxy({ ...uncut, tamper }), {}, { "/": all(tamper) });
  }
  try {
    await scene.play(RATE, SEEDED_SECONDS, { settle: false, patience: 2_000 });
  } finally {
    await scene.close();
  }
  const rows = scene.transcripts.map(({ name, faultCount, faults }) => ({
    seeded: name,
    faults: faultCount,
    first: faults[0]?.slice(0, 90),
  }));
  console.table(rows);
  return rows.every(({ seeded, faults }) => seeded.startsWith("none") === (faults === 0));
}

const [seconds, ...clients] = process.argv.slice(2);
for (const language of Object.keys(FOREIGN)) {
  if (!clients.includes(language)) continue;
  const script = fileURLToPath(new URL(`../../../scripts/${language}.sh`, import.meta.url));
  if (spawnSync(script, { stdio: "inherit" }).status !== 0) process.exit(1);
}
let good = true;
const step = async (title, run) => {
  const begin = performance.now();
  console.log(`\n${title}`);
  if (!(await run())) {
    good = false;
    console.log("FAILED");
  }
  console.log(`${Math.round((performance.now() - begin) / 1000)} s`);
};
if (clients.includes("js")) await step("Seeded faults", seeded);
await step("By the lane", () => play({}, clients, Number(seconds)));
await step("Without the lane", () => play({ FLEETCAST_LANE: "off" }, clients, seconds / 3));
process.exit(good ? 0 : 1);
