import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { Admin, Producer } from "@platformatic/kafka";
import { feature as contract } from "@weft/contracts";
import { type KafkaServer, startKafka } from "@weft/local-servers";
import { defineEntity, defineFeatureView, defineSource, type Value } from "@weft/scenario";
import { FakeRegistry, startOnFreePorts } from "@weft/testkit";
import { Ingest } from "../domain/ingest/ingest.ts";
import { StreamIngest } from "../domain/ingest/stream-ingest.ts";
import { partitionName } from "../domain/ingest/stream-log.ts";
import { withTopicRows } from "../domain/offline/topic-rows.ts";
import { type OnlineStore, ReadBatch } from "../domain/online/online-store.ts";
import { compileView } from "../domain/views/compile-view.ts";
import { feature } from "../index.ts";
import { KafkaLog } from "./kafka-log.ts";
import { LmdbOnlineStore } from "./lmdb-online-store.ts";
import { SqliteEventLog } from "./sqlite-event-log.ts";
import { SqliteQuarantine } from "./sqlite-quarantine.ts";

const partitions = 4;
const nowUs = () => Date.now() * 1_000;
const card = defineEntity({ name: "card", key: "int64" });

function viewOf(topic: string) {
  const source = defineSource({
    name: "payments",
    file: "payments.csv",
    topic,
    eventTime: "time",
    fields: { card: "int64", amount: "float64" },
  });
  return compileView(
    defineFeatureView({
      name: "activity",
      entities: [{ entity: card, field: "card" }],
      source,
      aggregates: {
        n: { function: "count", windows: ["1d"] },
        total: { function: "sum", field: "amount", windows: ["1d"] },
      },
    }),
  );
}

function scenarioText(topic: string): string {
  return `import { defineEntity, defineFeatureView, defineModel, defineScenario, defineScorePipeline, defineSource, defineTrainingSet } from "@weft/scenario";
const card = defineEntity({ name: "card", key: "int64" });
const payments = defineSource({ name: "payments", file: "payments.csv", topic: "${topic}", eventTime: "time", fields: { card: "int64", amount: "float64" } });
const windows = ["1d"];
const activity = defineFeatureView({ name: "activity", entities: [{ entity: card, field: "card" }], source: payments, aggregates: { n: { function: "count", windows }, total: { function: "sum", field: "amount", windows } } });
const labelled = defineTrainingSet({ name: "labelled", source: payments, entities: { card: "card" }, label: "amount", testShare: 0.2 });
const model = defineModel({ name: "model", features: ["activity:n_1d"], trainingSet: labelled, trainer: { name: "lightgbm", parameters: {} }, output: "probability" });
export default defineScenario({
  name: "payments",
  description: "Windows over a topic.",
  views: [activity],
  models: [model],
  pipeline: defineScorePipeline({
    name: "score",
    deadlineMs: 100,
    entities: [card],
    stages: { features: { budgetMs: 20 }, scoring: { budgetMs: 20, model } },
    decisions: [{ decision: "review", atLeast: 0.5 }, { decision: "approve", atLeast: 0 }],
    fallback: { name: "rules", rules: () => ({ score: 0, reasons: [] }) },
  }),
  examples: [{ entities: { card: 1n }, request: {}, eventTimeUs: 1n }],
});
`;
}

let kafka: KafkaServer;
let brokers: string[];
const folders: string[] = [];
const closing: (() => Promise<void>)[] = [];

beforeAll(async () => {
  kafka = await startKafka();
  brokers = [`${kafka.host}:${kafka.port}`];
}, 240_000);
afterAll(async () => {
  for (const close of closing.reverse()) await close();
  await kafka.server.close();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
}, 60_000);

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "weft-kafka-test-"));
  folders.push(path);
  return path;
}

async function createTopic(name: string): Promise<void> {
  const admin = new Admin({ clientId: "test", bootstrapBrokers: brokers });
  await admin.createTopics({ topics: [name], partitions, replicas: 1 });
  await admin.close();
}

function startProducer(): Producer {
  const producer = new Producer({ clientId: "test", bootstrapBrokers: brokers, retries: 0, timeout: 3_000 });
  closing.push(() => producer.close().catch(() => undefined));
  return producer;
}

const message = (topic: string, key: number, amount: number) => ({
  topic,
  partition: key % partitions,
  value: Buffer.from(JSON.stringify({ time: nowUs() - 1_000_000, card: key, amount })),
});

/** A process that follows a topic: log, store, quarantine and the loop, as the service composes them. */
async function startFollower(topic: string, store: OnlineStore, group = topic) {
  const log = SqliteEventLog.open({ path: ":memory:", sizeMaxBytes: 1 << 26 });
  const quarantine = SqliteQuarantine.open({
    path: ":memory:",
    eventsMax: 1_000,
    sizeMaxBytes: 1 << 20,
    contentMaxBytes: 4_096,
  });
  const ignore = () => undefined;
  const ingest = new Ingest(
    log,
    store,
    { accepted: ignore, skipped: ignore, corrupt: ignore, behind: ignore },
    {
      queueRowsMax: 1_000,
      refuse: async (events) => void (await quarantine.add(events, nowUs())),
    },
  );
  const compiled = viewOf(topic);
  const view = { scenario: "s", compiled, handle: await store.openView("s/activity") };
  await ingest.addViews([view]);
  const lags = new Map<number, number>();
  const seen = { failures: 0, applied: 0, lost: 0 };
  const kafkaLog = new KafkaLog({ brokers, group, readMaxBytes: 1 << 20, waitMs: 100, sessionTimeoutMs: 6_000 });
  const streams = new StreamIngest(kafkaLog, {
    ingest,
    bounds: { valueBytesMax: 4_096, futureToleranceUs: 60_000_000 },
    observer: {
      applied: (_source, events) => {
        seen.applied += events;
      },
      lag: (_topic, partition, messages) => lags.set(partition, messages),
      lost: (_topic, messages) => {
        seen.lost += messages;
      },
      failed: () => {
        seen.failures++;
      },
    },
    refuse: async (events) => void (await quarantine.add(events, nowUs())),
    nowUs,
    pause: (timeMs) => new Promise((resolve) => setTimeout(resolve, timeMs)),
  });
  streams.start();
  let isClosed = false;
  const close = async () => {
    if (isClosed) return;
    isClosed = true;
    await streams.close();
    await ingest.close();
    await log.close();
    await quarantine.close();
  };
  closing.push(close);
  return { view, quarantine, kafkaLog, lags, seen, close };
}

type Follower = Awaited<ReturnType<typeof startFollower>>;

/** Count and sum of each key in a store, summed over the keys. */
async function totals(store: OnlineStore, { view }: Follower, keys: number) {
  const batch = new ReadBatch();
  for (let key = 0; key < keys; key++) batch.add(view.handle, BigInt(key));
  await store.get(batch);
  const reading = view.compiled.createReading();
  let count = 0;
  let total = 0;
  for (const stored of batch.values.slice(0, batch.size)) {
    if (stored === undefined) continue;
    view.compiled.read(view.compiled.decode(stored.bytes), nowUs(), reading);
    count += reading.numbers[0] ?? 0;
    total += reading.numbers[1] ?? 0;
  }
  return { count, total };
}

async function until<T>(what: string, timeoutMs: number, ask: () => Promise<T | false> | T | false): Promise<T> {
  const end = performance.now() + timeoutMs;
  while (true) {
    const answer = await ask();
    if (answer !== false) return answer;
    if (performance.now() > end) throw new Error(`${what}: not in ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function openStore(): LmdbOnlineStore {
  const store = LmdbOnlineStore.open({ path: folder(), sizeMaxBytes: 1 << 30, cacheEntriesMax: 1_000 });
  closing.push(() => store.close());
  return store;
}

describe("a Kafka topic as a source", () => {
  test("messages are applied once, over a restart; poison is set aside and holds nothing up", async () => {
    const topic = "consume";
    await createTopic(topic);
    const producer = startProducer();
    const store = openStore();
    const first = await startFollower(topic, store);
    const keys = 40;
    const good = Array.from({ length: 2_000 }, (_, index) => message(topic, index % keys, 1));
    const poison = [
      { topic, partition: 1, value: Buffer.from("{not json") },
      { topic, partition: 1, value: Buffer.from(JSON.stringify({ time: nowUs(), card: "seven", amount: 1 })) },
      { topic, partition: 2, value: Buffer.from(JSON.stringify({ time: nowUs() + 1e12, card: 2, amount: 1 })) },
      { topic, partition: 3, value: Buffer.from(JSON.stringify({ card: 3, amount: 1 })) },
    ];
    await producer.send({ messages: [...good.slice(0, 1_000), ...poison, ...good.slice(1_000)] });
    await until("applied", 20_000, async () => (await totals(store, first, keys)).count === 2_000);
    expect(await totals(store, first, keys)).toEqual({ count: 2_000, total: 2_000 });
    const reasons = (await first.quarantine.summarize("s")).map(({ source, reason, count }) => [source, reason, count]);
    expect(reasons).toEqual([
      ["payments", "EVENT_TIME_INVALID", 2],
      ["payments", "MESSAGE_UNREADABLE", 1],
      ["payments", "VALUE_INVALID", 1],
    ]);
    await until("lag", 5_000, () => [...first.lags.values()].every((lag) => lag === 0));
    await first.close();

    // Another process over the same store, and another group: nothing is counted twice.
    const second = await startFollower(topic, store, "other-group");
    await producer.send({ messages: [message(topic, 1, 5)] });
    await until("goes on", 20_000, async () => (await totals(store, second, keys)).count === 2_001);
    expect(await totals(store, second, keys)).toEqual({ count: 2_001, total: 2_005 });
    expect(second.seen.applied).toBe(1);
    await second.close();

    // A store that holds nothing gets everything again.
    const empty = openStore();
    const third = await startFollower(topic, empty);
    await until("replayed", 20_000, async () => (await totals(empty, third, keys)).count === 2_001);
    expect(await totals(empty, third, keys)).toEqual({ count: 2_001, total: 2_005 });
    await third.close();

    // Training sets and parity read the topic on their own, whoever follows it.
    const { compiled } = third.view;
    const offline = withTopicRows(async function* () {}, {
      open: () =>
        new KafkaLog({ brokers, group: "offline", readMaxBytes: 1 << 16, waitMs: 100, sessionTimeoutMs: 6_000 }),
      views: [compiled],
      bounds: { valueBytesMax: 4_096, futureToleranceUs: 60_000_000 },
      nowUs,
    });
    const amounts: Value[] = [];
    for await (const { rows, receivedUs } of offline(compiled.view.source)) {
      expect(Math.abs(nowUs() - receivedUs)).toBeLessThan(300_000_000);
      for (const { values } of rows) amounts.push(values[1] ?? null);
    }
    expect(amounts.length).toBe(2_001);
    expect(amounts.reduce((sum: number, amount) => sum + Number(amount), 0)).toBe(2_005);
  }, 120_000);

  test("through the service: settings name the brokers, the scenario the topic; lag and quarantine can be seen", async () => {
    const topic = "service";
    await createTopic(topic);
    const registry = new FakeRegistry();
    const code = JSON.stringify({ files: { "scenario.ts": scenarioText(topic) } });
    const release = registry.release("payments", 1, { codeDigest: registry.put(Buffer.from(code)) });
    registry.label(["champion", release]);
    const running = await startOnFreePorts(
      [registry.definition, feature],
      [`--feature.kafka-brokers=${brokers[0]}`, "--feature.kafka-session-timeout-ms=6000"],
    );
    try {
      await running.ready();
      const client = running.dial(contract.FeatureService);
      const producer = startProducer();
      await producer.send({
        messages: [message(topic, 1, 3), message(topic, 1, 4), { topic, partition: 1, value: Buffer.from("?") }],
      });
      const read = () =>
        client.getOnlineFeatures(
          {
            scenario: "payments",
            features: ["activity:n_1d", "activity:total_1d"],
            entities: [{ entity: "card", integers: [1n] }],
          },
          { timeoutMs: 5_000 },
        );
      const columns = await until("visible", 30_000, async () => {
        const { columns } = await read();
        const [count] = columns;
        return count?.values.case === "int64s" && count.values.value.values[0] === 2n && columns;
      });
      expect(columns[1]?.values.value).toMatchObject({ values: [7] });
      const { summaries } = await until("set aside", 5_000, async () => {
        const answer = await client.listQuarantine({ scenario: "payments" }, { timeoutMs: 5_000 });
        return answer.summaries.length > 0 && answer;
      });
      expect(summaries).toMatchObject([{ source: "payments", reason: "MESSAGE_UNREADABLE", count: 1n, keptCount: 1n }]);
      const port = running.addresses.get("feature")?.metricsPort;
      const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      expect(metrics).toContain(`feature_stream_lag_messages{topic="${topic}",partition="1"} 0`);
      expect(metrics).toContain('feature_quarantined_events_total{source="payments",reason="MESSAGE_UNREADABLE"} 1');
      expect(metrics).toMatch(/feature_apply_seconds_count [1-9]/);
      expect(metrics).toMatch(/feature_ingest_delay_seconds_count\{source="payments"\} [1-9]/);
    } finally {
      await running.stop();
    }
  }, 120_000);

  test("a topic that is missing does not keep others from being followed, and is followed once it is there", async () => {
    await createTopic("present");
    const log = new KafkaLog({
      brokers,
      group: "missing",
      readMaxBytes: 1 << 20,
      waitMs: 100,
      sessionTimeoutMs: 6_000,
    });
    const topicsOf = () => [...new Set(log.assigned().map(({ topic }) => topic))].sort();
    try {
      // A topic that has just been made may not be led yet; whoever follows asks again.
      const follows = (topics: readonly string[], expected: readonly string[]) =>
        until(`follows ${expected}`, 20_000, async () => {
          await log.follow(topics).catch(() => undefined);
          return topicsOf().join() === expected.join();
        });
      await follows(["missing", "present"], ["present"]);
      await createTopic("missing");
      await follows(["missing", "present"], ["missing", "present"]);
      await follows(["missing"], ["missing"]);
    } finally {
      await log.close();
    }
  }, 60_000);

  test("two processes share the partitions, and one takes over when the other goes", async () => {
    const topic = "rebalance";
    await createTopic(topic);
    const producer = startProducer();
    const keys = 40;
    // A store each: what a partition brought is replayed into the store of who takes it over.
    const stores = [openStore(), openStore()] as const;
    const a = await startFollower(topic, stores[0]);
    await until("alone", 20_000, () => a.kafkaLog.assigned().length === partitions);
    let sent = 0;
    const send = async () => {
      await producer.send({ messages: Array.from({ length: 200 }, () => message(topic, sent++ % keys, 1)) });
    };
    for (let n = 0; n < 5; n++) await send();
    const b = await startFollower(topic, stores[1]);
    await until("shared", 30_000, async () => {
      await send();
      return a.kafkaLog.assigned().length === 2 && b.kafkaLog.assigned().length === 2;
    });
    for (let n = 0; n < 5; n++) await send();
    await b.close();
    await until("taken over", 30_000, () => a.kafkaLog.assigned().length === partitions);
    for (let n = 0; n < 5; n++) await send();
    await until("applied", 30_000, async () => (await totals(stores[0], a, keys)).count >= sent);
    expect(await totals(stores[0], a, keys)).toEqual({ count: sent, total: sent });
    for (let partition = 0; partition < partitions; partition++)
      expect(await stores[0].appliedOffset(a.view.handle, partitionName({ topic, partition }))).toBe(sent / partitions);
    await a.close();
  }, 120_000);

  test("a broker that is away for 30 s under load: no event is lost, and it goes on without a restart", async () => {
    const topic = "outage";
    await createTopic(topic);
    const producer = startProducer();
    const keys = 100;
    const store = openStore();
    const follower = await startFollower(topic, store);
    let acknowledged = 0;
    let uncertain = 0;
    let isDone = false;
    const load = (async () => {
      for (let n = 0; !isDone; n++) {
        const messages = Array.from({ length: 100 }, (_, index) => message(topic, (n * 100 + index) % keys, 1));
        try {
          await producer.send({ messages, acks: -1 });
          acknowledged += messages.length;
        } catch {
          // Refused, or written and not answered: the producer cannot know.
          uncertain += messages.length;
          await new Promise((resolve) => setTimeout(resolve, 200));
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    await until("flowing", 20_000, async () => (await totals(store, follower, keys)).count > 1_000);
    await kafka.server.stop();
    await new Promise((resolve) => setTimeout(resolve, 30_000));
    const during = acknowledged;
    await kafka.server.start();
    await until("flows again", 60_000, () => acknowledged > during + 1_000);
    isDone = true;
    await load;
    const caughtUp = await until("caught up", 60_000, async () => {
      const { count } = await totals(store, follower, keys);
      return count >= acknowledged && count;
    });
    expect(follower.seen.failures).toBeGreaterThan(0);
    // Every event that was acknowledged, and none twice.
    expect(caughtUp).toBeLessThanOrEqual(acknowledged + uncertain);
    let held = 0;
    for (let partition = 0; partition < partitions; partition++)
      held += await store.appliedOffset(follower.view.handle, partitionName({ topic, partition }));
    expect(held).toBe(caughtUp);
    await follower.close();
  }, 180_000);
});
