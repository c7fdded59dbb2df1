// A proxy that loses answers of polls, each in another way, after the server has handed them over.

import { once } from "node:events";
import { Agent, createServer, request } from "node:http";

/** What happens to an answer; with `repeat` the proxy then asks the server again by itself, as some do. */
const KINDS = ["reset", "close", "half", "break", "late"];
/** Answers that pass between two that are lost. */
const BETWEEN = 2;

export class LossyProxy {
  /** Loses `rounds` answers that carry events. */
  static async start(server, { rounds, repeat }) {
    const proxy = new LossyProxy();
    Object.assign(proxy, { server: new URL(server), rounds, repeat, lost: 0, passed: 0 });
    proxy.agent = new Agent({ keepAlive: true });
    proxy.http = createServer((req, res) => proxy.#serve(req, res).catch(() => reset(req)));
    proxy.http.listen(0, "127.0.0.1");
    await once(proxy.http, "listening");
    proxy.url = `http://127.0.0.1:${proxy.http.address().port}`;
    return proxy;
  }

  async #serve(req, res) {
    const body = await all(req);
    const poll = req.method === "GET" && req.url.includes("sid=");
    let answer = await this.#ask(req, body);
    if (poll && answer.status === 200 && answer.body.includes("42[")) {
      if (this.lost < this.rounds && ++this.passed > BETWEEN) {
        this.passed = 0;
        const kind = KINDS[this.lost++ % KINDS.length];
        if (!this.repeat) return await this.#lose(kind, req, res, answer);
        answer = await this.#ask(req, body, kind === "break");
      }
    }
    res.writeHead(answer.status, answer.headers).end(answer.body);
  }

  /** The server's whole answer. `twice`: the first request is broken off while the server has it. */
  async #ask(req, body, twice = false) {
    const options = {
      host: this.server.hostname,
      port: this.server.port,
      method: req.method,
      path: req.url,
      headers: req.headers,
      agent: this.agent,
    };
    if (twice) {
      const first = request({ ...options, agent: undefined });
      first.on("error", () => {}).end(body);
      setTimeout(() => first.destroy(), 5);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const upstream = request(options);
    upstream.end(body);
    const [answer] = await once(upstream, "response");
    return { status: answer.statusCode, headers: answer.headers, body: await all(answer) };
  }

  async #lose(kind, req, res, answer) {
    switch (kind) {
      case "close":
        return req.socket.destroy();
      case "half":
        res.writeHead(answer.status, answer.headers);
        res.write(answer.body.subarray(0, answer.body.length / 2), () => reset(req));
        return;
      case "break":
        // Nothing of HTTP, only the beginning of its head.
        req.socket.write("HTTP/1.1 2", () => reset(req));
        return;
      case "late":
        setTimeout(() => reset(req), 50);
        return;
      default:
        return reset(req);
    }
  }

  close() {
    this.http.close();
    this.http.closeAllConnections();
    this.agent.destroy();
  }
}

function reset(req) {
  req.socket.resetAndDestroy();
}

async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}
