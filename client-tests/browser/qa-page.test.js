// The QA page of `fleetcast demo` in Chromium, as a tester meets it.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { binary, Process } from "../js/harness/process.js";
import { listening } from "../js/harness/server.js";
import { eventually } from "../js/harness/wait.js";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
// Only who asks for it goes without: a browser that is missing must not look like a page that was tested.
const skip = process.env.FLEETCAST_NO_BROWSER === "1" && "FLEETCAST_NO_BROWSER=1";
const PICTURES = fileURLToPath(new URL("../../target/browser/", import.meta.url));

let demo, url, browser, page;
const errors = [];

before(async () => {
  if (skip) return;
  assert.ok(
    existsSync(CHROMIUM),
    `${CHROMIUM} is not there: make setup installs it, CHROMIUM names another, FLEETCAST_NO_BROWSER=1 goes without`,
  );
  // The one bare setting: the port. Everything else has to come with the demo.
  demo = new Process(binary("fleetcast"), ["demo"], {
    PATH: process.env.PATH,
    PORT: "0",
    INTERNAL_PORT: "0",
    LOG_FORMAT: "json",
  });
  url = `http://${(await demo.line(listening, "its log line `listening`")).open}`;
  await eventually(async () => (await fetch(`${url}/ready`)).status === 200, "200 from /ready");
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox", // root in a container has none
      "--disable-dev-shm-usage",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--no-first-run",
    ],
  });
  page = await browser.newPage();
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
});

after(async () => {
  if (page) {
    await mkdir(PICTURES, { recursive: true });
    await page.screenshot({ path: `${PICTURES}/qa-page.png` });
  }
  await browser?.close();
  if (demo) await demo.stop("SIGTERM", 15_000);
});

/** Rows of routed events, newest first. */
const ROUTED = '#events li:not([data-family="protocol"])';

test("s4_32_the_page_offers_people_and_shows_an_event_within_5_s", { skip }, async () => {
  await page.goto(url);
  await page.waitForFunction(() => document.querySelectorAll("#person option").length >= 5);
  await page.selectOption("#person", { index: 0 });
  const asked = performance.now();
  await page.click("#connect");
  await page.waitForSelector('#status[data-state="on"]', { timeout: 5_000 });
  await page.waitForSelector(ROUTED, { timeout: 5_000 });
  assert.ok(performance.now() - asked < 5_000);
});

test("s4_32_a_room_can_be_joined_and_left", { skip }, async () => {
  const room = await page.getAttribute("#suggested button:visible", "data-room");
  await page.fill("#room", room);
  await page.click("#join");
  await page.waitForSelector(`#rooms li[data-room="${room}"]`);
  assert.match(await page.textContent("#ack-short"), /success/);
});

test("the_newest_of_a_whole_kind_come_first", { skip }, async () => {
  await page.fill("#room", "asset:*");
  await page.check("#room-latest");
  await page.click("#join");
  await page.waitForSelector('#rooms li[data-room="asset:*"]');
  const answer = JSON.parse(await page.textContent("#ack"));
  assert.ok(answer.data.latest > 0, JSON.stringify(answer));
  const told = `subscribe asset:*: success, latest: ${answer.data.latest}`;
  assert.equal(await page.textContent("#log li:first-child span"), told);
  const lines = await page.locator(".tick span").evaluate((it) => it.getClientRects().length);
  assert.equal(lines, 1, "the words beside the tick stand on one line");
});

test("the_tick_holds_for_suggestions_too", { skip }, async () => {
  const room = await page.getAttribute("#suggested button:visible", "data-room");
  await page.click(`#suggested button[data-room="${room}"]`);
  await page.waitForSelector(`#rooms li[data-room="${room}"]`);
  const answer = JSON.parse(await page.textContent("#ack"));
  assert.equal(typeof answer.data.latest, "number", JSON.stringify(answer));
  await page.uncheck("#room-latest");
});

test("a_refusal_is_shown_with_its_message", { skip }, async () => {
  await page.fill("#room", "channel:a b");
  await page.click("#join");
  await page.waitForSelector('#ack-short[data-ok="false"]');
  const { message } = JSON.parse(await page.textContent("#ack"));
  assert.ok(message.length > 0);
  const told = `subscribe channel:a b: bad_request, ${message}`;
  assert.equal(await page.textContent("#ack-short"), told);
});

test("s4_32_a_cut_connection_is_resumed", { skip }, async () => {
  const connection = await page.textContent("#connection-id");
  const held = await page.locator("#rooms li").count();
  await page.click("#cut");
  await page.waitForFunction(
    (old) => document.querySelector("#connection-id").textContent !== old,
    connection,
    { timeout: 10_000 },
  );
  assert.match(await page.textContent("#resume"), /^resumed/);
  assert.equal(await page.locator("#rooms li").count(), held);
  assert.equal(await page.isVisible("#resync"), false);
  const total = Number(await page.textContent("#total"));
  await page.waitForFunction(
    (before) => Number(document.querySelector("#total").textContent) > before,
    total,
    { timeout: 10_000 },
  );
});

test("s4_32_the_page_is_usable_on_a_phone", { skip }, async () => {
  await page.setViewportSize({ width: 375, height: 700 });
  const overflow = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  assert.ok(overflow <= 0, `${overflow} px wider than the screen`);
});

test("s4_32_the_page_reports_no_error", { skip }, () => {
  assert.deepEqual(errors, []);
});
