// A Kafka for one test file: real when FLEETCAST_TEST_KAFKA names one (scripts/kafka.sh run), else a mock broker of its own.

import { randomBytes } from "node:crypto";
import { Kafka, logLevel, Partitioners } from "kafkajs";

import { binary, Process } from "./process.js";
import { eventually } from "./wait.js";

export const PARTITIONS = 3;
const FAMILIES = ["transmission", "incident", "task", "asset", "alert"];
/** Both spellings that the dispatch profile reads. */
export const TOPICS = FAMILIES.flatMap((family) => [family, `${family}s`]);

export class Broker {
  /** Starts or finds the broker and makes the topics, and `more`, under a prefix that no other file has. */
  static async open(more = []) {
    const broker = new Broker();
    broker.prefix = `t${randomBytes(5).toString("hex")}.`;
    const names = [...TOPICS, ...more].map((topic) => broker.prefix + topic);
    broker.address = process.env.FLEETCAST_TEST_KAFKA;
    broker.mock = !broker.address;
    if (broker.mock) {
      const topics = names.map((name) => `${name}:${PARTITIONS}`);
      broker.process = new Process(binary("mockbroker"), topics, {});
      broker.address = await broker.process.line(
        (line) => /^127\.0\.0\.1:\d+$/.test(line) && line,
        "the mock broker's address",
      );
    }
    broker.kafka = new Kafka({
      clientId: "client-tests",
      brokers: [broker.address],
      logLevel: logLevel.NOTHING,
      retry: { retries: 8, initialRetryTime: 50 },
    });
    if (!broker.mock) {
      await createTopics(broker.kafka.admin(), names);
    }
    broker.producer = broker.kafka.producer({
      createPartitioner: Partitioners.DefaultPartitioner,
      allowAutoTopicCreation: false,
      maxInFlightRequests: 1, // what is produced first is first in the log
    });
    await broker.producer.connect();
    return broker;
  }

  /** Appends one record; resolves when the broker has it. An object becomes JSON, text, bytes and null go as they are. */
  async produce(topic, value, options = {}) {
    await this.produceAll(topic, [{ value, ...options }]);
  }

  /** Appends records in this order, in one request. Each: `{ value, key, headers, partition }`. */
  async produceAll(topic, records) {
    const messages = records.map(({ value, key = "k", headers, partition }) => ({
      key,
      headers,
      partition,
      value:
        value === null || typeof value === "string" || Buffer.isBuffer(value)
          ? value
          : JSON.stringify(value),
    }));
    await this.producer.send({ topic: this.prefix + topic, messages, acks: -1 });
  }

  async close() {
    await this.producer.disconnect();
    if (this.process) {
      this.process.child.stdin.end();
      await this.process.exited;
    }
  }
}

async function createTopics(admin, names) {
  await admin.connect();
  try {
    const topics = names.map((topic) => ({ topic, numPartitions: PARTITIONS }));
    // The library's own wait for leaders fails when the broker does not know a topic yet that it has just made.
    await admin.createTopics({ waitForLeaders: false, topics });
    await eventually(async () => {
      try {
        const metadata = await admin.fetchTopicMetadata({ topics: names });
        return metadata.topics.every(({ partitions }) =>
          partitions.every(({ leader }) => leader >= 0),
        );
      } catch {
        return false;
      }
    }, "leaders of the new topics");
  } finally {
    await admin.disconnect();
  }
}
