// What was produced, and what one client got of it: each event once, in order, and each command answered.

/** Faults that are kept for the report; beyond that they are counted. */
const SHOWN = 5;

/**
 * What was appended. A stream is the records of one room in one partition ("transmission/1/4"), numbered from 0; `order` numbers
 * all records of a partition.
 */
export class Produced {
  streams = new Map(); // name -> records
  partitions = new Map(); // name -> records
  positions = new Map(); // asset -> newest number
  records = 0;

  /** Numbers the next record of a stream. */
  next(stream) {
    const partition = partitionOf(stream);
    const n = this.streams.get(stream) ?? 0;
    const order = this.partitions.get(partition) ?? 0;
    this.streams.set(stream, n + 1);
    this.partitions.set(partition, order + 1);
    this.records++;
    return { stream, n, order };
  }

  /** Numbers the next position of an asset; its partition is numbered as well, as every partition is. */
  nextPosition(asset, partition) {
    const n = (this.positions.get(asset) ?? -1) + 1;
    this.positions.set(asset, n);
    const order = this.partitions.get(partition) ?? 0;
    this.partitions.set(partition, order + 1);
    this.records++;
    return { asset, n, order };
  }
}

export const partitionOf = (stream) => stream.slice(0, stream.lastIndexOf("/"));

export class Transcript {
  faults = [];
  faultCount = 0;
  events = 0;
  repeats = 0;
  sessions = 0;
  /** How often the client's library gave up, and was told to connect again. */
  stranded = 0;
  alerts = new Map(); // connection id -> alerts that it got
  asked = 0;
  answered = 0;
  /** Commands whose connection ended before the answer. */
  cut = 0;
  connection = undefined;
  #streams = new Map(); // held: name -> { next, seen }
  #partitions = new Map(); // name -> last order
  #session = new Map(); // asset -> newest in this session
  newest = new Map(); // asset -> newest at all
  #alertCursor = undefined;
  #welcomed = false;

  /**
   * `unordered`: a client whose handlers run side by side, and which repeats events after a break (docs/clients.md).
   * `snapshots`: it asks for the newest positions, which repeats some. `cuts`: its connections are cut.
   */
  constructor(name, { unordered = false, snapshots = false, cuts = true, positions = true } = {}) {
    Object.assign(this, { name, unordered, snapshots, cuts, wantsPositions: positions });
  }

  fault(text) {
    this.faultCount++;
    if (this.faults.length < SHOWN) this.faults.push(text);
  }

  /** The client joins the room of a stream; `from` is the number of its first event, if that is known. */
  hold(stream, from) {
    this.#streams.set(stream, { next: from, seen: new Set() });
  }

  /** The server said that the room has been left: nothing of it may come any more. */
  leave(stream) {
    this.#streams.delete(stream);
  }

  holds(stream) {
    return this.#streams.has(stream);
  }

  /** CONNECT was answered: the welcome must come before all else. */
  connected() {
    this.#welcomed = false;
    this.#alertCursor = undefined;
  }

  /** One event as a stock client gives it to a handler for all events, without the acknowledgement's function. */
  heard(event, args) {
    const cursor = isCursor(args.at(-1)) ? args.at(-1) : undefined;
    const [body] = args;
    if (!this.#welcomed && event !== "connection_established" && !this.unordered) {
      this.fault(`${event} before the welcome`);
    }
    if (this.#alertCursor !== undefined && !(event === "cursor" && cursor === this.#alertCursor)) {
      this.fault(`${event} behind alert_created, where its cursor belongs`);
    }
    const follows = this.#alertCursor;
    this.#alertCursor = undefined;
    switch (event) {
      case "connection_established":
        this.#welcomed = true;
        return this.session(body.data.resume, body.data.connection_id);
      case "cursor":
        return follows === undefined ? "cursor" : undefined;
      case "resync_required":
        return this.fault(`resync_required: ${body.data.reason}`);
      case "error":
        return this.fault(`error: ${JSON.stringify(body)}`);
      case "stale":
        return;
    }
    if (cursor === undefined) this.fault(`${event} without a cursor`);
    if (args.length > 2) this.#meta(args[1], body.data);
    if (event === "asset_position_updated") return this.position(body.data.asset_id, body.data.n);
    if (event === "alert_created") this.#alertCursor = cursor;
    this.event(body.data.stream, body.data.n, body.data.order);
  }

  #meta(meta, data) {
    const partition = data.stream ? partitionOf(data.stream) : data.partition;
    const id = `${partition}/${data.order}`;
    if (!meta?.id?.endsWith(id)) this.fault(`meta.id ${meta?.id} of ${id}`);
  }

  session(resume, connection) {
    this.sessions++;
    this.connection = connection;
    this.alerts.set(connection, 0);
    this.#session.clear();
    const expected = this.sessions === 1 ? "fresh" : "resumed";
    if (resume !== expected) this.fault(`session ${this.sessions} is ${resume}`);
  }

  event(stream, n, order) {
    this.events++;
    if (stream.startsWith("alert/")) {
      this.alerts.set(this.connection, (this.alerts.get(this.connection) ?? 0) + 1);
    }
    const held = this.#streams.get(stream);
    if (held === undefined) return this.fault(`${stream} ${n}: its room is not held`);
    if (this.unordered) {
      if (held.seen.has(n)) this.repeats++;
      held.seen.add(n);
      return;
    }
    held.next ??= n;
    if (n > held.next) this.fault(`${stream}: lost ${held.next} to ${n - 1}`);
    if (n < held.next) this.fault(`${stream} ${n}: twice, or too late`);
    held.next = Math.max(held.next, n + 1);
    const partition = partitionOf(stream);
    const last = this.#partitions.get(partition) ?? -1;
    if (order <= last) this.fault(`${partition}: record ${order} behind ${last}`);
    this.#partitions.set(partition, Math.max(last, order));
  }

  /** A connection that lags gets the newest alone; one that resumes may get an older one again. */
  position(asset, n) {
    const last = this.#session.get(asset) ?? -1;
    if (n <= last && !this.unordered && !this.snapshots) {
      this.fault(`asset ${asset}: position ${n} behind ${last}`);
    }
    this.#session.set(asset, Math.max(last, n));
    this.newest.set(asset, Math.max(this.newest.get(asset) ?? -1, n));
  }

  /** What is still to come, as a text; empty when it has everything. */
  missing(produced) {
    const missing = [];
    for (const [stream, held] of this.#streams) {
      const end = produced.streams.get(stream) ?? 0;
      if (this.unordered) {
        if (held.seen.size < end) missing.push(`${end - held.seen.size} of ${stream}`);
      } else if (held.next !== undefined && held.next !== end) {
        missing.push(`${stream} from ${held.next} to ${end - 1}`);
      }
    }
    for (const [asset, n] of this.wantsPositions ? produced.positions : []) {
      if ((this.newest.get(asset) ?? -1) !== n) missing.push(`position ${n} of asset ${asset}`);
    }
    return missing.join(", ");
  }
}

export const isCursor = (argument) => typeof argument === "string" && argument.startsWith("v1.");
