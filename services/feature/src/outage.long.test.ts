import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { feature as contract } from "@weft/contracts";
import { isWeftError } from "@weft/errors";
import { type ServerProcess, startCassandra, startRedis } from "@weft/local-servers";
import { FakeRegistry, startOnFreePorts } from "@weft/testkit";
import { Redis } from "ioredis";
import { feature } from "./index.ts";

const { PRESENT, OUTSIDE_MAX_AGE, DEFAULTED, NOT_FOUND, UNAVAILABLE } = contract.FeatureStatus;

/** Views over one source that differ in their ladders. */
const scenarioText = `import { defineEntity, defineFeatureView, defineModel, defineScenario, defineScorePipeline, defineSource, defineTrainingSet } from "@weft/scenario";
const card = defineEntity({ name: "card", key: "string" });
const payments = defineSource({ name: "payments", file: "payments.csv", eventTime: "event_time", fields: { card_id: "string", amount: "float64", label: "float32" } });
const of = { entities: [{ entity: card, field: "card_id" }], source: payments };
const stale = defineFeatureView({ name: "stale", ...of, features: { amount: { type: "float64", default: -1 } }, ladder: ["stale", "default"] });
const standby = defineFeatureView({ name: "standby", ...of, features: { amount: { type: "float64", default: -1 } }, ladder: ["default"] });
const strict = defineFeatureView({ name: "strict", ...of, features: { amount: { type: "float64" } } });
const counts = defineFeatureView({ name: "counts", ...of, aggregates: { n: { function: "count", windows: ["1h"] } }, ladder: ["stale"] });
const labelled = defineTrainingSet({ name: "labelled", source: payments, entities: { card: "card_id" }, label: "label", testShare: 0.2 });
const model = defineModel({ name: "tree", features: ["stale:amount"], trainingSet: labelled, trainer: { name: "lightgbm", parameters: {} }, output: "probability" });
export default defineScenario({
  name: "outage",
  description: "Reads while the store is away.",
  request: {},
  views: [stale, standby, strict, counts],
  models: [model],
  pipeline: defineScorePipeline({
    name: "score",
    deadlineMs: 100,
    entities: [card],
    stages: { features: { budgetMs: 20 }, scoring: { budgetMs: 20, model } },
    decisions: [{ decision: "review", atLeast: 0.5 }, { decision: "approve", atLeast: 0 }],
    fallback: { name: "rules", rules: () => ({ score: 0, reasons: [] }) },
  }),
  examples: [{ entities: { card: "c1" }, request: {}, eventTimeUs: 1n }],
});
`;

const references = ["stale:amount", "standby:amount", "strict:amount", "counts:n_1h"];
const cacheTtlMs = 100;

async function startFeature(args: readonly string[]) {
  const registry = new FakeRegistry();
  const code = JSON.stringify({ files: { "scenario.ts": scenarioText } });
  registry.label(["champion", registry.release("outage", 1, { codeDigest: registry.put(Buffer.from(code)) })]);
  const running = await startOnFreePorts(
    [registry.definition, feature],
    [`--feature.cache-ttl-ms=${cacheTtlMs}`, "--feature.store-watch-ms=50", ...args],
  );
  const client = running.dial(contract.FeatureService);
  let requests = 0;
  return {
    running,
    /** Statuses and values of a card's features, and how long the answer took. */
    async read(card: string, features: readonly string[] = references) {
      const start = performance.now();
      const answer = await client.getOnlineFeatures(
        { scenario: "outage", features: [...features], entities: [{ entity: "card", texts: [card] }] },
        { timeoutMs: 5_000 },
      );
      return {
        statuses: answer.columns.map(({ statuses }) => statuses[0]),
        values: answer.columns.map(({ values }) => Number(values.value?.values[0] ?? 0)),
        ms: performance.now() - start,
      };
    },
    listKeys: () => client.listEntityKeys({ scenario: "outage", view: "strict" }, { timeoutMs: 20_000 }),
    /** Pushes one payment of now; answers the reason of a failure. */
    async push(card: string, amount: number, requestId = `r${++requests}`): Promise<string> {
      try {
        await client.push(
          {
            scenario: "outage",
            source: "payments",
            requestId,
            columns: [
              {
                name: "event_time",
                values: { case: "int64s", value: { values: [BigInt(Date.now() - 1_000) * 1_000n] } },
              },
              { name: "card_id", values: { case: "strings", value: { values: [card] } } },
              { name: "amount", values: { case: "float64s", value: { values: [amount] } } },
              { name: "label", values: { case: "float32s", value: { values: [0] } } },
            ],
          },
          { timeoutMs: 20_000 },
        );
        return "";
      } catch (error) {
        return isWeftError(error) ? error.reason : String(error);
      }
    },
    async metric(name: string): Promise<number> {
      const port = running.addresses.get("feature")?.metricsPort;
      const body = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)`, "m").exec(body)?.[1] ?? Number.NaN);
    },
  };
}

type Feature = Awaited<ReturnType<typeof startFeature>>;

async function until(condition: () => Promise<boolean> | boolean, withinMs: number): Promise<void> {
  const end = performance.now() + withinMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const pastTtl = () => new Promise((resolve) => setTimeout(resolve, 2 * cacheTtlMs));

/** What a read must answer while the store is away, and once it is back. `away` and `back` do that to the server. */
function outage(name: string, subject: () => { service: Feature; away(): Promise<void>; back(): Promise<void> }): void {
  test(`${name}: reads go down the ladders and say so; nothing pushed is lost or counted twice; all without a restart`, async () => {
    const { service, away, back } = subject();
    const card = `card of ${name}`;
    expect([await service.push(card, 5), await service.push(card, 6)]).toEqual(["", ""]);
    expect(await service.read(card)).toMatchObject({
      statuses: [PRESENT, PRESENT, PRESENT, PRESENT],
      values: [6, 6, 6, 2],
    });
    const unreadBefore = await service.metric("feature_store_unread_total");
    await away();
    await pastTtl();
    for (let read = 0; read < 20; read++) {
      const { statuses, values, ms } = await service.read(card);
      expect(statuses).toEqual([OUTSIDE_MAX_AGE, DEFAULTED, UNAVAILABLE, OUTSIDE_MAX_AGE]);
      expect(values).toEqual([6, -1, 0, 2]);
      expect(ms).toBeLessThan(1_000);
    }
    // Nothing is known of this one: the default where there is one, and nowhere a value made up.
    expect(await service.read("never seen")).toMatchObject({
      statuses: [DEFAULTED, DEFAULTED, UNAVAILABLE, UNAVAILABLE],
      values: [-1, -1, 0, 0],
    });
    await expect(service.read(card, ["strict:amount"])).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    await expect(service.listKeys()).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
    expect(await service.metric("feature_store_unread_total")).toBeGreaterThan(unreadBefore);
    await until(async () => (await service.metric("feature_store_reachable")) === 0, 20_000);
    expect(service.running.unmet()).toEqual(["feature: online store"]);
    // Durable, and not visible yet. Sent again under its id it is still one.
    expect([await service.push(card, 7, `again ${name}`), await service.push(card, 7, `again ${name}`)]).toContain(
      "APPLY_FAILED",
    );
    await back();
    await until(async () => {
      const { statuses, values } = await service.read(card);
      return statuses.every((status) => status === PRESENT) && values[3] === 3;
    }, 60_000);
    expect(await service.push(card, 8)).toBe("");
    await pastTtl();
    expect(await service.read(card)).toMatchObject({ statuses: [1, 1, 1, 1], values: [8, 8, 8, 4] });
    await until(() => service.running.unmet().length === 0, 20_000);
    expect((await service.read("never seen")).statuses).toEqual([DEFAULTED, DEFAULTED, NOT_FOUND, PRESENT]);
  }, 180_000);
}

describe("Redis", () => {
  let redis: Awaited<ReturnType<typeof startRedis>>;
  let service: Feature;
  beforeAll(async () => {
    redis = await startRedis();
    service = await startFeature([
      "--feature.online-store=redis",
      `--feature.redis-addresses=127.0.0.1:${redis.port}`,
      "--feature.store-write-timeout-ms=1000",
    ]);
    await service.running.ready();
  }, 120_000);
  afterAll(async () => {
    await service.running.stop();
    await redis.server.close();
  });

  outage("Redis stopped", () => ({ service, away: () => redis.server.stop(), back: () => redis.server.start() }));
  outage("Redis killed", () => ({ service, away: () => redis.server.kill(), back: () => redis.server.start() }));
  outage("Redis held still", () => ({
    service,
    away: async () => redis.server.pause(),
    back: async () => redis.server.resume(),
  }));

  test("Redis flushed: what the event log holds is there again, once, without a restart", async () => {
    const cards = ["f1", "f2", "f3"];
    for (const card of cards) for (let n = 1; n <= 3; n++) expect(await service.push(card, n)).toBe("");
    await flush(redis.port);
    await until(async () => {
      const reads = await Promise.all(cards.map((card) => service.read(card)));
      return reads.every(({ statuses, values }) => statuses[2] === PRESENT && values[2] === 3 && values[3] === 3);
    }, 20_000);
    // Again, and a push before the loss has been noticed.
    await flush(redis.port);
    expect(await service.push("f1", 4)).toBe("");
    await until(async () => {
      const reads = await Promise.all(cards.map((card) => service.read(card)));
      return JSON.stringify(reads.map(({ values }) => values[3])) === "[4,3,3]";
    }, 20_000);
  }, 60_000);

  test("a service that starts before Redis becomes ready once Redis is there", async () => {
    await redis.server.stop();
    const early = await startFeature([
      "--feature.online-store=redis",
      `--feature.redis-addresses=127.0.0.1:${redis.port}`,
      "--feature.redis-key-prefix=early:",
    ]);
    try {
      await new Promise((resolve) => setTimeout(resolve, 500));
      expect(early.running.unmet()).toContain("feature: online store");
      await redis.server.start();
      await until(() => early.running.unmet().length === 0, 60_000);
      expect(await early.push("c", 1)).toBe("");
      expect((await early.read("c")).values).toEqual([1, 1, 1, 1]);
    } finally {
      await early.running.stop();
    }
  }, 120_000);
});

describe("Cassandra", () => {
  let server: ServerProcess | undefined;
  let service: Feature | undefined;
  const started = () => {
    if (server === undefined || service === undefined) throw new Error("not started");
    return { server, service };
  };
  beforeAll(async () => {
    const cassandra = await startCassandra();
    server = cassandra.server;
    service = await startFeature([
      "--feature.online-store=cassandra",
      `--feature.cassandra-addresses=127.0.0.1:${cassandra.port}`,
      "--feature.cassandra-keyspace=outage",
      "--feature.cassandra-replication={'class': 'SimpleStrategy', 'replication_factor': 1}",
      "--feature.store-read-timeout-ms=500",
      "--feature.store-write-timeout-ms=5000",
    ]);
    await service.running.ready();
  }, 300_000);
  afterAll(async () => {
    await service?.running.stop();
    await server?.close();
  });

  outage("Cassandra stopped", () => {
    const { server: node, service: own } = started();
    return { service: own, away: () => node.stop(), back: () => node.start() };
  });
});

async function flush(port: number): Promise<void> {
  const client = new Redis({ port });
  await client.flushall();
  client.disconnect();
}
