// A browser as far as a balancer sees one: it shows its cookie when it connects again, which the libraries under Node.js and Python
// do not.

const TRANSPORT = "EIO=4&transport=polling";
/** Milliseconds in which a session that is not known is refused; one that is known has nothing to say for longer. */
const REFUSED = 500;

/** Which instance a cookie names: "s1", "s2". */
export const named = (cookie) => /=(s\d)/.exec(cookie)?.[1];

/** A handshake of Engine.IO; `cookie` is the one that it leaves the browser with. */
export async function open(url, cookie) {
  const headers = cookie ? { cookie } : {};
  const answer = await fetch(`${url}/socket.io/?${TRANSPORT}`, { headers });
  const text = await answer.text();
  if (answer.status !== 200)
    throw new Error(`a handshake with ${cookie}: ${answer.status} ${text}`);
  const [given] = answer.headers.getSetCookie();
  return { sid: JSON.parse(text.slice(1)).sid, cookie: given?.split(";")[0] ?? cookie };
}

/** So many sessions at this instance, of a browser that was there before: new ones all go where there are fewest. */
export async function openAt(url, instance, count) {
  const { cookie } = await open(url);
  const before = cookie.replace(/=s\d/, `=${instance}`);
  const sessions = await Promise.all(Array.from({ length: count }, () => open(url, before)));
  const elsewhere = sessions.filter(({ cookie }) => named(cookie) !== instance);
  if (elsewhere.length > 0) throw new Error(`${elsewhere.length} left ${instance}`);
  return sessions;
}

/** Whether a poll of this session comes to the instance that knows it. */
export async function known(url, { sid, cookie }) {
  const waited = AbortSignal.timeout(REFUSED);
  try {
    const options = { headers: { cookie }, signal: waited };
    const answer = await fetch(`${url}/socket.io/?${TRANSPORT}&sid=${sid}`, options);
    return answer.status === 200;
  } catch (error) {
    if (waited.aborted) return true;
    throw error;
  }
}
