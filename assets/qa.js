// The QA page of Fleetcast: people, connecting, and what the server says of the connection. Everything that comes from the server
// is shown as text, never as markup. qa-events.js has the events, qa-rooms.js the rooms, qa-counts.js the counts.

import { clear, startCatchingUp, stopCatchingUp, take } from "./qa-events.js";
import { byId, log, session, toMs, view } from "./qa-parts.js";
import { shortRoom, shownRooms, showRooms, suggestRooms } from "./qa-rooms.js";

/** Where the demo hands out tokens; the server says so in the page, elsewhere a token is pasted. */
const PEOPLE = document.querySelector('meta[name="fleetcast-people"]')?.content;

let people = [];
let identity; // whose rooms, cursor and rows these are
let cutAt; // when the transport was last lost, for the time away
let cutTimer;

// ---- Connect, disconnect, cut ----

const selectedPerson = () => people[byId("person").value];

function connect() {
  const person = selectedPerson();
  const pasted = person ? undefined : byId("token").value.trim();
  if (!person && !pasted) {
    setStatus("refused", "A token is needed");
    byId("token").focus();
    return;
  }
  const wanted = person?.name ?? bearer(pasted);
  // Rows of another user, perhaps of another organisation, are not for this one.
  if (identity !== undefined && identity !== wanted) forgetIdentity();
  identity = wanted;
  session.socket?.disconnect();
  const spelling = byId("spelling").value;
  const socket = io(spelling === "path" ? "/" : spelling, {
    transports: byId("transports").value.split(","),
    path: spelling === "path" ? "/ws/socket.io" : "/socket.io",
    forceNew: true,
    auth: (give) =>
      freshToken(person, pasted).then(
        (token) => give({ token, cursor: session.cursor, rooms: [...session.rooms] }),
        () => socket.io.engine.close(), // no token just now: the client tries again
      ),
  });
  session.socket = socket;
  listen(socket);
  setStatus("wait", "Connecting…");
  log(`connecting as ${person ? person.name : "pasted token"}${session.cursor ? ", resuming from the cursor" : ""}`);
  lockForm(true);
}

/** Asked at each connect, so that a token that has expired, or is of a server before, is not shown again. */
async function freshToken(person, pasted) {
  if (!person) return pasted;
  const answer = await fetch(PEOPLE);
  if (!answer.ok) throw new Error(`${PEOPLE} answers ${answer.status}`);
  return (await answer.json()).find(({ name }) => name === person.name).token;
}

/** Whose token it is, so that another one of the same user goes on where this one was. */
function bearer(token) {
  try {
    const claims = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    return JSON.stringify([claims.sub, claims.organization_id ?? claims.org_id]);
  } catch {
    return token;
  }
}

function forgetIdentity() {
  forgetPosition();
  clear();
  session.organisation = undefined;
}

function listen(it) {
  const { rooms } = session;
  const mine = (handler) => (body) => it === session.socket && handler(body?.data ?? {}, body);
  it.onAny((event, ...args) => {
    if (it !== session.socket) return;
    const acknowledge = args.at(-1);
    if (typeof acknowledge === "function") acknowledge({ status: "success" });
    args = args.filter((arg) => typeof arg !== "function");
    const own = args.find((arg) => typeof arg === "string" && arg.startsWith("v1."));
    session.cursor = own ?? session.cursor;
    // Before its row: it may be that of another organisation than the rows that are there.
    if (event === "connection_established") welcome(args[0]?.data ?? {}, args[0]);
    take(event, args, own);
  });
  it.on("connect", () => {
    setStatus("on", "Connected");
    enableCommands(true);
    showTransport();
    it.io.engine.on("upgrade", showTransport);
  });
  it.on("disconnect", (reason) => {
    if (it !== session.socket) return;
    cutAt = performance.now();
    enableCommands(false);
    byId("transport").hidden = true;
    log(`disconnected: ${reason}`, reason === "io client disconnect" ? undefined : "bad");
    if (it.active) setStatus("wait", "Connection lost, coming back…");
    else if (!cutTimer) ended("Not connected");
  });
  it.on("connect_error", (error) => {
    if (it !== session.socket) return;
    log(`connect error: ${error.message}`, "bad");
    if (it.active) setStatus("wait", "No connection, trying again…");
    else ended(`Refused: ${error.message}`, "refused");
  });
  it.on("resync_required", mine(resync));
  it.on("stale", mine(({ stale }) => {
    byId("stale").hidden = !stale;
    log(stale ? "data is stale" : "data is fresh again", stale ? "bad" : "good");
  }));
  it.on("room_granted", mine((data) => {
    const granted = (data.rooms ?? []).map(shortRoom);
    if (data.reason === "joined") {
      for (const room of granted) rooms.add(room);
      showRooms([...new Set([...shownRooms(), ...granted])]);
    }
    log(`room ${data.reason ?? "granted"}: ${granted.join(", ")}`, "good");
  }));
  it.on("room_revoked", mine((data) => {
    const lost = (data.rooms ?? []).map(shortRoom);
    for (const room of lost) rooms.delete(room);
    showRooms(shownRooms().filter((name) => !lost.includes(name)));
    log(`room revoked: ${lost.join(", ")} (${data.reason ?? "no reason given"})`, "bad");
  }));
  for (const name of ["error", "auth_expiring"]) {
    it.on(name, mine((data) => log(`${name}: ${JSON.stringify(data)}`, "bad")));
  }
}

function resync(data) {
  const held = Array.isArray(data.rooms) && data.rooms.length ? ` Rooms: ${data.rooms.map(shortRoom).join(", ")}.` : "";
  byId("resync-text").textContent =
    `Events were missed that the server cannot give back (${data.reason ?? "no reason given"}). A real client reloads its data now.${held}`;
  byId("resync").hidden = false;
  // It may come after a welcome that said "resumed": what the cursor had seen was looked up meanwhile.
  byId("resume").textContent = "resync";
  stopCatchingUp();
  log(`resync required: ${data.reason ?? "no reason given"}`, "bad");
}

function welcome(data, body) {
  if (session.organisation !== undefined && session.organisation !== data.organization_id) {
    clear();
    log(`rows of ${session.organisation} removed`);
  }
  session.organisation = data.organization_id;
  const away = cutAt === undefined ? undefined : (performance.now() - cutAt) / 1000;
  cutAt = undefined;
  const shown = {
    user: data.user_id,
    organisation: data.organization_id,
    roles: [data.roles ?? "–"].flat().join(", ") || "none",
    "connection-id": data.connection_id,
    resume: data.resume && `${data.resume}${session.socket.recovered ? ", recovered" : ""}`,
    window: data.window_seconds && `${data.window_seconds} s`,
  };
  for (const [id, text] of Object.entries(shown)) byId(id).textContent = text ?? "–";
  byId("who").textContent = `${data.user_id} · ${data.organization_id}`;
  byId("who").hidden = false;
  showRooms((data.rooms ?? []).map(shortRoom));
  log(`connected, ${data.resume ?? "fresh"}${away === undefined ? "" : ` after ${away.toFixed(1)} s`}`, "good");
  if (data.resume !== "resync") byId("resync").hidden = true;
  const until = toMs(data.server_time ?? body?.timestamp) || Date.now();
  startCatchingUp(data.resume === "resumed", until, away === undefined ? "" : ` after ${away.toFixed(1)} s away`);
}

/** Closes the transport under the client, as a tunnel or a crash would. */
function cut() {
  const seconds = Number(byId("cut-for").value);
  const it = session.socket;
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
  session.socket?.io.reconnection(false);
  session.socket?.disconnect();
  ended("Not connected");
}

function ended(text, state = "off") {
  setStatus(state, text);
  lockForm(false);
  stopCatchingUp();
  for (const id of ["who", "stale"]) byId(id).hidden = true;
  for (const id of ["user", "organisation", "roles", "connection-id", "resume", "window"]) byId(id).textContent = "–";
  showRooms([...session.rooms]); // what the next connect asks for
}

function forgetPosition() {
  session.cursor = undefined;
  session.rooms.clear();
  byId("cursor").textContent = "–";
  byId("resync").hidden = true;
  cutAt = undefined;
  if (!session.socket?.connected) showRooms([]);
}

function lockForm(locked) {
  for (const id of ["connect", "person", "token", "transports", "spelling", "forget"]) byId(id).disabled = locked;
  byId("disconnect").disabled = !locked;
}

function enableCommands(enabled) {
  for (const id of ["cut", "join", "leave"]) byId(id).disabled = !enabled;
}

function setStatus(state, text) {
  byId("status").dataset.state = state;
  byId("status").textContent = text;
}

function showTransport() {
  byId("transport").textContent = session.socket.io.engine.transport.name;
  byId("transport").hidden = false;
}

// ---- People ----

function suggest() {
  const person = selectedPerson();
  byId("token-field").hidden = Boolean(person);
  suggestRooms(person?.rooms ?? []);
}

async function loadPeople() {
  if (PEOPLE) {
    try {
      people = await (await fetch(PEOPLE)).json();
    } catch (error) {
      log(`no people: ${error.message}`, "bad");
    }
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
byId("disconnect").addEventListener("click", disconnect);
byId("forget").addEventListener("click", () => {
  forgetPosition();
  log("cursor and rooms forgotten");
});
byId("cut").addEventListener("click", cut);
byId("person").addEventListener("change", suggest);
byId("resync-dismiss").addEventListener("click", () => (byId("resync").hidden = true));
byId("views").addEventListener("click", (event) => event.target.dataset.view && view(event.target.dataset.view));

view(matchMedia("(max-width: 760px)").matches ? "connection" : "events");
loadPeople();
