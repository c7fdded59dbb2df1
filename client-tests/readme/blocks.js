// README.md, taken apart: its fenced blocks as they stand there.

import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** The one fenced block of this language that contains `text`. */
export function block(language, text) {
  const readme = readFileSync(`${ROOT}README.md`, "utf8");
  const blocks = [...readme.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
    .filter(([, of, body]) => of === language && body.includes(text))
    .map(([, , body]) => body);
  if (blocks.length !== 1) {
    throw new Error(
      `${blocks.length} ${language} blocks of README.md have ${JSON.stringify(text)}`,
    );
  }
  return blocks[0];
}

/** `text` with `from`, which must be in it, replaced by `to`. */
export function replace(text, from, to) {
  if (!text.includes(from)) throw new Error(`${from} is not in:\n${text}`);
  return text.replaceAll(from, to);
}

/** A port of the loopback that is free now, so that a server can be started there again and again. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
