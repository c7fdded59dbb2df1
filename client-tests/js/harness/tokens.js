// Tokens as a company's own API would mint them: HS256, made here so that no test depends on the program under test.

import { createHmac, randomBytes } from "node:crypto";

/** Of this test process only. */
export const SECRET = randomBytes(32).toString("hex");

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

export const unixNow = () => Math.floor(Date.now() / 1000);

/** Signs whatever it is given; `header.alg` says how ("none" leaves the signature empty). */
export function sign(claims, { secret = SECRET, header = {} } = {}) {
  const head = { alg: "HS256", typ: "JWT", ...header };
  const input = `${encode(head)}.${encode(claims)}`;
  const hashes = { HS256: "sha256", HS384: "sha384", HS512: "sha512" };
  const hash = hashes[head.alg];
  const signature = hash ? createHmac(hash, secret).update(input).digest("base64url") : "";
  return `${input}.${signature}`;
}

/** Claims of a dispatcher of organisation o1 for ten minutes; overrides win, `undefined` takes a claim out. */
export function claims(overrides = {}) {
  return {
    sub: "u1",
    organization_id: "o1",
    roles: ["dispatcher"],
    exp: unixNow() + 600,
    ...overrides,
  };
}

/** A valid token: `token({ organization_id: "o2" })`. */
export function token(overrides = {}, options = {}) {
  return sign(claims(overrides), options);
}
