// The QA page of Fleetcast. Everything that comes from the server is shown as text, never as markup.
"use strict";

const MOST_ROWS = 500;
const MOST_LOG = 60;
const byId = (id) => document.getElementById(id);

// ---- What a client needs to be resumed: these two, given back at each connect ----
const rooms = new Set(); // "channel:7", as acknowledged by the server
let cursor; // the last one seen; it starts with "v1."

let socket;
let people = [];
let identityKey; // whose rooms and cursor these are
let ownOrganisation;
let cutAt; // when the transport was last lost, for the time away
let welcomeAt = 0; // the server's time at the last welcome: what is older was caught up
let catchingUp = false;
let caughtUp = 0;
let cutTimer;

// ---- Connect, disconnect, cut ----

function connect() {
  const person = people[byId("person").value];
  const token = person ? person.token : byId("token").value.trim();
  if (!token) {
    setStatus("refused", "A token is needed");
    byId("token").focus();
    return;
  }
  if (identityKey !== token) forgetPosition();
  identityKey = token;
  socket?.disconnect();
  const spelling = byId("spelling").value;
  const options = {
    transports: byId("transports").value.split(","),
    path: spelling === "path" ? "/ws/socket.io" : "/socket.io",
    forceNew: true,
    auth: (give) => give({ token, cursor, rooms: [...rooms] }),
  };
  socket = io(spelling === "path" ? "/" : spelling, options);
  listen(socket);
  setStatus("wait", "Connecting…");
  log(`connecting as ${person ? person.name : "pasted token"}${cursor ? ", resuming from the cursor" : ""}`);
  lockForm(true);
}

function listen(it) {
  it.onAny((event, ...args) => {
    if (it !== socket) return;
    const acknowledge = args.at(-1);
    if (typeof acknowledge === "function") acknowledge({ status: "success" });
    args = args.filter((arg) => typeof arg !== "function");
    const own = args.find((arg) => typeof arg === "string" && arg.startsWith("v1."));
    cursor = own ?? cursor;
    take(event, args, own);
  });
  it.on("connect", () => {
    setStatus("on", "Connected");
    byId("cut").disabled = byId("join").disabled = byId("leave").disabled = false;
    showTransport();
    it.io.engine.on("upgrade", showTransport);
  });
  it.on("disconnect", (reason) => {
    if (it !== socket) return;
    cutAt = performance.now();
    byId("cut").disabled = byId("join").disabled = byId("leave").disabled = true;
    byId("transport").hidden = true;
    log(`disconnected: ${reason}`, reason === "io client disconnect" ? undefined : "bad");
    if (it.active) setStatus("wait", "Connection lost, coming back…");
    else if (!cutTimer) ended("Not connected");
  });
  it.on("connect_error", (error) => {
    if (it !== socket) return;
    log(`connect error: ${error.message}`, "bad");
    if (it.active) setStatus("wait", "No connection, trying again…");
    else ended(`Refused: ${error.message}`, "refused");
  });
  it.on("connection_established", welcome);
  it.on("resync_required", (body) => {
    const data = body?.data ?? {};
    const held = Array.isArray(data.rooms) && data.rooms.length ? ` Rooms: ${data.rooms.join(", ")}.` : "";
    byId("resync-text").textContent =
      `Events were missed that the server cannot give back (${data.reason ?? "no reason given"}). A real client reloads its data now.${held}`;
    byId("resync").hidden = false;
    byId("recovery").hidden = true;
    catchingUp = false;
    log(`resync required: ${data.reason ?? "no reason given"}`, "bad");
  });
  it.on("stale", (body) => {
    byId("stale").hidden = !body?.data?.stale;
    log(body?.data?.stale ? "data is stale" : "data is fresh again", body?.data?.stale ? "bad" : "good");
  });
  it.on("room_revoked", (body) => {
    const lost = (body?.data?.rooms ?? []).map(shortRoom);
    for (const room of lost) rooms.delete(room);
    showRooms([...byId("rooms").querySelectorAll("li")].map((item) => item.dataset.room).filter((name) => !lost.includes(name)));
    log(`room revoked: ${lost.join(", ")} (${body?.data?.reason ?? "no reason given"})`, "bad");
  });
  for (const name of ["error", "auth_expiring"]) {
    it.on(name, (body) => log(`${name}: ${JSON.stringify(body?.data ?? body)}`, "bad"));
  }
}

function welcome(body) {
  const data = body?.data ?? {};
  const away = cutAt === undefined ? undefined : (performance.now() - cutAt) / 1000;
  cutAt = undefined;
  ownOrganisation = data.organization_id;
  welcomeAt = toMs(data.server_time ?? body?.timestamp) || Date.now();
  catchingUp = data.resume === "resumed";
  caughtUp = 0;
  byId("caught-up").textContent = "0";
  byId("user").textContent = data.user_id ?? "–";
  byId("organisation").textContent = data.organization_id ?? "–";
  byId("roles").textContent = [data.roles ?? "–"].flat().join(", ") || "none";
  byId("connection-id").textContent = data.connection_id ?? "–";
  byId("resume").textContent = `${data.resume ?? "–"}${socket.recovered ? ", recovered" : ""}`;
  byId("window").textContent = data.window_seconds ? `${data.window_seconds} s` : "–";
  byId("who").textContent = `${data.user_id} · ${data.organization_id}`;
  byId("who").hidden = false;
  showRooms((data.rooms ?? []).map(shortRoom));
  log(`connected, ${data.resume ?? "fresh"}${away === undefined ? "" : ` after ${away.toFixed(1)} s`}`, "good");
  if (data.resume !== "resync") byId("resync").hidden = true;
  byId("recovery").hidden = !catchingUp;
  byId("recovery").dataset.away = away === undefined ? "" : ` after ${away.toFixed(1)} s away`;
  showRecovery();
}

function showRecovery() {
  const banner = byId("recovery");
  banner.textContent = `Resumed${banner.dataset.away ?? ""}: ${caughtUp} ${caughtUp === 1 ? "event" : "events"} caught up.`;
}

/** Closes the transport under the client, as a tunnel or a crash would. */
function cut() {
  const seconds = Number(byId("cut-for").value);
  const it = socket;
  log(seconds ? `transport cut for ${seconds} s` : "transport cut", "bad");
  if (seconds) {
    it.io.reconnection(false);
    cutTimer = setTimeout(() => {
      cutTimer = undefined;
      it.io.reconnection(true);
      it.connect();
    }, seconds * 1000);
  }
  it.io.engine.close();
  setStatus("wait", seconds ? `Cut, back in ${seconds} s…` : "Cut, coming back…");
}

function disconnect() {
  clearTimeout(cutTimer);
  cutTimer = undefined;
  socket?.io.reconnection(false);
  socket?.disconnect();
  ended("Not connected");
}

function ended(text, state = "off") {
  setStatus(state, text);
  lockForm(false);
  for (const id of ["recovery", "who", "stale"]) byId(id).hidden = true;
  for (const id of ["user", "organisation", "roles", "connection-id", "resume", "window"]) byId(id).textContent = "–";
  showRooms([...rooms]); // what the next connect asks for
}

function forgetPosition() {
  cursor = undefined;
  rooms.clear();
  byId("cursor").textContent = "–";
  byId("resync").hidden = true;
  cutAt = undefined;
  if (!socket?.connected) showRooms([]);
}

function lockForm(locked) {
  for (const id of ["connect", "person", "token", "transports", "spelling", "forget"]) byId(id).disabled = locked;
  byId("disconnect").disabled = !locked;
}

function setStatus(state, text) {
  byId("status").dataset.state = state;
  byId("status").textContent = text;
}

function showTransport() {
  byId("transport").textContent = socket.io.engine.transport.name;
  byId("transport").hidden = false;
}

// ---- Rooms ----

/** Joins or leaves; the answer is shown as it came. The tick holds for every way to join. */
async function command(name, room) {
  if (!socket?.connected) return;
  const options = name === "subscribe" && byId("room-latest").checked ? { latest: true } : {};
  let answer;
  try {
    answer = await socket.timeout(10_000).emitWithAck(name, { room, ...options });
  } catch {
    answer = { success: false, message: "no acknowledgement within 10 s" };
  }
  if (answer?.success) name === "subscribe" ? rooms.add(room) : rooms.delete(room);
  if (Array.isArray(answer?.data?.rooms)) showRooms(answer.data.rooms.map(shortRoom));
  const refusal = [answer?.error?.reason, answer?.message].filter(Boolean).join(", ") || "no reason given";
  const latest = answer?.data?.latest === undefined ? "" : `, latest: ${answer.data.latest}`;
  const short = `${name} ${room}: ${answer?.success ? `success${latest}` : refusal}`;
  byId("ack-short").textContent = short;
  byId("ack-short").dataset.ok = String(Boolean(answer?.success));
  byId("ack").textContent = JSON.stringify(answer, null, 2);
  log(short, answer?.success ? "good" : "bad");
}

/** `channel:7:org:o1` as `channel:7`, when it is of the own organisation. */
function shortRoom(room) {
  const end = `:org:${ownOrganisation}`;
  return room.endsWith(end) ? room.slice(0, -end.length) : room;
}

function showRooms(names) {
  const items = names.map((name) => {
    const item = element("li", { data: { room: name } });
    item.append(element("span", { text: name, title: name }));
    if (/^(org|user):/.test(name)) item.append(element("em", { text: "own" }));
    else item.append(button("Leave", () => command("unsubscribe", name), `Leave ${name}`));
    return item;
  });
  byId("rooms").replaceChildren(...items);
  byId("room-count").textContent = names.length ? String(names.length) : "";
  for (const suggestion of byId("suggested").children) suggestion.hidden = names.includes(suggestion.dataset.room);
}

function suggest() {
  const person = people[byId("person").value];
  byId("token-field").hidden = Boolean(person);
  const suggestions = (person?.rooms ?? []).map((room) => {
    const it = button(room, () => command("subscribe", room), `Join ${room}`);
    it.dataset.room = room;
    return it;
  });
  byId("suggested").replaceChildren(...suggestions);
  byId("room-list").replaceChildren(...(person?.rooms ?? []).map((room) => new Option(room, room)));
}

// ---- Events: a bounded store, shown newest first, once per frame ----

const kept = []; // oldest first; each {event, text, row}
let waiting = []; // taken, not yet shown
let paused = false;
let frame;
let only; // show this event only
const counts = new Map(); // event -> {count, shown}
let total = 0;
let lastSecond = [];

function take(event, args, own) {
  const record = { event, args, cursor: own, at: Date.now(), family: family(event) };
  const body = typeof args[0] === "object" ? args[0] : undefined;
  record.stamp = toMs(body?.timestamp);
  if (record.family !== "protocol") {
    if (catchingUp && record.stamp < welcomeAt) {
      record.caught = true;
      caughtUp += 1;
    } else {
      catchingUp = false;
    }
    total += 1;
    lastSecond.push(record.at);
  }
  const entry = counts.get(event) ?? { count: 0 };
  entry.count += 1;
  counts.set(event, entry);
  waiting.push(record);
  if (waiting.length > MOST_ROWS) waiting.shift();
  frame ??= requestAnimationFrame(show);
}

function show() {
  frame = undefined;
  showCounts();
  if (cursor) {
    byId("cursor").textContent = shortCursor(cursor);
    byId("cursor").title = cursor;
  }
  if (caughtUp && !byId("recovery").hidden) showRecovery();
  byId("caught-up").textContent = String(caughtUp);
  if (!paused && waiting.length) {
    const rows = waiting.map(makeRow);
    waiting = [];
    byId("events").prepend(...rows.toReversed());
    while (kept.length > MOST_ROWS) kept.shift().row.remove();
    byId("empty").hidden = true;
  }
  showShown();
}

function makeRow(record) {
  const { event, args, family: kind } = record;
  const body = typeof args[0] === "object" && args[0] !== null ? args[0] : {};
  const data = typeof body.data === "object" && body.data !== null ? body.data : body;
  const item = element("li", { data: { event, family: kind } });
  if (record.caught) item.className = "caught";
  const what = element("span", { class: "what" });
  const ids = roomIds(data);
  if (ids.length) what.append(element("span", { class: "ids", text: ids.join(" · ") }));
  what.append(summary(data));
  const row = element("button", { class: "row", type: "button" });
  row.setAttribute("aria-expanded", "false");
  row.append(
    element("time", { text: clock(record.at, true) }),
    element("span", { class: "name", text: event, title: event }),
    what,
    element("span", { class: "cur", text: record.cursor ? shortCursor(record.cursor) : "", title: record.cursor ?? "" }),
  );
  row.addEventListener("click", () => {
    const open = item.querySelector(".detail");
    if (open) open.remove();
    else item.append(detail(record, ids));
    row.setAttribute("aria-expanded", String(!open));
  });
  item.append(row);
  record.row = item;
  record.text = `${event} ${JSON.stringify(args)}`.toLowerCase();
  item.hidden = !matches(record);
  kept.push(record);
  return item;
}

function detail(record, ids) {
  const box = element("div", { class: "detail" });
  const delay = record.stamp ? `, ${record.at - record.stamp} ms after the record's timestamp` : "";
  box.append(element("p", { text: `Received ${clock(record.at, true)}${delay}.` }));
  const joins = element("div", { class: "joins" });
  for (const id of ids) {
    if (!id.startsWith("user:") && !rooms.has(id)) joins.append(button(`Join ${id}`, () => command("subscribe", id)));
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

function family(event) {
  const first = event.split("_")[0];
  if (first === "transcription") return "transmission";
  return ["transmission", "incident", "task", "asset", "alert"].includes(first) ? first : foreignFamily(event);
}

/** Events of other profiles count as events; those of the protocol itself do not. */
function foreignFamily(event) {
  const protocol = ["connection_established", "cursor", "resync_required", "stale", "auth_expiring", "room_revoked", "error"];
  return protocol.includes(event) ? "protocol" : "other";
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

function matches(record) {
  const wanted = byId("filter").value.trim().toLowerCase();
  return (!only || record.event === only) && (!wanted || record.text.includes(wanted));
}

function refilter() {
  for (const record of kept) record.row.hidden = !matches(record);
  showCounts();
  showShown();
}

function showShown() {
  const visible = kept.reduce((sum, record) => sum + (record.row.hidden ? 0 : 1), 0);
  const held = paused && waiting.length ? `, ${waiting.length}${waiting.length === MOST_ROWS ? "+" : ""} waiting` : "";
  byId("shown").textContent = `${visible === kept.length ? visible : `${visible} of ${kept.length}`}${held}`;
}

function showCounts() {
  byId("total").textContent = String(total);
  let changed = false;
  for (const [event, entry] of counts) {
    if (!entry.button) {
      entry.button = button("", () => {
        only = only === event ? undefined : event;
        refilter();
      });
      entry.button.dataset.event = event;
      entry.button.dataset.family = family(event);
      entry.number = element("b");
      entry.button.append(element("span", { class: "bullet", text: event, title: event }), entry.number);
      changed = true;
    }
    entry.number.textContent = String(entry.count);
    entry.button.setAttribute("aria-pressed", String(only === event));
  }
  if (changed) {
    const sorted = [...counts].sort(([a], [b]) => place(a) - place(b) || a.localeCompare(b));
    const focused = document.activeElement;
    byId("counts").replaceChildren(...sorted.map(([, entry]) => {
      const item = element("li");
      item.append(entry.button);
      return item;
    }));
    if (focused?.closest?.("#counts")) focused.focus();
  }
}

/** Families together, each in the order of an object's life; the protocol's own events last. */
function place(event) {
  const families = ["transmission", "incident", "task", "asset", "alert", "other", "protocol"];
  const steps = ["started", "created", "assigned", "completed", "updated", "tagged", "changed", "acknowledged"];
  const step = event === "transcription_completed" ? 4 : steps.findIndex((name) => event.endsWith(name));
  return families.indexOf(family(event)) * 10 + step;
}

function showRate() {
  const since = Date.now() - 5000;
  lastSecond = lastSecond.filter((at) => at > since);
  byId("rate").textContent = (lastSecond.length / 5).toFixed(1);
}

function clear() {
  for (const record of kept.splice(0)) record.row.remove();
  waiting = [];
  counts.clear();
  byId("counts").replaceChildren();
  total = 0;
  caughtUp = 0;
  only = undefined;
  lastSecond = [];
  show();
}

// ---- Small things ----

function element(tag, { text, class: name, title, type, data } = {}) {
  const it = document.createElement(tag);
  if (text !== undefined) it.textContent = text;
  if (name) it.className = name;
  if (title) it.title = title;
  if (type) it.type = type;
  Object.assign(it.dataset, data);
  return it;
}

function button(text, action, label) {
  const it = element("button", { text, type: "button" });
  if (label) it.setAttribute("aria-label", label);
  it.addEventListener("click", action);
  return it;
}

function log(text, kind) {
  const item = element("li");
  item.append(element("time", { text: clock(Date.now()) }), element("span", { text, class: kind }));
  byId("log").prepend(item);
  while (byId("log").children.length > MOST_LOG) byId("log").lastChild.remove();
}

function clock(ms, fine) {
  const time = new Date(ms);
  const two = (number) => String(number).padStart(2, "0");
  const text = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  return fine ? `${text}.${String(time.getMilliseconds()).padStart(3, "0")}` : text;
}

/** Milliseconds since the epoch, from a number or from text; NaN when it is neither. */
function toMs(time) {
  return typeof time === "number" ? time : Date.parse(time ?? "");
}

function shortCursor(text) {
  return `…${text.slice(-6)}`;
}

function view(name) {
  document.body.dataset.view = name;
  for (const it of byId("views").children) it.setAttribute("aria-pressed", String(it.dataset.view === name));
}

async function loadPeople() {
  try {
    const answer = await fetch("/demo/people.json");
    if (answer.ok) people = await answer.json();
  } catch {
    // No demo: a token has to be pasted.
  }
  if (people.length) {
    const options = people.map((person, index) => new Option(`${person.name} – ${person.title}`, String(index)));
    byId("person").replaceChildren(...options, new Option("Another token…", ""));
    byId("person-field").hidden = false;
  }
  suggest();
}

byId("connect-form").addEventListener("submit", (event) => {
  event.preventDefault();
  connect();
});
byId("room-form").addEventListener("submit", (event) => {
  event.preventDefault();
  roomCommand("subscribe");
});
byId("leave").addEventListener("click", () => roomCommand("unsubscribe"));
byId("disconnect").addEventListener("click", disconnect);
byId("forget").addEventListener("click", () => {
  forgetPosition();
  log("cursor and rooms forgotten");
});
byId("cut").addEventListener("click", cut);
byId("person").addEventListener("change", suggest);
byId("resync-dismiss").addEventListener("click", () => (byId("resync").hidden = true));
byId("filter").addEventListener("input", refilter);
byId("clear").addEventListener("click", clear);
byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  byId("pause").textContent = paused ? "Paused" : "Pause";
  show();
});
byId("events").addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  let item = event.target.closest("li");
  do item = event.key === "ArrowDown" ? item?.nextElementSibling : item?.previousElementSibling;
  while (item?.hidden);
  item?.querySelector(".row").focus();
  event.preventDefault();
});
byId("views").addEventListener("click", (event) => event.target.dataset.view && view(event.target.dataset.view));
setInterval(showRate, 500);

function roomCommand(name) {
  const room = byId("room").value.trim();
  if (room) command(name, room);
  else byId("room").focus();
}

view(matchMedia("(max-width: 760px)").matches ? "connection" : "events");
loadPeople();
