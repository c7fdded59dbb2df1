// Events: a bounded store, shown newest first, once per frame. What is being read keeps its place and its focus.

import { clearCounts, count, family, only, onOnly, showCounts } from "./qa-counts.js";
import { byId, button, clock, element, milliseconds, session, shortCursor, toMs, view } from "./qa-parts.js";
import { command } from "./qa-rooms.js";

const MOST_ROWS = 500;

const list = byId("events");
const kept = []; // oldest first; each { event, args, cursor, at, family, stamp, text, row }
let waiting = []; // taken, not yet shown
let paused = false;
let frame;
let current; // the row that Tab leads to
let newer = 0; // rows above what is being read

// ---- Catching up after a resume ----

const catchingUp = { active: false, count: 0, until: 0, away: "" };

/** After a welcome: records from before `until` (the server's time) were caught up, if the connection was resumed. */
export function startCatchingUp(resumed, until, away) {
  Object.assign(catchingUp, { active: resumed, count: 0, until, away });
  byId("caught-up").textContent = "0";
  byId("recovery").hidden = !resumed;
  showRecovery();
}

export function stopCatchingUp() {
  catchingUp.active = false;
  byId("recovery").hidden = true;
}

function showRecovery() {
  const { count, away } = catchingUp;
  byId("recovery").textContent = `Resumed${away}: ${count} ${count === 1 ? "event" : "events"} caught up.`;
}

// ---- Take and show ----

export function take(event, args, cursor) {
  const record = { event, args, cursor, at: Date.now(), family: family(event) };
  const body = typeof args[0] === "object" ? args[0] : undefined;
  record.stamp = toMs(body?.timestamp);
  const routed = record.family !== "protocol";
  if (routed) {
    if (catchingUp.active && record.stamp < catchingUp.until) {
      record.caught = true;
      catchingUp.count += 1;
    } else {
      catchingUp.active = false;
    }
  }
  count(event, routed);
  waiting.push(record);
  if (waiting.length > MOST_ROWS) waiting.shift();
  frame ??= requestAnimationFrame(show);
}

function show() {
  frame = undefined;
  showCounts();
  if (session.cursor) {
    byId("cursor").textContent = shortCursor(session.cursor);
    byId("cursor").title = session.cursor;
  }
  if (catchingUp.count && !byId("recovery").hidden) showRecovery();
  byId("caught-up").textContent = String(catchingUp.count);
  if (!paused && waiting.length) {
    keepingPlace(() => {
      const rows = waiting.map(makeRow);
      waiting = [];
      list.prepend(...rows.toReversed());
      while (kept.length > MOST_ROWS) evict();
      return rows.filter((row) => !row.hidden).length;
    });
    byId("empty").hidden = true;
  }
  showShown();
}

/**
 * Changes the list. The row that is being read stays where it is on the screen: the first expanded one in sight, else the focused
 * one, else, when the list is scrolled, the first one in sight. `change` returns how many rows it put on top.
 */
function keepingPlace(change) {
  const box = list.getBoundingClientRect();
  const inSight = (row) => {
    const { top, bottom } = row.getBoundingClientRect();
    return !row.hidden && bottom > box.top && top < box.bottom;
  };
  const rows = [...list.children];
  const open = rows.find((row) => row.classList.contains("open") && inSight(row));
  const focused = list.contains(document.activeElement) ? document.activeElement.closest("li") : undefined;
  const anchor = open ?? focused ?? (list.scrollTop > 0 ? rows.find(inSight) : undefined);
  const before = anchor?.getBoundingClientRect().top;
  const added = change();
  if (anchor?.isConnected && !anchor.hidden) {
    list.scrollTop += anchor.getBoundingClientRect().top - before;
    newer += added;
  }
  if (!focused) setCurrent([...list.children].find((row) => !row.hidden));
  showNewer();
}

function showNewer() {
  if (list.scrollTop < 2) newer = 0;
  byId("newer").hidden = newer === 0;
  byId("newer").textContent = `${newer} newer ↑`;
}

/** The oldest, but not what is being read. */
function evict() {
  const isRead = ({ row }) => row.classList.contains("open") || row.contains(document.activeElement);
  const index = kept.findIndex((record) => !isRead(record));
  const [{ row }] = kept.splice(Math.max(index, 0), 1);
  row.remove();
}

function makeRow(record) {
  const { event, args, family: kind } = record;
  const body = typeof args[0] === "object" && args[0] !== null ? args[0] : {};
  const data = typeof body.data === "object" && body.data !== null ? body.data : body;
  const item = element("li", { data: { event, family: kind } });
  if (record.caught) item.classList.add("caught");
  const ids = roomIds(data);
  const time = element("time", { text: clock(record.at) });
  time.append(element("span", { class: "ms", text: milliseconds(record.at) }));
  const what = element("span", { class: "what" });
  what.append(element("span", { class: "say", text: summary(data) }));
  what.append(element("span", { class: "ids", text: ids.join(" · ") }));
  const row = element("button", { class: "row", type: "button" });
  row.setAttribute("aria-expanded", "false");
  row.tabIndex = -1;
  row.append(
    time,
    element("span", { class: "name", text: event, title: event }),
    what,
    element("span", { class: "cur", text: record.cursor ? shortCursor(record.cursor) : "", title: record.cursor ?? "" }),
  );
  row.addEventListener("click", () => expand(item, !item.classList.contains("open")));
  item.append(row);
  record.row = item;
  item.record = record;
  record.text = `${event} ${JSON.stringify(args)}`.toLowerCase();
  item.hidden = !matches(record);
  kept.push(record);
  return item;
}

/** Shows or hides what a row stands for. */
function expand(item, open) {
  item.classList.toggle("open", open);
  item.querySelector(".row").setAttribute("aria-expanded", String(open));
  if (open) item.append(detail(item.record));
  else item.querySelector(".detail")?.remove();
  setCurrent(item);
}

function detail(record) {
  const box = element("div", { class: "detail" });
  const delay = record.stamp ? `, ${record.at - record.stamp} ms after the record's timestamp` : "";
  box.append(element("p", { text: `Received ${clock(record.at)}${milliseconds(record.at)}${delay}.` }));
  const joins = element("div", { class: "joins" });
  for (const id of roomIds(record.args[0]?.data ?? record.args[0] ?? {})) {
    if (!id.startsWith("user:") && !session.rooms.has(id)) joins.append(button(`Join ${id}`, () => command("subscribe", id)));
  }
  if (joins.children.length) box.append(joins);
  const payload = record.args.filter((arg) => arg !== record.cursor);
  box.append(element("pre", { text: payload.map((arg) => JSON.stringify(arg, null, 2)).join("\n") }));
  if (record.cursor) {
    const line = element("p", { text: "Cursor " });
    line.append(element("span", { class: "full", text: record.cursor }));
    box.append(line);
  }
  return box;
}

function roomIds(data) {
  const fields = [["channel", "channel_id"], ["incident", "incident_id"], ["asset", "asset_id"], ["user", "assigned_to"]];
  return fields
    .filter(([, field]) => ["string", "number"].includes(typeof data[field]))
    .map(([kind, field]) => `${kind}:${data[field]}`);
}

/** The part of a payload that a person would read first. */
function summary(data) {
  const change = data.from && data.to ? `${data.from} → ${data.to}` : undefined;
  const drive = data.street === undefined ? undefined : `${data.street}, ${data.speed_kmh ?? "?"} km/h`;
  const tags = Array.isArray(data.tags) ? data.tags.join(", ") : undefined;
  const spoken = data.duration_ms === undefined ? undefined : `${(data.duration_ms / 1000).toFixed(1)} s on air`;
  const speaker = typeof data.call_sign === "string" ? data.call_sign : undefined;
  const opened = data.channel_name === undefined ? undefined : `on ${data.channel_name}`;
  const main = data.text ?? data.message ?? data.outcome ?? data.note ?? change ?? data.title ?? tags ?? drive ?? spoken ?? opened ?? data.reason ?? data.resume;
  const parts = [data.text || data.message ? undefined : speaker, main].filter((part) => typeof part === "string");
  return parts.join(": ");
}

// ---- Filter, pause, clear ----

function matches(record) {
  const wanted = byId("filter").value.trim().toLowerCase();
  return (!only || record.event === only) && (!wanted || record.text.includes(wanted));
}

function refilter() {
  keepingPlace(() => {
    for (const record of kept) record.row.hidden = !matches(record);
    return 0;
  });
  showCounts();
  showShown();
}

function showShown() {
  const visible = kept.reduce((sum, record) => sum + (record.row.hidden ? 0 : 1), 0);
  const held = paused && waiting.length ? `, ${waiting.length}${waiting.length === MOST_ROWS ? "+" : ""} waiting` : "";
  byId("shown").textContent = `${visible === kept.length ? visible : `${visible} of ${kept.length}`}${held}`;
}

export function clear() {
  for (const record of kept.splice(0)) record.row.remove();
  waiting = [];
  catchingUp.count = 0;
  newer = 0;
  current = undefined;
  clearCounts();
  byId("empty").hidden = false;
  showNewer();
  show();
}

byId("clear").addEventListener("click", clear);
byId("filter").addEventListener("input", refilter);
onOnly(refilter);
byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  byId("pause").textContent = paused ? "Paused" : "Pause";
  show();
});

// ---- Keyboard: one tab stop, arrows within, Escape, "/" ----

/** Tab leads to this row, and from there to what it shows. */
function setCurrent(item) {
  if (current && current !== item) tabStops(current, -1);
  current = item;
  if (item) tabStops(item, 0);
}

function tabStops(item, index) {
  for (const it of item.querySelectorAll("button")) it.tabIndex = index;
}

function focusRow(item) {
  if (!item) return;
  setCurrent(item);
  item.querySelector(".row").focus();
}

const visibleRows = () => [...list.children].filter((row) => !row.hidden);

const STEPS = {
  ArrowDown: (rows, at) => rows[at + 1],
  ArrowUp: (rows, at) => rows[at - 1],
  PageDown: (rows, at) => rows[Math.min(at + 10, rows.length - 1)],
  PageUp: (rows, at) => rows[Math.max(at - 10, 0)],
  Home: (rows) => rows[0],
  End: (rows) => rows.at(-1),
};

list.addEventListener("keydown", (event) => {
  const step = STEPS[event.key];
  const item = event.target.closest("li");
  if (step) {
    const rows = visibleRows();
    focusRow(item ? step(rows, rows.indexOf(item)) : rows[0]);
    event.preventDefault();
  }
});
list.addEventListener("focusin", (event) => setCurrent(event.target.closest("li") ?? current));
list.addEventListener("scroll", showNewer, { passive: true });

// The focus goes to the list and not to a row: that row would keep its place, and newer ones would be out of sight again.
list.tabIndex = -1;
byId("newer").addEventListener("click", () => {
  list.scrollTop = 0;
  list.focus();
  showNewer();
});

/** Closes what is open nearest to the focus. */
function escape() {
  const item = list.contains(document.activeElement) ? document.activeElement.closest("li") : undefined;
  if (document.activeElement === byId("filter") && byId("filter").value) {
    byId("filter").value = "";
    refilter();
  } else if (item?.classList.contains("open")) {
    expand(item, false);
    focusRow(item);
  } else if (list.querySelector(".open")) {
    for (const open of list.querySelectorAll(".open")) expand(open, false);
  } else {
    byId("resync").hidden = true;
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") escape();
  if (event.key === "/" && !event.target.closest("input, textarea, select")) {
    view("events");
    byId("filter").focus();
    byId("filter").select();
    event.preventDefault();
  }
});
