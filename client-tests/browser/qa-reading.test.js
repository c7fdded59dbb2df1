// Reading events on the QA page: what is read stays in place, at every width, by mouse and by keyboard.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { connectAs, join, moreEvents, openBrowser, openPage } from "./page.js";
import { picture, ROUTED, skip, startServer } from "./page.js";

let demo, browser, page, errors;

before(async () => {
  if (skip) return;
  demo = await startServer("demo");
  browser = await openBrowser();
  ({ page, errors } = await openPage(browser, demo.url));
  await connectAs(page, 0);
  await join(page, "asset:*", "channel:*", "incident:*");
  await moreEvents(page, 30);
});
after(async () => {
  await browser?.close();
  if (demo) await demo.stop("SIGTERM", 15_000);
});

const top = (element) => element.evaluate((it) => it.getBoundingClientRect().top);
const focusedEvent = () =>
  page.evaluate(() => document.activeElement.closest("#events li")?.textContent);

test("an_expanded_row_stays_where_it_is_when_events_come", { skip }, async () => {
  const row = await page.waitForSelector(`${ROUTED}:nth-of-type(4)`);
  await row.$eval(".row", (it) => it.click());
  const before = await top(row);
  await moreEvents(page, 15);
  assert.ok(Math.abs((await top(row)) - before) <= 1, `from ${before} to ${await top(row)}`);
  assert.match(await page.textContent("#newer"), /^\d+ newer ↑$/);
  await picture(page, "expanded-1440");

  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#events .detail").count(), 0, "Escape collapses it");
  await page.click("#newer");
  assert.equal(await page.isVisible("#newer"), false);
  await moreEvents(page, 5);
  assert.equal(await page.$eval("#events", (it) => it.scrollTop), 0);
  assert.equal(await page.isVisible("#newer"), false, "the newest stay in sight");
  await page.keyboard.press("ArrowDown");
  assert.ok(await focusedEvent(), "an arrow leads into the list");
});

test("the_list_is_one_tab_stop_and_keeps_its_focus", { skip }, async () => {
  await page.focus("#clear");
  await page.keyboard.press("Tab");
  const first = await focusedEvent();
  assert.ok(first, "Tab leads from the bar into the list");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  const third = await focusedEvent();
  assert.notEqual(third, first);
  await moreEvents(page, 15);
  assert.equal(await focusedEvent(), third, "the focus stays when events come");
  assert.equal(await page.locator("#events .row[tabindex='0']").count(), 1);

  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#events .detail").count(), 1);
  await moreEvents(page, 5);
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#events .detail").count(), 0);
  assert.equal(await focusedEvent(), third);

  await page.keyboard.press("End");
  assert.notEqual(await focusedEvent(), third);
  await page.keyboard.press("Tab");
  const left = await page.evaluate(() => !document.activeElement.closest("#events"));
  assert.ok(left, "one more Tab leaves the list");
});

test("a_slash_leads_to_the_filter_and_escape_clears_it", { skip }, async () => {
  await page.focus("#clear");
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "filter");
  await page.keyboard.type("asset_position/");
  assert.equal(await page.inputValue("#filter"), "asset_position/", "there it is a character");
  await page.keyboard.press("Escape");
  assert.equal(await page.inputValue("#filter"), "");
  assert.equal(await page.locator("#events li[hidden]").count(), 0);
});

for (const width of [1440, 1280, 1121, 1000, 820, 761, 390, 320]) {
  test(`what_a_person_reads_is_cut_last_at_${width}_px`, { skip }, async () => {
    await page.setViewportSize({ width, height: 900 });
    if (width <= 760) await page.click('#views button[data-view="events"]');
    await moreEvents(page, 3);
    const found = await page.$$eval("#events li:not([hidden])", (rows) => {
      const cut = (it) =>
        it.scrollWidth > it.clientWidth + 1 || it.scrollHeight > it.clientHeight + 4;
      return rows.slice(0, 100).map((row) => {
        const [name, say, ids] = [".name", ".say", ".ids"].map((it) => row.querySelector(it));
        const shown = [".cur", ".ms"].filter((it) => row.querySelector(it).offsetWidth > 0);
        const texts = [name, say].filter(cut).map((it) => it.textContent);
        return { texts, ids: ids.textContent && ids.clientWidth, shown };
      });
    });
    assert.ok(found.length > 10);
    // No event's name is cut; a text only where the ids, the cursor and the milliseconds gave up their width.
    for (const { texts, ids, shown } of found.filter(({ texts }) => texts.length > 0)) {
      assert.ok(!texts.some((text) => /^\w+_\w+$/.test(text)), `${texts}`);
      assert.ok(
        (ids || 0) <= 1 && (shown.length === 0 || width > 1280),
        `${texts}: ${ids}, ${shown}`,
      );
    }
    const overflow = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    assert.ok(overflow <= 0, `${overflow} px wider than the screen`);
    await picture(page, `rows-${width}`);
  });
}

test("reading_reports_no_error", { skip }, () => assert.deepEqual(errors, []));
