// What the other files of the page share: its state, and small helpers.

export const byId = (id) => document.getElementById(id);

/** What is known of the session. `rooms` and `cursor` are what a client needs to be resumed: given back at each connect. */
export const session = {
  socket: undefined,
  rooms: new Set(), // "channel:7", as acknowledged by the server
  cursor: undefined, // the last one seen; it starts with "v1."
  organisation: undefined,
};

export function element(tag, { text, class: name, title, type, data } = {}) {
  const it = document.createElement(tag);
  if (text !== undefined) it.textContent = text;
  if (name) it.className = name;
  if (title) it.title = title;
  if (type) it.type = type;
  Object.assign(it.dataset, data);
  return it;
}

export function button(text, action, label) {
  const it = element("button", { text, type: "button" });
  if (label) it.setAttribute("aria-label", label);
  it.addEventListener("click", action);
  return it;
}

const MOST_LOG = 60;

/** A line of the session log. */
export function log(text, kind) {
  const item = element("li");
  item.append(element("time", { text: clock(Date.now()) }), element("span", { text, class: kind }));
  byId("log").prepend(item);
  while (byId("log").children.length > MOST_LOG) byId("log").lastChild.remove();
}

export function clock(ms) {
  const time = new Date(ms);
  const two = (number) => String(number).padStart(2, "0");
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

export function milliseconds(ms) {
  return `.${String(ms % 1000).padStart(3, "0")}`;
}

/** Milliseconds since the epoch, from a number or from text; NaN when it is neither. */
export function toMs(time) {
  return typeof time === "number" ? time : Date.parse(time ?? "");
}

export function shortCursor(text) {
  return `…${text.slice(-6)}`;
}

/** Shows one of the three parts; on a wide screen all of them are there. */
export function view(name) {
  document.body.dataset.view = name;
  for (const it of byId("views").children) it.setAttribute("aria-pressed", String(it.dataset.view === name));
}
