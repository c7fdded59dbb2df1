// H4: what pages in a browser on the same machine can send to the internal listener, and that it does nothing.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { connectAs, openBrowser, openPage, skip, startServer } from "./page.js";

const FOREIGN = "evil.example";

let demo, foreign, site, browser, victim, target, body;

before(async () => {
  if (skip) return;
  demo = await startServer("demo");
  // A page of a name that resolves to this machine: Chromium itself then keeps nothing from it.
  foreign = createServer((_, response) => {
    response.setHeader("Content-Type", "text/html");
    response.end("<!doctype html><title>foreign</title>");
  });
  foreign.listen(0, "127.0.0.1");
  await once(foreign, "listening");
  site = `http://${FOREIGN}:${foreign.address().port}/`;
  browser = await openBrowser([`--host-resolver-rules=MAP ${FOREIGN} 127.0.0.1`]);
  ({ page: victim } = await openPage(browser, demo.url));
  await connectAs(victim, 0);
  const { connections } = await (await fetch(`${demo.internal}/api/connections`)).json();
  const [{ user_id, organization_id }] = connections;
  target = `/api/users/${encodeURIComponent(user_id)}/disconnect`;
  body = JSON.stringify({ organization_id, reconnect: false });
});

after(async () => {
  await browser?.close();
  foreign?.close();
  if (demo) await demo.stop("SIGTERM", 15_000);
});

async function refused(reason) {
  const text = await (await fetch(`${demo.internal}/metrics`)).text();
  const series = `fleetcast_refused_total{reason="${reason}"} `;
  const line = text.split("\n").find((line) => line.startsWith(series));
  return Number(line.slice(series.length));
}

/** What the page did was refused once for this reason, and the connection is there. */
async function refusedOnce(reason, act) {
  const before = await refused(reason);
  const done = await act();
  assert.equal(await refused(reason), before + 1, reason);
  const { connections } = await (await fetch(`${demo.internal}/api/connections`)).json();
  assert.equal(connections.length, 1);
  return done;
}

test("h4_a_form_of_a_foreign_page_is_refused", { skip }, async () => {
  const { page } = await openPage(browser, site);
  // As plain text a form sends `name=value`: the `=` goes into a member of JSON.
  const fields = {
    action: demo.internal + target,
    name: `${body.slice(0, -1)},"x":"`,
    value: '"}',
  };
  const response = await refusedOnce("api_origin", async () => {
    const [response] = await Promise.all([
      page.waitForNavigation(),
      page.evaluate(({ action, name, value }) => {
        const form = document.createElement("form");
        Object.assign(form, { method: "POST", enctype: "text/plain", action });
        form.append(Object.assign(document.createElement("input"), { name, value }));
        document.body.append(form);
        form.submit();
      }, fields),
    ]);
    return response;
  });
  assert.equal(response.status(), 403);
  assert.equal((await response.json()).code, "origin");
  await page.close();
});

test("h4_a_fetch_without_cors_of_a_foreign_page_is_refused", { skip }, async () => {
  const { page } = await openPage(browser, site);
  for (const request of [{ method: "POST", body, path: target }, { path: "/api/connections" }]) {
    const read = await refusedOnce("api_origin", () =>
      page.evaluate(
        async ([url, request]) => {
          const answer = await fetch(url, { mode: "no-cors", ...request }).catch(() => undefined);
          return answer && (await answer.text());
        },
        [demo.internal + request.path, request],
      ),
    );
    assert.ok(!read, "the page sees nothing of the answer");
  }
  await page.close();
});

test("h4_a_name_that_resolves_to_loopback_is_refused", { skip }, async () => {
  const rebound = `http://${FOREIGN}:${new URL(demo.internal).port}`;
  const page = await browser.newPage();
  const first = await refusedOnce("api_host", () => page.goto(`${rebound}/api/connections`));
  assert.equal(first.status(), 403);
  assert.equal((await first.json()).code, "host");
  // To the browser it is the page's own origin now.
  const read = await refusedOnce("api_host", () =>
    page.evaluate(async () => (await fetch("/api/connections")).json()),
  );
  assert.equal(read.code, "host");
  const json = { "Content-Type": "application/json" };
  const request = { method: "POST", headers: json, body };
  const posted = await page.evaluate(
    async ([url, request]) => (await fetch(url, request)).status,
    [target, request],
  );
  assert.equal(posted, 403);
  await page.close();
});
