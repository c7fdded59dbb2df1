// Waiting for things instead of sleeping: every wait has a deadline and says what it waited for.

import { setTimeout as sleep } from "node:timers/promises";

export { sleep };

/** The first truthy value of `probe`; after `timeout` milliseconds an error that names `what`. */
export async function eventually(probe, what, timeout = 10_000) {
  const deadline = performance.now() + timeout;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (performance.now() > deadline) {
      throw new Error(
        `waited ${timeout} ms for ${typeof what === "function" ? await what() : what}`,
      );
    }
    await sleep(5);
  }
}

/** `promise`, or an error that names `what` after `timeout` milliseconds. */
export async function within(promise, what, timeout = 10_000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${timeout} ms for ${what}`)), timeout);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
