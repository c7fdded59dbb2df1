// A server with the QA page, and Chromium in front of it.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { binary, Process } from "../js/harness/process.js";
import { listening } from "../js/harness/server.js";
import { eventually } from "../js/harness/wait.js";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
/** Only a caller that asks for it goes without: a missing browser must not look like a page that was tested. */
export const skip = process.env.FLEETCAST_NO_BROWSER === "1" && "FLEETCAST_NO_BROWSER=1";
const PICTURES = fileURLToPath(new URL("../../target/browser/", import.meta.url));

/** Rows of routed events, newest first. */
export const ROUTED = '#events li:not([data-family="protocol"])';

/** Starts `fleetcast demo` or `serve`; the settings that are needed come with the test, or with the demo. */
export async function startServer(command, settings = {}) {
  const server = new Process(binary("fleetcast"), [command], {
    PATH: process.env.PATH,
    PORT: "0",
    INTERNAL_PORT: "0",
    LOG_FORMAT: "json",
    ...settings,
  });
  const { open, internal } = await server.line(listening, "its log line `listening`");
  server.url = `http://${open}`;
  server.internal = `http://${internal}`;
  await eventually(
    async () => (await fetch(`${server.url}/ready`)).status === 200,
    "200 from /ready",
  );
  return server;
}

/** `args`: more of Chromium's own. */
export async function openBrowser(args = []) {
  assert.ok(
    existsSync(CHROMIUM),
    `${CHROMIUM} is not there: make setup installs it, CHROMIUM names another, FLEETCAST_NO_BROWSER=1 goes without`,
  );
  return await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox", // root in a container has none
      "--disable-dev-shm-usage",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--no-first-run",
      ...args,
    ],
  });
}

/** A page at this address, and the errors that its console shows. */
export async function openPage(browser, url, size = { width: 1440, height: 900 }) {
  const page = await browser.newPage({ viewport: size });
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(url);
  return { page, errors };
}

/** Connects as the person of this index in the demo, and waits for an event. */
export async function connectAs(page, index) {
  await page.waitForFunction(() => document.querySelectorAll("#person option").length >= 5);
  await page.selectOption("#person", { index });
  await page.click("#connect");
  await page.waitForSelector('#status[data-state="on"]', { timeout: 5_000 });
  await page.waitForSelector(ROUTED, { timeout: 10_000 });
}

export async function join(page, ...rooms) {
  for (const room of rooms) {
    await page.fill("#room", room);
    await page.click("#join");
    await page.waitForSelector(`#rooms li[data-room="${room}"]`);
  }
}

export async function picture(page, name) {
  await mkdir(PICTURES, { recursive: true });
  await page.screenshot({ path: `${PICTURES}/${name}.png` });
}

/** Waits until so many more events have come. */
export async function moreEvents(page, count) {
  const total = Number(await page.textContent("#total"));
  await page.waitForFunction(
    (wanted) => Number(document.querySelector("#total").textContent) >= wanted,
    total + count,
    { timeout: 20_000 },
  );
}
