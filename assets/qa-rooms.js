// Rooms: joined, left, suggested, and the answers to these commands.

import { byId, button, element, log, session } from "./qa-parts.js";

/** Joins or leaves; the answer is shown as it came. The tick holds for every way to join. */
export async function command(name, room) {
  const { socket, rooms } = session;
  if (!socket?.connected) return;
  const options = name === "subscribe" && byId("room-latest").checked ? { latest: true } : {};
  let answer;
  try {
    answer = await socket.timeout(10_000).emitWithAck(name, { room, ...options });
  } catch {
    answer = { success: false, message: "no acknowledgement within 10 s" };
  }
  if (socket !== session.socket) return;
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
export function shortRoom(room) {
  const end = `:org:${session.organisation}`;
  return room.endsWith(end) ? room.slice(0, -end.length) : room;
}

export function showRooms(names) {
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

export function shownRooms() {
  return [...byId("rooms").children].map((item) => item.dataset.room);
}

export function suggestRooms(names) {
  const suggestions = names.map((room) => {
    const it = button(room, () => command("subscribe", room), `Join ${room}`);
    it.dataset.room = room;
    return it;
  });
  byId("suggested").replaceChildren(...suggestions);
  byId("room-list").replaceChildren(...names.map((room) => new Option(room, room)));
}

function roomCommand(name) {
  const room = byId("room").value.trim();
  if (room) command(name, room);
  else byId("room").focus();
}

byId("room-form").addEventListener("submit", (event) => {
  event.preventDefault();
  roomCommand("subscribe");
});
byId("leave").addEventListener("click", () => roomCommand("unsubscribe"));
