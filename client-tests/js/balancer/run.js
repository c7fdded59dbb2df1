// Stock clients behind haproxy and nginx, as deploy/ has them, while records flow, both instances are restarted one after the other,
// connections are rebalanced, and one instance crashes: each client must receive each record once and in order, by whatever transport, and with or without
// cookies.
//
//   node balancer/run.js CLIENT...     CLIENT: js, python or java

import { spawnSync } from "node:child_process";
import { Agent } from "node:http";
import { fileURLToPath } from "node:url";

import { eventually, sleep } from "../harness/wait.js";
import { Haproxy, Nginx } from "./balancers.js";
import { known, named, open, openAt } from "./browser.js";
import { Fleet } from "./fleet.js";
import { Scene } from "./scene.js";

/** Milliseconds in which a balancer that asks /ready must notice that an instance stops, or is back. */
const NOTICED = 3_000;
/** For nginx, which does not ask: as long as it leaves an instance alone that has refused a client without cookies. */
const LEFT_ALONE = 5_500;
/** Milliseconds after which an instance that stops refuses what is new. */
const REFUSING = 500;
/** Sessions of a browser at an instance that stops. It closes them one by one, and some are left when they are looked at. */
const SESSIONS = 16;
/** Connections that a drain of half of them brings to the other instance at least; those with an address of their own stay. */
const MOVED = 2;
/** Milliseconds that it may take them. */
const PATIENCE = 5_000;
/** Milliseconds for which one of the two goes on alone after a crash. */
const ALONE = 2_000;
/** A client's own address. The address of all others is the balancer's, which is one of TRUSTED_PROXIES. */
const ADDRESS = "127.0.0.77";

const WEBSOCKET = { transports: ["websocket"] };
const POLLING = { transports: ["polling"] };
/** Under Node.js: it keeps cookies. */
const COOKIES = { withCredentials: true };
/** socket.io-client keeps none unless told, as versions before 4.7 cannot. */
const JAVASCRIPT = {
  "js-ws": ["url", WEBSOCKET],
  "js-upgrade": ["url", COOKIES],
  "js-upgrade-2": ["url", COOKIES],
  "js-polling": ["url", { ...POLLING, ...COOKIES }],
  "js-polling-2": ["url", { ...POLLING, ...COOKIES }],
  "js-polling-3": ["url", { ...POLLING, ...COOKIES }],
  "js-bare-upgrade": ["byAddress", {}],
  "js-bare-polling": ["byAddress", POLLING],
};
const FOREIGN = {
  // By name, because aiohttp keeps no cookies for IP addresses (docs/clients.md).
  python: { "python-ws": "named", "python-upgrade": "named", "python-polling": "named" },
  java: { "java-ws": "url", "java-upgrade": "byAddress", "java-polling": "byAddress" },
};
/** Both instances one after the other, then a drain of a share, and a crash. */
async function restartAndCrash(fleet, balancer) {
  for (const index of [0, 1]) {
    const sessions = await openAt(balancer.url, `s${index + 1}`, SESSIONS);
    const stopped = fleet.stop(index);
    if (balancer instanceof Haproxy) {
      const down = await balancer.noticed(index + 1, "DOWN", NOTICED);
      if (!down.includes("code: 503")) throw new Error(`not by /ready: ${down}`);
    } else await sleep(REFUSING);
    await checkBrowser(balancer, sessions);
    await stopped;
    await fleet.restart(index);
    if (balancer instanceof Haproxy) await balancer.noticed(index + 1, "UP", NOTICED);
    else await sleep(LEFT_ALONE);
  }
  // The second has just been restarted, so all are at the first.
  await fleet.rebalance(0, 0.5);
  const moved = async () => (await fleet.connections())[1] >= MOVED;
  await eventually(moved, () => `${MOVED} connections to move`, PATIENCE);
  const [{ cookie }] = await openAt(balancer.url, "s1", 1);
  await fleet.crash(0);
  if (named((await open(balancer.url, cookie)).cookie) !== "s2")
    throw new Error("a crashed instance answers");
  await sleep(ALONE);
}

/** While an instance stops: what is new goes to the other, though its cookie names this one; the sessions that it has stay. */
async function checkBrowser({ url }, sessions) {
  const [{ cookie }] = sessions;
  const again = await open(url, cookie);
  if (named(again.cookie) === named(cookie)) throw new Error(`${cookie} stays where it was`);
  const kept = await Promise.all(sessions.map((session) => known(url, session)));
  if (!kept.includes(true)) throw new Error("sessions of a stopping instance went elsewhere");
}

/** A client that has an address of its own, and cookies. */
const addressed = () => ({
  ...COOKIES,
  agent: new Agent({ keepAlive: true, localAddress: ADDRESS }),
});

/** Whether the instances know that client by its address, and not by the balancer's. */
async function checkAddress(fleet, name) {
  const addresses = new Set(await fleet.addressesOf(name));
  if (addresses.size !== 1 || !addresses.has(ADDRESS)) {
    throw new Error(`the address of ${name} is taken to be ${[...addresses]}`);
  }
}

/** Clients in JavaScript, and those of `languages`, behind a balancer of this kind; true if `play` finds no fault. */
async function behind(Kind, { options, env, languages = [] }, play) {
  const fleet = await Fleet.start(env);
  let balancer, scene;
  try {
    balancer = await Kind.start(fleet.addresses, options);
    scene = new Scene(balancer);
    for (const [name, [url, options]] of Object.entries(JAVASCRIPT)) {
      scene.addJavaScript(name, url, options);
    }
    scene.addJavaScript("js-address", "url", addressed());
    for (const language of languages) scene.addForeign(language, FOREIGN[language]);
    await scene.connected();
    await checkAddress(fleet, "js-address");
    return await play(fleet, scene);
  } finally {
    await scene?.close();
    await balancer?.close();
    await fleet.close();
  }
}

async function whole(fleet, scene) {
  const spread = await fleet.connections();
  if (spread.includes(0)) throw new Error(`all clients are at one instance: ${spread}`);
  await scene.play(fleet.broker, async () => {
    await scene.steady();
    await restartAndCrash(fleet, scene.balancer);
  });
  return scene.report();
}

/** What haproxy.cfg has in place of the header. */
const PREAMBLES = { env: { PROXY_PROTOCOL: "true" }, options: { preambles: true } };

const languages = process.argv.slice(2).filter((client) => client in FOREIGN);
for (const language of languages) {
  const script = fileURLToPath(new URL(`../../../scripts/${language}.sh`, import.meta.url));
  if (spawnSync(script, { stdio: "inherit" }).status !== 0) process.exit(1);
}
let good = true;
for (const [title, run] of [
  ["haproxy", () => behind(Haproxy, { languages }, whole)],
  ["haproxy, PROXY_PROTOCOL=true", () => behind(Haproxy, PREAMBLES, () => true)],
  ["nginx", () => behind(Nginx, { languages }, whole)],
]) {
  const begin = performance.now();
  console.log(`\nBehind ${title}`);
  const passed = await run().catch((error) => console.log(error));
  if (!passed) {
    good = false;
    console.log("FAILED");
  }
  console.log(`${Math.round((performance.now() - begin) / 1000)} s`);
}
process.exit(good ? 0 : 1);
