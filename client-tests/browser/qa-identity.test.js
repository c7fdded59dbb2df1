// Who looks at the QA page: other people, other organisations, other tokens, a server that is restarted, one that is no demo.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join as path } from "node:path";
import { after, before, test } from "node:test";

import { Broker } from "../js/harness/broker.js";
import { toAll } from "../js/harness/records.js";
import { SECRET, token } from "../js/harness/tokens.js";
import { freePort } from "../readme/blocks.js";
import { connectAs, join, openBrowser, openPage } from "./page.js";
import { picture, ROUTED, skip, startServer } from "./page.js";

let browser, home, port;

before(async () => {
  if (skip) return;
  browser = await openBrowser();
  home = mkdtempSync(path(tmpdir(), "fleetcast-home-"));
  port = await freePort();
});
after(async () => {
  await browser?.close();
  if (home) rmSync(home, { recursive: true });
});

const startDemo = () => startServer("demo", { HOME: home, PORT: String(port), DRAIN_SECONDS: "0" });

test("rows_of_another_person_and_organisation_are_removed", { skip }, async (t) => {
  const demo = await startDemo();
  t.after(() => demo.stop());
  const { page, errors } = await openPage(browser, demo.url);
  await connectAs(page, 0);
  await join(page, "asset:*");
  await page.waitForSelector('#events li[data-event="asset_position_updated"]');
  // The same person again: the rows stay, and the connection is resumed.
  await page.click("#disconnect");
  const held = await page.locator(ROUTED).count();
  await page.click("#connect");
  await page.waitForFunction(() => /^resumed/.test(document.querySelector("#resume").textContent));
  assert.ok((await page.locator(ROUTED).count()) >= held);
  await page.click("#disconnect");
  await page.selectOption("#person", { index: 4 });
  await page.click("#connect");
  await page.waitForFunction(
    () => document.querySelector("#organisation").textContent === "harbor",
  );
  await page.waitForSelector(ROUTED, { timeout: 20_000 });
  const organisations = await page.$$eval("#events li", (rows) => [
    ...new Set(rows.map(({ record }) => record.args[0]?.organization_id).filter(Boolean)),
  ]);
  assert.deepEqual(organisations, ["harbor"]);
  assert.equal(await page.textContent("#resume"), "fresh");
  assert.deepEqual(errors, []);
  await page.close();
});

test("a_wrong_token_is_refused_with_its_reason", { skip }, async (t) => {
  const demo = await startDemo();
  t.after(() => demo.stop());
  const { page } = await openPage(browser, demo.url);
  await connectAs(page, 0);
  await page.click("#disconnect");
  await page.selectOption("#person", { label: "Another token…" });
  for (const [pasted, status] of [
    ["not a token", "Refused: token_invalid"],
    [token({ exp: 1 }), "Refused: token_expired"],
    ["", "A token is needed"],
  ]) {
    await page.fill("#token", pasted);
    await page.click("#connect");
    await page.waitForFunction(
      (text) => document.querySelector("#status").textContent === text,
      status,
    );
    assert.equal(await page.getAttribute("#status", "data-state"), "refused");
    assert.equal(await page.locator("#events li").count(), 0, "no rows of the person before");
    assert.ok(await page.isEnabled("#connect"));
  }
  await picture(page, "refused-1440");
  await page.close();
});

test("the_page_goes_on_after_a_restart_of_the_demo", { skip }, async (t) => {
  let demo = await startDemo();
  t.after(() => demo.stop());
  const { page } = await openPage(browser, demo.url);
  await connectAs(page, 0);
  await join(page, "channel:dispatch");
  await demo.stop();
  await page.waitForSelector('#status[data-state="wait"]');
  demo = await startDemo();
  await page.waitForSelector('#status[data-state="on"]', { timeout: 30_000 });
  await page.waitForFunction(() =>
    /^(resync|resumed)/.test(document.querySelector("#resume").textContent),
  );
  assert.ok(await page.isVisible('#rooms li[data-room="channel:dispatch"]'));
  await picture(page, "resync-1440");
  await page.close();
});

test(
  "the_page_of_a_server_without_demo_asks_for_a_token_and_nothing_absent",
  { skip },
  async (t) => {
    const broker = await Broker.open();
    t.after(() => broker.close());
    const server = await startServer("serve", {
      HOST: "127.0.0.1",
      QA_PAGE: "true",
      JWT_SECRET: SECRET,
      KAFKA_BOOTSTRAP_SERVERS: broker.address,
      KAFKA_TOPIC_PREFIX: broker.prefix,
      DRAIN_SECONDS: "0",
    });
    t.after(() => server.stop());
    const { page, errors } = await openPage(browser, server.url);
    const missing = [];
    page.on("response", (answer) => answer.status() >= 400 && missing.push(answer.url()));
    await page.reload();
    assert.equal(await page.isVisible("#person-field"), false);
    await page.fill("#token", token());
    await page.click("#connect");
    await page.waitForSelector('#status[data-state="on"]');
    await broker.produce("incident", toAll(1));
    await page.waitForSelector(ROUTED);
    // A newer token of the same user goes on where the old one was.
    await page.click("#disconnect");
    await page.fill("#token", token({ jti: "newer" }));
    await page.click("#connect");
    await page.waitForFunction(() =>
      /^resumed/.test(document.querySelector("#resume").textContent),
    );
    assert.equal(await page.locator(ROUTED).count(), 1);
    // One of another organisation does not.
    await page.click("#disconnect");
    await page.fill("#token", token({ organization_id: "o2" }));
    await page.click("#connect");
    await page.waitForFunction(() => document.querySelector("#organisation").textContent === "o2");
    assert.equal(await page.locator(ROUTED).count(), 0);
    assert.deepEqual([...errors, ...missing], []);
    await page.close();
  },
);
