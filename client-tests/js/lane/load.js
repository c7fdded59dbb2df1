// What is produced while the clients run: numbered records of several sizes, in batches.

import { PARTITIONS } from "../harness/broker.js";
import { record } from "../harness/records.js";
import { sleep } from "../harness/wait.js";

export const CHANNELS = 6;
export const ASSETS = 6;
/** Milliseconds between two batches. */
const PAUSE = 20;
/** Bytes added to a record, and how often of 1,000. The largest fill a kernel's buffer, so that it takes parts of frames. */
const SIZES = [
  [620, 0],
  [340, 450],
  [32, 3_000],
  [6, 70_000],
  [2, 150_000],
];

export const channelStream = (channel) => `transmission/${channel % PARTITIONS}/${channel}`;

/** The streams of the organisation's room, which every client is in. */
export const OWN_STREAMS = ["incident", "alert"].flatMap((topic) =>
  Array.from({ length: PARTITIONS }, (_, partition) => `${topic}/${partition}/all`),
);

export class Load {
  constructor(broker, produced) {
    Object.assign(this, { broker, produced, batches: 0, longest: 0 });
  }

  /** Some `rate` records a second for so many milliseconds. */
  async run(rate, milliseconds) {
    const begin = performance.now();
    for (let due = 0; due < milliseconds; due += PAUSE) {
      const early = due - (performance.now() - begin);
      if (early > 0) await sleep(early);
      // Now and then a burst, of which several events leave in one write.
      const records = Math.round((rate * PAUSE) / 1000);
      await this.batch(this.batches % 40 === 39 ? records * 5 : records);
    }
  }

  async batch(records) {
    const topics = { transmission: [], incident: [], alert: [], asset: [] };
    for (let index = 0; index < records; index++) {
      const kind = (this.batches + index) % 20;
      if (kind < 12) topics.transmission.push(this.#transmission());
      else if (kind < 15) topics.incident.push(this.#toAll("incident", "incident_created"));
      else if (kind < 19) topics.asset.push(this.#position());
      else topics.alert.push(this.#toAll("alert", "alert_created"));
    }
    this.batches++;
    const begin = performance.now();
    const parts = Object.entries(topics).filter(([, part]) => part.length > 0);
    await Promise.all(parts.map(([topic, part]) => this.broker.produceAll(topic, part)));
    this.longest = Math.max(this.longest, performance.now() - begin);
  }

  #transmission() {
    const channel = any(CHANNELS);
    const data = this.produced.next(channelStream(channel));
    return appended(
      data,
      record("transmission_started", { channel_id: channel, ...data, ...fill() }),
    );
  }

  #toAll(topic, event) {
    const data = this.produced.next(`${topic}/${any(PARTITIONS)}/all`);
    return appended(data, record(event, { ...data, ...fill() }));
  }

  #position() {
    const asset = String(any(ASSETS));
    const partition = `asset/${asset % PARTITIONS}`;
    const { n, order } = this.produced.nextPosition(asset, partition);
    const value = record("asset_position_updated", { asset_id: asset, n, order, partition });
    return { key: asset, partition: asset % PARTITIONS, value };
  }
}

function appended({ stream }, value) {
  return { key: stream, partition: Number(stream.split("/")[1]), value };
}

export const any = (below) => Math.floor(Math.random() * below);

function fill() {
  let dice = any(1000);
  const [, size] = SIZES.find(([often]) => (dice -= often) < 0);
  if (size === 0) return {};
  // Characters of several bytes, escapes and quotes, so that a frame that is cut wrongly is no longer a text.
  const unit = 'é€😀\\"\u0007 abcdefgh';
  return { fill: unit.repeat(Math.ceil(size / Buffer.byteLength(unit))) };
}
