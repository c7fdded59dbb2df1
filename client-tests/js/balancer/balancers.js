// deploy/haproxy.cfg and deploy/nginx.conf, started as they stand but for addresses and what needs root.

import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";

import { Process } from "../harness/process.js";
import { eventually } from "../harness/wait.js";
import { freePort, replace, ROOT } from "../../readme/blocks.js";

// Debian keeps these where only root looks for them.
const PATH = `${process.env.PATH}:/usr/sbin`;

class Balancer {
  /** `url` is for clients with a cookie, `byAddress` for those without. */
  async listens(ports) {
    [this.url, this.byAddress] = ports.map((port) => `http://127.0.0.1:${port}`);
    for (const port of ports) {
      const open = async () => {
        const socket = connect(port, "127.0.0.1");
        try {
          await once(socket, "connect");
          return true;
        } catch {
          return false;
        } finally {
          socket.destroy();
        }
      };
      await eventually(open, () => `${this.constructor.name} to listen: ${this.process.tail()}`);
    }
  }

  async close() {
    await this.process.stop("SIGTERM", 5_000);
    if (this.folder) rmSync(this.folder, { recursive: true });
  }
}

const temporary = () => mkdtempSync(join(tmpdir(), "fleetcast-balancer-"));

export class Haproxy extends Balancer {
  /** `preambles`: what the file has for PROXY_PROTOCOL=true, in place of the header. */
  static async start(instances, { preambles = false } = {}) {
    const balancer = new Haproxy();
    let file = join(ROOT, "deploy/haproxy.cfg");
    if (preambles) {
      let text = readFileSync(file, "utf8");
      text = replace(text, "    option forwardfor\n", "");
      text = replace(text, "#default-server send-proxy-v2", "default-server send-proxy-v2");
      balancer.folder = temporary();
      file = join(balancer.folder, "haproxy.cfg");
      writeFileSync(file, text);
    }
    const ports = [await freePort(), await freePort()];
    balancer.process = new Process("haproxy", ["-db", "-f", file], {
      PATH,
      INSTANCE_1: instances[0],
      INSTANCE_2: instances[1],
      LISTEN: `127.0.0.1:${ports[0]}`,
      LISTEN_BY_ADDRESS: `127.0.0.1:${ports[1]}`,
    });
    await balancer.listens(ports);
    // Only when it has asked: until then all are taken to be there.
    await eventually(async () => (await fetch(`${balancer.url}/balancer`)).ok, "its monitor-uri");
    return balancer;
  }

  /** Resolves when its checks have found the instance (1, 2) to be so, from now on. */
  async noticed(instance, state, timeout) {
    this.process.lines.length = 0;
    const line = `Server by_cookie/s${instance} is ${state}`;
    return await this.process.line((text) => text.includes(line) && text, line, timeout);
  }
}

export class Nginx extends Balancer {
  static async start(instances) {
    const balancer = new Nginx();
    const ports = [await freePort(), await freePort()];
    const folder = temporary();
    // Its workers are of another user, if it is started as root.
    chmodSync(folder, 0o755);
    let text = readFileSync(join(ROOT, "deploy/nginx.conf"), "utf8");
    for (const [index, instance] of instances.entries()) {
      const example = `10.0.0.1${index + 1}:8001`;
      text = replace(text, example, instance);
      text = replace(text, example.replaceAll(".", "\\."), instance.replaceAll(".", "\\."));
    }
    text = replace(text, "listen 8001;", `listen 127.0.0.1:${ports[0]};`);
    text = replace(text, "listen 8002;", `listen 127.0.0.1:${ports[1]};`);
    text = replace(text, "8002 by_address;", `${ports[1]} by_address;`);
    // What it writes to is root's.
    const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
      (what) => `${what}_temp_path ${folder}/${what};`,
    );
    text = replace(text, "http {\n", `http {\n${paths.join("\n")}\n`);
    const file = join(folder, "nginx.conf");
    writeFileSync(file, text);
    balancer.folder = folder;
    const globals = `daemon off; pid ${folder}/nginx.pid;`;
    balancer.process = new Process("nginx", ["-c", file, "-g", globals], { PATH });
    await balancer.listens(ports);
    return balancer;
  }
}
