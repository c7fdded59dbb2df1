// The two clients of README.md, as they are written there (but for the address), against a demo that is restarted under them.

import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { Process } from "../js/harness/process.js";
import { claims, sign } from "../js/harness/tokens.js";
import { eventually, sleep, within } from "../js/harness/wait.js";
import { block, replace, ROOT } from "./blocks.js";
import { Demo } from "./demo.js";

const ADDRESS = "http://127.0.0.1:8001";
const PYTHON = `${ROOT}.cache/python/bin/python`;

const folder = mkdtempSync(join(tmpdir(), "fleetcast-readme-"));
after(() => rmSync(folder, { recursive: true }));
// What `npm install socket.io-client` would put beside client.mjs.
symlinkSync(`${ROOT}client-tests/js/node_modules`, join(folder, "node_modules"));

const SAMPLES = {
  JavaScript: (url, api) => {
    let text = replace(block("js", "socket.io-client"), ADDRESS, url);
    if (api) text = replace(text, "${url}/demo/people.json", api);
    return run(process.execPath, "client.mjs", text);
  },
  Python: (url, api) => {
    assert.ok(existsSync(PYTHON), `${PYTHON} is not there: make setup installs it`);
    let text = replace(block("python", "import socketio"), ADDRESS, url);
    if (api) text = replace(text, "{url}/demo/people.json", api);
    return run(PYTHON, "client.py", text, ["-u"]);
  },
};

let number = 0;

function run(command, name, text, args = []) {
  number += 1;
  const path = join(folder, `${number}-${name}`);
  writeFileSync(path, text);
  return new Process(command, [...args, path], { PATH: process.env.PATH, HOME: folder });
}

/** Starts the sample; `api` is where it asks for tokens if not the demo. */
const start = (language, demo, api) => SAMPLES[language](demo.url, api);

const line = (client, pattern, timeout = 40_000) =>
  client.line((text) => pattern.test(text) && text, String(pattern), timeout);

/** Waits until `pattern` has come `count` times. */
const times = (client, pattern, count) =>
  eventually(
    () => client.lines.filter((text) => pattern.test(text)).length >= count,
    () => `${count} times ${pattern}; it said:\n${client.tail()}`,
    60_000,
  );

for (const language of Object.keys(SAMPLES)) {
  test(`readme_${language}_goes_on_after_restarts_of_the_demo`, async (t) => {
    const demo = await Demo.prepare();
    t.after(() => demo.remove());
    await demo.start();
    const client = start(language, demo);
    t.after(() => client.child.kill("SIGKILL"));
    await line(client, /^fresh .*org:metro/);
    await line(client, /^on the air: /);
    for (const restart of [1, 2]) {
      await demo.restart();
      // A demo that was restarted has another Kafka, whose records the cursor does not know.
      await times(client, /^(resync|resumed) .*channel:dispatch:org:metro/, restart);
      const heard = client.lines.filter((text) => text.startsWith("on the air: ")).length;
      await times(client, /^on the air: /, heard + 1);
    }
    assert.equal(client.child.exitCode, null, client.tail());
    assert.ok(!client.lines.some((text) => /token_/.test(text)), client.tail());
  });

  test(`readme_${language}_resumes_when_its_token_expires`, async (t) => {
    const demo = await Demo.prepare({ JWT_MAX_LIFETIME: "3", JWT_LEEWAY: "0" });
    t.after(() => demo.remove());
    await demo.start();
    const client = start(language, demo);
    t.after(() => client.child.kill("SIGKILL"));
    await line(client, /^fresh /);
    await times(client, /^resumed .*channel:dispatch:org:metro/, 2);
    assert.ok(!client.lines.some((text) => /token_|resync|missed/.test(text)), client.tail());
  });

  test(`readme_${language}_may_be_started_before_the_server`, async (t) => {
    const demo = await Demo.prepare();
    t.after(() => demo.remove());
    const client = start(language, demo);
    t.after(() => client.child.kill("SIGKILL"));
    await line(client, /^no connection: /);
    await sleep(1_500);
    await demo.start();
    await line(client, /^fresh .*org:metro/);
    await line(client, /^on the air: /);
  });

  test(`readme_${language}_ends_when_its_token_is_refused`, async (t) => {
    const demo = await Demo.prepare();
    t.after(() => demo.remove());
    const api = await issuer(demo);
    t.after(() => api.server.close());
    const ended = async (client) => {
      await line(client, /^no connection: token_invalid/);
      await within(client.exited, `the end of the sample; it said:\n${client.tail()}`, 20_000);
      assert.equal(client.lines.filter((text) => /token_/.test(text)).length, 1, client.tail());
    };
    // Before the server, so that the refusal comes at a later attempt.
    const early = start(language, demo, api.url);
    t.after(() => early.child.kill("SIGKILL"));
    await line(early, /^no connection: /);
    await demo.start();
    await ended(early);

    const client = start(language, demo, api.url);
    t.after(() => client.child.kill("SIGKILL"));
    await ended(client);

    // A reconnect is refused, too.
    api.foreign = false;
    const late = start(language, demo, api.url);
    t.after(() => late.child.kill("SIGKILL"));
    await line(late, /^on the air: /);
    api.foreign = true;
    await demo.restart();
    await ended(late);
  });
}

/** An API that hands out the demo's tokens, or those of a foreign issuer. */
async function issuer(demo) {
  const api = { foreign: true };
  api.server = createServer(async (_request, response) => {
    const answer = await fetch(`${demo.url}/demo/people.json`);
    const [dana] = await answer.json();
    if (api.foreign) dana.token = sign(claims());
    response.end(JSON.stringify([dana]));
  }).listen(0, "127.0.0.1");
  await once(api.server, "listening");
  api.url = `http://127.0.0.1:${api.server.address().port}/people`;
  return api;
}
