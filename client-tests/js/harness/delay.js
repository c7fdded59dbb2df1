// A loopback proxy with the latency of a real network: what happens within a round trip is otherwise over too soon to be tested.

import { connect, createServer } from "node:net";
import { once } from "node:events";

/**
 * Listens on a free port and passes bytes on, `milliseconds` late each way. Only WebSocket connections are delayed:
 * polling goes on beside an upgrade that takes its time.
 */
export async function slowWebSockets(target, milliseconds) {
  const { hostname, port } = new URL(target);
  const open = new Set();
  const proxy = createServer((near) => {
    const far = connect(Number(port), hostname);
    near.once("data", (request) => {
      const late = request.includes("transport=websocket") ? milliseconds : 0;
      passLate(near, far, late);
      passLate(far, near, late);
      near.emit("data", request);
    });
    for (const end of [near, far]) {
      open.add(end);
      end.setNoDelay(true);
      end.on("close", () => open.delete(end));
      end.on("error", () => {}); // "close" follows
    }
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  return {
    url: `http://127.0.0.1:${proxy.address().port}`,
    close() {
      proxy.close();
      for (const end of open) end.destroy();
    },
  };
}

function passLate(from, to, milliseconds) {
  // Timers of one length fire in the order in which they were set, so bytes keep theirs.
  const later = (action) => setTimeout(action, milliseconds);
  from.on("data", (bytes) => later(() => to.writable && to.write(bytes)));
  from.on("close", () => later(() => to.destroy()));
}
