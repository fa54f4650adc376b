import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { afterAll, beforeEach, describe, expect, test } from "@jest/globals";
import { feature, registry } from "@weft/contracts";
import type { Client } from "@weft/rpc";
import {
  defineEntity,
  defineFeatureService,
  defineFeatureView,
  defineModel,
  defineScenario,
  defineScorePipeline,
  defineSource,
  defineTrainingSet,
  defineTransform,
  type FeatureView,
  type Scenario,
  validateScenario,
} from "@weft/scenario";
import { clientOf, quietTelemetry } from "@weft/testkit";
import { createDuckDbStore } from "./adapters/duckdb.ts";
import { MemoryOnlineStore } from "./adapters/memory-online-store.ts";
import { SqliteEventLog } from "./adapters/sqlite-event-log.ts";
import { Ingest } from "./domain/ingest/ingest.ts";
import type { FeatureRelease } from "./domain/views/feature-release.ts";
import { JobTurns } from "./job-turns.ts";
import { openMaterialization, openPushExpectations } from "./materialization-fixture.ts";
import { createMetrics } from "./metrics.ts";
import { createOfflineHandlers } from "./offline-service.ts";
import { loadRelease } from "./releases.ts";
import { createOnlineHandlers } from "./service.ts";

const root = mkdtempSync(join(tmpdir(), "weft-reads-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const nowUs = 1_700_000_000_000_000;
const second = 1_000_000;
const user = defineEntity({ name: "user", key: "string" });
const item = defineEntity({ name: "item", key: "int64" });
/** Above 2^53, and not a double. */
const largeItem = 9_007_199_254_740_993n;

const offers = defineSource({
  name: "offers",
  file: "offers.csv",
  eventTime: "time",
  fields: {
    user: "string",
    item: "int64",
    single: "float32",
    double: "float64",
    whole: "int64",
    truth: "bool",
    text: "string",
    blob: "bytes",
    embedding: { vector: 3 },
    seen: { keys: "int64" },
    tags: { keys: "string" },
  },
});
const entities = [
  { entity: user, field: "user" },
  { entity: item, field: "item" },
];
const offer = defineFeatureView({
  name: "offer",
  entities,
  source: offers,
  ttl: "1d",
  ladder: ["stale", "default"],
  owner: "offers@example.org",
  description: "What was offered last.",
  tags: { tier: "1" },
  features: {
    single: { type: "float32", default: -1 },
    double: { type: "float64" },
    whole: { type: "int64" },
    truth: { type: "bool" },
    text: { type: "string" },
    blob: { type: "bytes" },
    embedding: { type: { vector: 3 } },
    seen: { type: { keys: "int64" } },
    tags: { type: { keys: "string" } },
  },
});
/** The same name in two releases, defined in two ways. */
const activityOf = (window: "1h" | "7d", function_: "sum" | "max"): FeatureView =>
  defineFeatureView({
    name: "activity",
    entities,
    source: offers,
    aggregates: { amount: { function: function_, field: "double", windows: [window] } },
  });
const strictOf = (ttl: "1d" | "30s"): FeatureView =>
  defineFeatureView({
    name: "strict",
    entities: [{ entity: item, field: "item" }],
    source: offers,
    ttl,
    features: { double: { type: "float64" } },
  });
const digest = defineTransform({
  name: "digest",
  inputs: {
    text: "offer:text",
    blob: "offer:blob",
    embedding: "offer:embedding",
    seen: "offer:seen",
    tags: "offer:tags",
    whole: "offer:whole",
  },
  outputs: { text_length: "int64", blob_sum: "int64", embedding_sum: "float64", lists: "int64", is_large: "bool" },
  compute: (inputs: {
    text: string | null;
    blob: Uint8Array | null;
    embedding: Float32Array | null;
    seen: readonly (bigint | string)[] | null;
    tags: readonly (bigint | string)[] | null;
    whole: bigint | null;
  }) => ({
    text_length: BigInt(inputs.text?.length ?? -1),
    blob_sum: BigInt(inputs.blob?.reduce((sum, byte) => sum + byte, 0) ?? -1),
    embedding_sum: inputs.embedding === null ? null : inputs.embedding.reduce((sum, x) => sum + x, 0),
    lists: BigInt((inputs.seen?.length ?? -1) * 10 + (inputs.tags?.length ?? -1)),
    is_large: inputs.whole === null ? null : inputs.whole === 9_007_199_254_740_993n,
  }),
});
const labels = defineSource({
  name: "labels",
  file: "labels.csv",
  eventTime: "time",
  fields: { user: "string", item: "int64", label: "float64" },
});
const digestService = defineFeatureService({
  name: "digest_inputs",
  features: [
    "digest:text_length",
    "digest:blob_sum",
    "digest:embedding_sum",
    "digest:lists",
    "digest:is_large",
    "offer:single",
    "offer:double",
    "offer:truth",
  ],
  owner: "models@example.org",
});
const everything = defineFeatureService({
  name: "everything",
  features: ["offer:text", "offer:embedding", "offer:seen", "activity:amount_1h"],
});

function scenarioOf(strict: FeatureView, activity: FeatureView, features: readonly string[]): Scenario {
  const trainingSet = defineTrainingSet({
    name: "labelled",
    source: labels,
    entities: { user: "user", item: "item" },
    label: "label",
    testShare: 0,
  });
  const trainer = { name: "lightgbm_classifier", parameters: {} };
  const model = defineModel({ name: "tree", features: digestService, trainingSet, trainer, output: "probability" });
  return defineScenario({
    name: "shop",
    description: "A shop.",
    views: [offer, strict, activity],
    transforms: [digest],
    models: [model],
    featureServices: [digestService, { ...everything, features: features }],
    pipeline: defineScorePipeline({
      name: "main",
      deadlineMs: 50,
      entities: [user, item],
      stages: { features: { budgetMs: 20 }, scoring: { budgetMs: 20, model } },
      decisions: [{ decision: "go", atLeast: 0 }],
      fallback: { name: "rules", rules: () => ({ score: 0, reasons: [] }) },
    }),
    examples: [{ entities: { user: "ann", item: 1n }, eventTimeUs: BigInt(nowUs) }],
  });
}

const scenarios = {
  "shop-1": scenarioOf(strictOf("1d"), activityOf("1h", "sum"), everything.features),
  "shop-2": scenarioOf(strictOf("30s"), activityOf("7d", "max"), [
    ...everything.features.slice(0, 3),
    "activity:amount_7d",
  ]),
};
const limits = { rowsMax: 100, featuresMax: 100, pushRowsMax: 100, valueBytesMax: 600, futureToleranceMs: 60_000 };

async function start() {
  const telemetry = quietTelemetry();
  const metrics = createMetrics(telemetry.metrics);
  const store = new MemoryOnlineStore();
  const log = SqliteEventLog.open({ path: ":memory:", sizeMaxBytes: 1 << 26 });
  const ignore = () => undefined;
  const observer = { accepted: ignore, skipped: ignore, corrupt: ignore, behind: ignore };
  const ingest = new Ingest(log, store, observer, { queueRowsMax: 1_000 });
  const releases = new Map<string, FeatureRelease>();
  for (const [id, scenario] of Object.entries(scenarios)) {
    const featureViews = scenario.views.map(({ name }) => ({
      name,
      version: name === "activity" ? (id.at(-1) ?? "") : "1",
    }));
    const release = create(registry.ReleaseSchema, { id, featureViews });
    releases.set(id, await loadRelease({ release, scenario }, { store, ingest, plansMax: 2 }));
  }
  const resolve = (_scenario: string, id: string) => {
    const release = releases.get(id === "" ? "shop-1" : id);
    if (release === undefined) throw new Error(`no release ${id}`);
    return release;
  };
  const folder = mkdtempSync(join(root, "store-"));
  mkdirSync(join(folder, "shop"));
  const offline = createDuckDbStore({
    directory: folder,
    temporaryDirectory: join(folder, "temporary"),
    memoryBytesMax: 1 << 28,
    threads: 1,
  });
  const client = clientOf(
    feature.FeatureService,
    {
      ...createOnlineHandlers({
        resolve,
        store,
        ingest,
        metrics,
        expectations: openPushExpectations().expectations,
        nowUs: () => nowUs,
        limits,
      }),
      ...openMaterialization({ release: (scenario, id) => resolve(scenario, id).offline, offline, store, ingest })
        .handlers,
      ...createOfflineHandlers({
        resolve: (scenario, id) => resolve(scenario, id).offline,
        store: offline,
        begin: (release) => ingest.beginJob(release.scenario.name),
        directory: join(folder, "sets"),
        turns: new JobTurns(1),
      }),
      listQuarantine: () => Promise.reject(new Error("not called")),
      resolveQuarantine: () => Promise.reject(new Error("not called")),
      checkParity: () => Promise.reject(new Error("not called")),
    },
    telemetry,
  );
  return { client, folder, telemetry, offline };
}

type Started = Awaited<ReturnType<typeof start>>;
let client: Client<typeof feature.FeatureService>;
let started: Started;
beforeEach(async () => {
  started = await start();
  client = started.client;
});

interface Offer {
  readonly time?: number;
  readonly user?: string;
  readonly item?: bigint;
  readonly double?: number;
}

function columnsOf(rows: readonly Offer[]) {
  const all = <T>(value: T) => rows.map(() => value);
  return [
    {
      name: "time",
      values: { case: "int64s" as const, value: { values: rows.map(({ time = nowUs - second }) => BigInt(time)) } },
    },
    { name: "user", values: { case: "strings" as const, value: { values: rows.map((row) => row.user ?? "ann") } } },
    { name: "item", values: { case: "int64s" as const, value: { values: rows.map((row) => row.item ?? largeItem) } } },
    { name: "single", values: { case: "float32s" as const, value: { values: all(Math.fround(0.1)) } } },
    { name: "double", values: { case: "float64s" as const, value: { values: rows.map((row) => row.double ?? 0.1) } } },
    { name: "whole", values: { case: "int64s" as const, value: { values: all(largeItem) } } },
    { name: "truth", values: { case: "bools" as const, value: { values: all(true) } } },
    { name: "text", values: { case: "strings" as const, value: { values: all("naïve") } } },
    { name: "blob", values: { case: "bytes" as const, value: { values: all(new Uint8Array([0, 255, 7])) } } },
    {
      name: "embedding",
      values: {
        case: "vectors" as const,
        value: { dimension: 3, values: new Uint8Array(new Float32Array(rows.flatMap(() => [0.5, -1, 2])).buffer) },
      },
    },
    { name: "seen", values: { case: "keyLists" as const, value: { values: all({ integers: [largeItem, -1n] }) } } },
    { name: "tags", values: { case: "keyLists" as const, value: { values: all({ texts: ["a", "b", ""] }) } } },
  ];
}

const push = (...rows: Offer[]) => client.push({ scenario: "shop", source: "offers", columns: columnsOf(rows) });
const keysOf = (users: string[], items: bigint[]) => [
  { entity: "user", texts: users },
  { entity: "item", integers: items },
];
type Request = Omit<MessageInitShape<typeof feature.GetOnlineFeaturesRequestSchema>, "$typeName">;
const read = (request: Request, release = "") =>
  client.getOnlineFeatures({ scenario: "shop", ...request }, { release });
const { MATRIX } = feature.GetOnlineFeaturesRequest_Layout;
const { PRESENT, NOT_FOUND, OUTSIDE_MAX_AGE, DEFAULTED } = feature.FeatureStatus;

describe("definitions", () => {
  test("are without fault", () => {
    for (const scenario of Object.values(scenarios)) expect(validateScenario(scenario)).toEqual([]);
  });

  test("views and feature services can be listed, with who answers for them", async () => {
    const answer = await client.getDefinitions({ scenario: "shop" });
    expect(answer.releaseId).toBe("shop-1");
    expect(answer.featureViews.map(({ name, version }) => `${name}@${version}`)).toEqual([
      "offer@1",
      "strict@1",
      "activity@1",
    ]);
    expect(answer.featureViews[0]).toMatchObject({
      entities: [
        { name: "user", type: "string" },
        { name: "item", type: "int64" },
      ],
      source: "offers",
      ttl: { seconds: 86_400n },
      ladder: ["stale", "default"],
      owner: "offers@example.org",
      description: "What was offered last.",
      tags: { tier: "1" },
    });
    expect(answer.featureViews[0]?.features.map(({ name, type }) => `${name} ${type}`)).toEqual([
      "single float32",
      "double float64",
      "whole int64",
      "truth bool",
      "text string",
      "blob bytes",
      "embedding vector(3)",
      "seen keys(int64)",
      "tags keys(string)",
    ]);
    expect(answer.featureServices.map(({ name, owner, features }) => [name, owner, features.length])).toEqual([
      ["tree", "", 8],
      ["digest_inputs", "models@example.org", 8],
      ["everything", "", 4],
    ]);
    expect(answer.featureServices[2]?.entities.map(({ name }) => name)).toEqual(["user", "item"]);
  });

  test("every type goes through push, store, read and training set unchanged, under a composite key", async () => {
    await push({}, { user: "bob", item: 1n, double: 2 });
    const references = Object.keys(offer.features).map((name) => `offer:${name}`);
    const { columns } = await read({ features: references, entities: keysOf(["ann"], [largeItem]) });
    expect(columns.map(({ statuses }) => statuses)).toEqual(references.map(() => [PRESENT]));
    expect(columns.map(({ values }) => values.value?.values)).toEqual(
      columnsOf([{}])
        .slice(3)
        .map(({ values }) =>
          values.case === "keyLists" ? [expect.objectContaining(values.value.values[0] ?? {})] : values.value.values,
        ),
    );
    // The key is the pair: neither half finds the row with another.
    const crossed = await read({
      features: ["offer:double"],
      entities: keysOf(["ann", "bob", "bob"], [1n, largeItem, 1n]),
    });
    expect(crossed.columns[0]?.statuses).toEqual([NOT_FOUND, NOT_FOUND, PRESENT]);
    // A double would take 2^53 for 2^53 + 1.
    const nearby = await read({ features: ["offer:double"], entities: keysOf(["ann"], [9_007_199_254_740_992n]) });
    expect(nearby.columns[0]?.statuses).toEqual([NOT_FOUND]);

    writeFileSync(
      join(started.folder, "shop", "offers.csv"),
      "time,user,item,single,double,whole,truth,text,blob,embedding,seen,tags\n",
    );
    writeFileSync(join(started.folder, "shop", "labels.csv"), `time,user,item,label\n${nowUs},ann,${largeItem},1\n`);
    let built: feature.BuildTrainingSetResponse | undefined;
    for await (const message of client.buildTrainingSet({ scenario: "shop", trainingSet: "labelled" })) built = message;
    const types = (built?.columns ?? []).map(
      (name) => ({ name, type: name === "event_time" ? "count" : "float64" }) as const,
    );
    const workspace = await started.offline.open({ scenario: "shop" });
    const rows: unknown[][] = [];
    const sql = `SELECT * FROM read_parquet('${fileURLToPath(built?.uri ?? "")}')`;
    for await (const batch of workspace.query(sql, types))
      for (let row = 0; row < batch.count; row++) rows.push(batch.columns.map((column) => column[row]));
    await workspace.close();
    const { matrix } = await read({
      featureService: "digest_inputs",
      layout: MATRIX,
      entities: keysOf(["ann"], [largeItem]),
    });
    const served = [...new Float32Array(matrix?.values.slice().buffer ?? new ArrayBuffer(0))];
    expect(served).toEqual([5, 262, 1.5, 23, 1, Math.fround(0.1), Math.fround(0.1), 1]);
    expect(rows).toEqual([[nowUs, 1, ...served]]);
  });

  test("two versions of a view are served side by side, and each keeps up with what is pushed", async () => {
    await push(
      { time: nowUs - 3 * 86_400 * second, double: 8 },
      { time: nowUs - 60 * second, double: 2 },
      { time: nowUs - second, double: 3 },
    );
    const one = await read({ featureService: "everything", entities: keysOf(["ann"], [largeItem]) }, "shop-1");
    const two = await read({ featureService: "everything", entities: keysOf(["ann"], [largeItem]) }, "shop-2");
    expect(one.columns[3]).toMatchObject({ name: "activity:amount_1h", values: { value: { values: [5] } } });
    expect(two.columns[3]).toMatchObject({ name: "activity:amount_7d", values: { value: { values: [8] } } });
    expect(one.views.find(({ view }) => view === "activity")?.version).toBe("1");
    expect(two.views.find(({ view }) => view === "activity")?.version).toBe("2");
    await expect(
      read({ features: ["activity:amount_7d"], entities: keysOf(["ann"], [1n]) }, "shop-1"),
    ).rejects.toMatchObject({ reason: "FEATURE_UNKNOWN" });
    await push({ time: nowUs, double: 1 });
    const asOf = { seconds: BigInt(nowUs / 1e6 + 1), nanos: 0 };
    const later = async (release: string) =>
      (await read({ featureService: "everything", entities: keysOf(["ann"], [largeItem]), asOf }, release)).columns[3]
        ?.values.value;
    expect(await later("shop-1")).toMatchObject({ values: [6] });
    expect(await later("shop-2")).toMatchObject({ values: [8] });
  });
});

test("versions that differ in how a value is read share its state, each with its own TTL", async () => {
  await push({ time: nowUs - 60 * second, double: 2 });
  const of = async (release: string) =>
    (await read({ features: ["strict:double"], entities: [{ entity: "item", integers: [largeItem] }] }, release))
      .columns[0];
  expect(await of("shop-1")).toMatchObject({ statuses: [PRESENT], values: { value: { values: [2] } } });
  expect(await of("shop-2")).toMatchObject({ statuses: [OUTSIDE_MAX_AGE] });
});

describe("reads", () => {
  test("a vector takes its place in a matrix, an element a column", async () => {
    await push({});
    const { matrix } = await read({
      features: ["offer:double", "offer:embedding", "activity:amount_1h"],
      layout: MATRIX,
      entities: keysOf(["ann", "nobody"], [largeItem]),
    });
    expect(matrix?.names).toEqual([
      "offer:double",
      "offer:embedding[0]",
      "offer:embedding[1]",
      "offer:embedding[2]",
      "activity:amount_1h",
    ]);
    const values = [...new Float32Array(matrix?.values.slice().buffer ?? new ArrayBuffer(0))];
    const single = Math.fround(0.1);
    const none = Number.NaN;
    expect(values).toEqual([single, 0.5, -1, 2, single, none, none, none, none, 0]);
    expect([...(matrix?.statuses ?? [])]).toEqual([
      ...[PRESENT, PRESENT, PRESENT, PRESENT, PRESENT],
      ...[NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND, PRESENT],
    ]);
  });

  test("a freshness budget sends older rows down their view's ladder, and counts them", async () => {
    await push({ time: nowUs - 100 * second });
    const features = ["offer:double", "offer:single", "strict:double", "activity:amount_1h"];
    const at = async (request: Request) => {
      const { columns, views } = await read({ features, entities: keysOf(["ann"], [largeItem]), ...request });
      return {
        statuses: columns.map(({ statuses }) => statuses[0]),
        outside: views.map(({ view, outsideMaxAgeCount }) => [view, outsideMaxAgeCount]),
        values: columns.map(({ values }) => values.value?.values[0]),
      };
    };
    const single = Math.fround(0.1);
    const fresh = { statuses: [PRESENT, PRESENT, PRESENT, PRESENT], values: [0.1, single, 0.1, 0.1] };
    expect(await at({})).toMatchObject(fresh);
    // As old as the budget is still inside it.
    expect(await at({ maxAge: { seconds: 100n } })).toMatchObject(fresh);
    const stale = [OUTSIDE_MAX_AGE, OUTSIDE_MAX_AGE, OUTSIDE_MAX_AGE, PRESENT];
    // The ladder of "offer" lets stale values out; "strict" has none.
    expect(await at({ maxAge: { seconds: 99n, nanos: 999_999_000 } })).toMatchObject({
      statuses: stale,
      values: [0.1, single, 0, 0.1],
      outside: [
        ["offer", 2],
        ["strict", 1],
        ["activity", 0],
      ],
    });
    expect(
      await at({ maxAge: { seconds: 1n }, viewMaxAges: [{ view: "strict", maxAge: { seconds: 200n } }] }),
    ).toMatchObject({
      statuses: [OUTSIDE_MAX_AGE, OUTSIDE_MAX_AGE, PRESENT, PRESENT],
    });
    // A TTL that is shorter still holds, and a budget does not stay with the next request.
    const asOf = { seconds: BigInt(nowUs / 1e6 + 100_000), nanos: 0 };
    expect(await at({ maxAge: { seconds: 1_000_000n }, asOf })).toMatchObject({ statuses: stale });
    expect(await at({})).toMatchObject(fresh);
    const { body } = await started.telemetry.metrics.expose();
    expect(body).toMatch(/feature_values_outside_max_age_total\{scenario="shop",view="strict"\} 2\n/);
    expect(body).toMatch(/feature_freshness_seconds_count\{scenario="shop",view="offer"\} [1-9]/);
  });

  test("defaults are counted by view", async () => {
    const { columns, views } = await read({
      features: ["offer:single", "offer:double"],
      entities: keysOf(["ann", "bob"], [1n]),
    });
    expect(columns.map(({ statuses }) => statuses)).toEqual([
      [DEFAULTED, DEFAULTED],
      [NOT_FOUND, NOT_FOUND],
    ]);
    expect(views).toMatchObject([{ view: "offer", missingCount: 4, defaultedCount: 2, outsideMaxAgeCount: 0 }]);
    const { body } = await started.telemetry.metrics.expose();
    expect(body).toMatch(/feature_defaults_filled_total\{scenario="shop",view="offer"\} 2\n/);
  });

  const one = { features: ["offer:double"], entities: keysOf(["ann"], [1n]) };
  const budgets = (...viewMaxAges: { view: string; maxAge?: { seconds: bigint } }[]) => ({ ...one, viewMaxAges });
  test.each<[string, string, Request]>([
    ["a negative budget", "REQUEST_INVALID", { ...one, maxAge: { seconds: -1n } }],
    ["a budget of nothing", "REQUEST_INVALID", { ...one, maxAge: {} }],
    ["a budget that is no duration", "REQUEST_INVALID", { ...one, maxAge: { seconds: 1n, nanos: -1 } }],
    ["a budget of an unknown view", "VIEW_UNKNOWN", budgets({ view: "nowhere", maxAge: { seconds: 1n } })],
    ["a budget of windows", "REQUEST_INVALID", budgets({ view: "activity", maxAge: { seconds: 1n } })],
    ["a view's budget without one", "REQUEST_INVALID", budgets({ view: "offer" })],
    [
      "a view's budget twice",
      "REQUEST_INVALID",
      budgets({ view: "offer", maxAge: { seconds: 1n } }, { view: "offer", maxAge: { seconds: 2n } }),
    ],
    ["a key of the wrong arity", "ENTITY_MISSING", { ...one, entities: keysOf(["ann"], []) }],
    ["half of a composite key", "ENTITY_MISSING", { ...one, entities: keysOf(["ann"], [1n]).slice(0, 1) }],
    ["halves of different lengths", "KEY_INVALID", { ...one, entities: keysOf(["a", "b"], [1n, 2n, 3n]) }],
    [
      "a key of the wrong type",
      "KEY_INVALID",
      { ...one, entities: [{ entity: "user", integers: [1n] }, ...one.entities.slice(1)] },
    ],
    ["a time beyond what can be held", "REQUEST_INVALID", { ...one, asOf: { seconds: 9_100_000_000n, nanos: 0 } }],
    ["a time that is none", "REQUEST_INVALID", { ...one, asOf: { seconds: 0n, nanos: 1_000_000_000 } }],
    ["an unknown feature service", "FEATURE_SERVICE_UNKNOWN", { featureService: "nowhere" }],
    ["a text in a matrix", "FEATURE_NOT_NUMERIC", { featureService: "everything", layout: MATRIX }],
  ])("are refused with %s: %s", async (_what, reason, request) => {
    await expect(read(request)).rejects.toMatchObject({ reason, domain: "weft.feature" });
  });

  test("a time before 1970 is a time like any other", async () => {
    await push({ time: -5 * second, double: 7 }, { item: 1n });
    const before = await read({
      features: ["offer:double"],
      entities: keysOf(["ann"], [largeItem]),
      asOf: { seconds: -4n, nanos: 0 },
    });
    expect(before.columns[0]).toMatchObject({ statuses: [PRESENT], values: { value: { values: [7] } } });
    const earlier = await read({
      features: ["offer:double"],
      entities: keysOf(["ann"], [largeItem]),
      asOf: { seconds: -6n, nanos: 0 },
    });
    expect(earlier.columns[0]?.statuses).toEqual([NOT_FOUND]);
  });
});
