// How many events of each name came, and how many a second.

import { byId, button, element } from "./qa-parts.js";

const counts = new Map(); // event -> { count, button, number }
let total = 0;
let lastSeconds = []; // when the routed events of the last 5 s came
let changed = () => {};
/** Show this event only. */
export let only;

/** `refilter` is called when another event is chosen. */
export function onOnly(refilter) {
  changed = refilter;
}

export function count(event, routed) {
  const entry = counts.get(event) ?? { count: 0 };
  entry.count += 1;
  counts.set(event, entry);
  if (!routed) return;
  total += 1;
  lastSeconds.push(Date.now());
}

export function showCounts() {
  byId("total").textContent = String(total);
  let added = false;
  for (const [event, entry] of counts) {
    if (!entry.button) {
      addButton(event, entry);
      added = true;
    }
    entry.number.textContent = String(entry.count);
    entry.button.setAttribute("aria-pressed", String(only === event));
  }
  if (!added) return;
  const sorted = [...counts].sort(([a], [b]) => place(a) - place(b) || a.localeCompare(b));
  const focused = document.activeElement;
  byId("counts").replaceChildren(
    ...sorted.map(([, entry]) => {
      const item = element("li");
      item.append(entry.button);
      return item;
    }),
  );
  if (focused?.closest?.("#counts")) focused.focus();
}

function addButton(event, entry) {
  entry.button = button("", () => {
    only = only === event ? undefined : event;
    changed();
  });
  entry.button.dataset.event = event;
  entry.button.dataset.family = family(event);
  entry.number = element("b");
  entry.button.append(element("span", { class: "bullet", text: event, title: event }), entry.number);
}

export function clearCounts() {
  counts.clear();
  byId("counts").replaceChildren();
  total = 0;
  only = undefined;
  lastSeconds = [];
}

export function family(event) {
  const first = event.split("_")[0];
  if (first === "transcription") return "transmission";
  return ["transmission", "incident", "task", "asset", "alert"].includes(first) ? first : foreignFamily(event);
}

/** Events of other profiles count as events; those of the protocol itself do not. */
function foreignFamily(event) {
  const protocol = ["connection_established", "cursor", "resync_required", "stale", "auth_expiring", "room_granted", "room_revoked", "error"];
  return protocol.includes(event) ? "protocol" : "other";
}

/** Families together, each in the order of an object's life; the protocol's own events last. */
function place(event) {
  const families = ["transmission", "incident", "task", "asset", "alert", "other", "protocol"];
  const steps = ["started", "created", "assigned", "completed", "updated", "tagged", "changed", "acknowledged"];
  const step = event === "transcription_completed" ? 4 : steps.findIndex((name) => event.endsWith(name));
  return families.indexOf(family(event)) * 10 + step;
}

setInterval(() => {
  const since = Date.now() - 5000;
  lastSeconds = lastSeconds.filter((at) => at > since);
  byId("rate").textContent = (lastSeconds.length / 5).toFixed(1);
}, 500);
