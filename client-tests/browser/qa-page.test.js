// The QA page of `fleetcast demo` in Chromium, as a tester meets it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { openBrowser, openPage, picture, ROUTED, skip, startServer } from "./page.js";

let demo, url, browser, page, errors;

before(async () => {
  if (skip) return;
  demo = await startServer("demo");
  url = demo.url;
  browser = await openBrowser();
  ({ page, errors } = await openPage(browser, url));
});

after(async () => {
  if (page) await picture(page, "qa-page");
  await browser?.close();
  if (demo) await demo.stop("SIGTERM", 15_000);
});

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
