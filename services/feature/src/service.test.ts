import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "@jest/globals";
import { feature } from "@weft/contracts";
import type { Client } from "@weft/rpc";
import { defineEntity, defineFeatureView, defineSource, type Scenario } from "@weft/scenario";
import { clientOf, quietTelemetry, seededRandom } from "@weft/testkit";
import { createDuckDbStore } from "./adapters/duckdb.ts";
import { MemoryOnlineStore } from "./adapters/memory-online-store.ts";
import { SqliteEventLog } from "./adapters/sqlite-event-log.ts";
import { SqliteQuarantine } from "./adapters/sqlite-quarantine.ts";
import { Ingest } from "./domain/ingest/ingest.ts";
import type { EventContent, RefusedEvent } from "./domain/ingest/quarantine.ts";
import type { ViewHandle } from "./domain/online/online-store.ts";
import type { FeatureRelease } from "./domain/views/feature-release.ts";
import { openMaterialization, openPushExpectations } from "./materialization-fixture.ts";
import { createMetrics } from "./metrics.ts";
import { createQuarantineHandlers } from "./quarantine-service.ts";
import { loadRelease } from "./releases.ts";
import { createOnlineHandlers } from "./service.ts";

const root = mkdtempSync(join(tmpdir(), "weft-feature-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const nowUs = 1_700_000_000_000_000;
const card = defineEntity({ name: "card", key: "int64" });
const shop = defineEntity({ name: "shop", key: "string" });
const payments = defineSource({
  name: "payments",
  file: "payments.csv",
  eventTime: "time",
  fields: { card: "int64", shop: "string", amount: "float64", seen: { keys: "int64" }, embedding: { vector: 2 } },
});
const scenario = {
  name: "fraud",
  views: [
    defineFeatureView({
      name: "activity",
      entities: [{ entity: card, field: "card" }],
      source: payments,
      aggregates: {
        n: { function: "count", windows: ["1h"] },
        total: { function: "sum", field: "amount", windows: ["1h"] },
        shops: { function: "recent", field: "shop", windows: ["1h"] },
      },
    }),
    defineFeatureView({
      name: "last",
      entities: [{ entity: shop, field: "shop" }],
      source: payments,
      features: { amount: { type: "float64" }, seen: { type: { keys: "int64" } }, embedding: { type: { vector: 2 } } },
    }),
  ],
  transforms: [],
  models: [{ name: "tree", features: ["activity:n_1h", "activity:total_1h", "last:amount", "request:amount"] }],
  request: { amount: "float64", note: "string" },
  examples: [{ entities: { card: 1n, shop: "s" }, request: { amount: 1 }, eventTimeUs: BigInt(nowUs) }],
} as unknown as Scenario;

/** The float32 values of a matrix. */
function numbersOf(bytes: Uint8Array = new Uint8Array()): number[] {
  return [...new Float32Array(bytes.slice().buffer)];
}

const { MATRIX, COLUMNS } = feature.GetOnlineFeaturesRequest_Layout;
const { PRESENT, NOT_FOUND, NULL } = feature.FeatureStatus;
type Columns = Parameters<Client<typeof feature.FeatureService>["push"]>[0]["columns"];

function paymentColumns(
  rows: { time?: number; card?: bigint; shop?: string; amount?: number }[],
): NonNullable<Columns> {
  return [
    {
      name: "time",
      values: { case: "int64s", value: { values: rows.map(({ time = nowUs - 1_000_000 }) => BigInt(time)) } },
    },
    { name: "card", values: { case: "int64s", value: { values: rows.map((row) => row.card ?? 1n) } } },
    { name: "shop", values: { case: "strings", value: { values: rows.map((row) => row.shop ?? "s") } } },
    { name: "amount", values: { case: "float64s", value: { values: rows.map((row) => row.amount ?? 1) } } },
    {
      name: "seen",
      values: { case: "keyLists", value: { values: rows.map(() => ({ integers: [9_007_199_254_740_993n] })) } },
    },
    {
      name: "embedding",
      values: {
        case: "vectors",
        value: { dimension: 2, values: new Uint8Array(new Float32Array(rows.flatMap(() => [0.5, -1])).buffer) },
      },
    },
  ];
}

let folders = 0;
async function start() {
  const telemetry = quietTelemetry();
  const metrics = createMetrics(telemetry.metrics);
  const store = new MemoryOnlineStore();
  const log = SqliteEventLog.open({ path: ":memory:", sizeMaxBytes: 1 << 26 });
  const ignore = {
    accepted: () => undefined,
    skipped: () => undefined,
    corrupt: () => undefined,
    behind: () => undefined,
  };
  const ingest = new Ingest(log, store, ignore, { queueRowsMax: 1_000 });
  quarantine = SqliteQuarantine.open({
    path: ":memory:",
    eventsMax: 100,
    sizeMaxBytes: 1 << 20,
    contentMaxBytes: 4_096,
  });
  const parts = { release: { id: "fraud-1", featureViews: [{ name: "activity", version: "7" }] }, scenario };
  const release: FeatureRelease = await loadRelease(parts as unknown as Parameters<typeof loadRelease>[0], {
    store,
    ingest,
    plansMax: 2,
  });
  const resolve = () => release;
  const folder = join(root, String(folders++));
  mkdirSync(join(folder, "fraud"), { recursive: true });
  const limits = { rowsMax: 5, featuresMax: 10, pushRowsMax: 4, valueBytesMax: 600, futureToleranceMs: 60_000 };
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
      ...createQuarantineHandlers({
        resolve,
        quarantine,
        ingest,
        bounds: { valueBytesMax: limits.valueBytesMax, futureToleranceUs: limits.futureToleranceMs * 1_000 },
        nowUs: () => nowUs,
      }),
      checkParity: () => Promise.reject(new Error("not called")),
      ...openMaterialization({
        release: () => ({
          id: release.id,
          scenario,
          views: [...release.views.values()].map(({ compiled }) => compiled),
        }),
        offline: createDuckDbStore({
          directory: folder,
          temporaryDirectory: join(folder, "temporary"),
          memoryBytesMax: 1 << 28,
          threads: 1,
        }),
        store,
        ingest,
      }).handlers,
      async *buildTrainingSet() {},
    },
    telemetry,
  );
  return { client, folder, telemetry, states: { store, handle: release.view("activity").handle } };
}

let client: Client<typeof feature.FeatureService>;
let quarantine: SqliteQuarantine;
let folder: string;
let telemetry: ReturnType<typeof quietTelemetry>;
let states: { readonly store: MemoryOnlineStore; readonly handle: ViewHandle };
beforeEach(async () => {
  ({ client, folder, telemetry, states } = await start());
});

const amountOf = (...values: number[]) => [
  { name: "amount", values: { case: "float64s" as const, value: { values } } },
];
const stringsOf = (name: string, ...values: string[]) => ({
  name,
  values: { case: "strings" as const, value: { values } },
});
const vectorsOf = (dimension: number, numbers: number[]) => ({
  name: "embedding",
  values: {
    case: "vectors" as const,
    value: { dimension, values: new Uint8Array(Float32Array.from(numbers).buffer) },
  },
});
const push = (rows: Parameters<typeof paymentColumns>[0], requestId = "") =>
  client.push({ scenario: "fraud", source: "payments", requestId, columns: paymentColumns(rows) });
const read = (request: Partial<Parameters<typeof client.getOnlineFeatures>[0]>) =>
  client.getOnlineFeatures({ scenario: "fraud", ...request } as Parameters<typeof client.getOnlineFeatures>[0]);

describe("the feature service", () => {
  test("what is pushed is read, as a matrix that is the model's input", async () => {
    expect(
      await push([
        { amount: 10, shop: "a" },
        { amount: 2.5, shop: "b" },
      ]),
    ).toMatchObject({
      acceptedCount: 2,
      duplicate: false,
    });
    const answer = await read({
      featureService: "tree",
      layout: MATRIX,
      entities: [
        { entity: "card", integers: [1n] },
        { entity: "shop", texts: ["a", "nowhere"] },
      ],
      requestFeatures: amountOf(3, 4),
    });
    const { matrix } = answer;
    if (matrix === undefined) throw new Error("no matrix");
    expect(answer.releaseId).toBe("fraud-1");
    expect(matrix.names).toEqual(["activity:n_1h", "activity:total_1h", "last:amount", "request:amount"]);
    expect([...new Float32Array(matrix.values.slice().buffer)]).toEqual([2, 12.5, 10, 3, 2, 12.5, Number.NaN, 4]);
    expect([...matrix.statuses]).toEqual([PRESENT, PRESENT, PRESENT, PRESENT, PRESENT, PRESENT, NOT_FOUND, PRESENT]);
    expect(answer.views).toMatchObject([
      { view: "activity", version: "7", missingCount: 0, maxAgeMs: 1000n },
      { view: "last", version: "", missingCount: 1, maxAgeMs: 1000n },
    ]);
  });

  test("columns of every type, statuses and event times", async () => {
    await push([{ shop: "a", amount: 4 }]);
    const { columns } = await read({
      features: ["activity:n_1h", "last:amount", "last:seen", "last:embedding", "activity:shops_1h"],
      includeEventTimes: true,
      entities: [
        { entity: "card", integers: [1n] },
        { entity: "shop", texts: ["a", "b"] },
      ],
    });
    expect(columns.map(({ name, values }) => [name, values.case])).toEqual([
      ["activity:n_1h", "int64s"],
      ["last:amount", "float64s"],
      ["last:seen", "keyLists"],
      ["last:embedding", "vectors"],
      ["activity:shops_1h", "keyLists"],
    ]);
    const [count, amount, seen, embedding, shops] = columns;
    expect(count?.values.value).toMatchObject({ values: [1n, 1n] });
    expect(amount?.values.value).toMatchObject({ values: [4, 0] });
    expect(amount?.statuses).toEqual([PRESENT, NOT_FOUND]);
    expect(amount?.eventTimesUs).toEqual([BigInt(nowUs - 1_000_000), 0n]);
    expect(seen?.values.value).toMatchObject({ values: [{ integers: [9_007_199_254_740_993n] }, { integers: [] }] });
    const vectors = embedding?.values.case === "vectors" ? embedding.values.value.values : new Uint8Array(0);
    expect([...new Float32Array(vectors.slice().buffer)]).toEqual([0.5, -1, 0, 0]);
    expect(shops?.values.value).toMatchObject({ values: [{ texts: ["a"] }, { texts: ["a"] }] });
  });

  test("reads as of a time", async () => {
    await push([{ time: nowUs - 10_000_000 }, { time: nowUs - 5_000_000 }]);
    const countAt = async (us: number) => {
      const asOf = { seconds: BigInt(Math.floor(us / 1e6)), nanos: (us % 1e6) * 1_000 };
      const entities = [{ entity: "card", integers: [1n] }];
      const { columns } = await read({ features: ["activity:n_1h"], entities, asOf });
      return columns[0]?.values.value;
    };
    expect(await countAt(nowUs - 10_000_000)).toMatchObject({ values: [0n] });
    expect(await countAt(nowUs - 5_000_000)).toMatchObject({ values: [1n] });
    expect(await countAt(nowUs - 4_999_999)).toMatchObject({ values: [2n] });
  });

  test("reads each row as of a time of its own, like one read a row", async () => {
    await push([3_600_000_000, 60_000_000, 1_000_000].map((ago) => ({ time: nowUs - ago, shop: "s" })));
    const features = ["activity:n_1h", "activity:total_1h", "last:amount", "request:amount"];
    const times = [nowUs - 3_600_000_000, nowUs, nowUs - 30_000_000, nowUs - 7_200_000_000, nowUs];
    type Request = Parameters<typeof client.getOnlineFeatures>[0];
    const of = (keys: bigint[], rows: number, over: Partial<Request>) => {
      const amounts = Array.from({ length: rows }, (_, row) => row);
      return client.getOnlineFeatures({
        scenario: "fraud",
        features,
        layout: MATRIX,
        entities: [
          { entity: "card", integers: keys },
          { entity: "shop", texts: ["s"] },
        ],
        requestFeatures: [{ name: "amount", values: { case: "float64s", value: { values: amounts } } }],
        ...over,
      } as Request);
    };
    for (const keys of [[1n], [1n, 2n, 1n, 1n, 1n]]) {
      const together = await of(keys, times.length, { rowsAsOfUs: times.map(BigInt) });
      const values: number[] = [];
      for (const [row, us] of times.entries()) {
        const asOf = { seconds: BigInt(Math.floor(us / 1e6)), nanos: (us % 1e6) * 1_000 };
        const alone = await of([keys[row] ?? keys[0] ?? 1n], 1, { asOf });
        const floats = numbersOf(alone.matrix?.values);
        floats[3] = row;
        values.push(...floats);
      }
      expect(numbersOf(together.matrix?.values)).toEqual(values);
    }
  });

  test("a repeated push changes nothing: by its id, or by its content", async () => {
    const count = async () => {
      const { columns } = await read({ features: ["activity:n_1h"], entities: [{ entity: "card", integers: [1n] }] });
      return columns[0]?.values.value;
    };
    expect((await push([{ amount: 1 }], "id-1")).duplicate).toBe(false);
    expect((await push([{ amount: 1 }], "id-1")).duplicate).toBe(true);
    expect((await push([{ amount: 2 }])).duplicate).toBe(false);
    expect((await push([{ amount: 2 }])).duplicate).toBe(true);
    expect(await count()).toMatchObject({ values: [2n] });
  });

  test("lists keys in order, page by page", async () => {
    await push([{ card: 5n }, { card: -1n }, { card: 300n }]);
    const list = (pageToken = "") =>
      client.listEntityKeys({ scenario: "fraud", view: "activity", pageSize: 2, pageToken });
    const first = await list();
    expect(first.keys?.integers).toEqual([-1n, 5n]);
    const second = await list(first.nextPageToken);
    expect([second.keys?.integers, second.nextPageToken]).toEqual([[300n], ""]);
    await expect(list("AAAA!")).rejects.toMatchObject({ reason: "PAGE_TOKEN_INVALID" });
    await expect(client.listEntityKeys({ scenario: "fraud", view: "nope" })).rejects.toMatchObject({
      reason: "VIEW_UNKNOWN",
    });
    await expect(
      client.listEntityKeys({ scenario: "fraud", view: "activity", pageSize: 99_999 }),
    ).rejects.toMatchObject({
      reason: "REQUEST_INVALID",
    });
  });

  test("materializes the offline store with what was pushed, and readers move over at once", async () => {
    await push([{ card: 1n, amount: 1 }]);
    const lines = [
      "time,card,shop,amount,seen,embedding",
      `${nowUs - 2_000_000},1,s,10,"[1]","[1,2]"`,
      `${nowUs - 3_000_000},2,s,20,"[1]","[1,2]"`,
    ];
    writeFileSync(join(folder, "fraud", "payments.csv"), `${lines.join("\n")}\n`);
    const progress = [];
    for await (const message of client.materialize({ scenario: "fraud" })) progress.push(message);
    expect(progress.at(-1)).toMatchObject({ done: true, rowsTotal: 6n });
    await push([{ card: 2n, amount: 100 }]);
    const { columns } = await read({
      features: ["activity:n_1h", "activity:total_1h"],
      entities: [{ entity: "card", integers: [1n, 2n, 3n] }],
      layout: COLUMNS,
    });
    expect(columns.map(({ values }) => values.value)).toMatchObject([
      { values: [2n, 2n, 0n] },
      { values: [11, 120, 0] },
    ]);
  });

  test("window state that was damaged is healed by the next full materialization, to the bit", async () => {
    const random = seededRandom(17);
    const rows = () =>
      Array.from({ length: 4 }, () => ({
        card: BigInt(Math.floor(random() * 3)),
        amount: Math.floor(random() * 1_000) / 8,
        shop: random() < 0.5 ? "a" : "b",
        time: nowUs - Math.floor(random() * 3_600_000_000),
      }));
    writeFileSync(join(folder, "fraud", "payments.csv"), "time,card,shop,amount,seen,embedding\n");
    for (let n = 0; n < 50; n++) await push(rows());
    const vectors = async () => {
      const { columns } = await read({
        features: ["activity:n_1h", "activity:total_1h", "activity:shops_1h"],
        entities: [{ entity: "card", integers: [0n, 1n, 2n] }],
        layout: COLUMNS,
      });
      return columns.map(({ values }) => values.value);
    };
    const before = await vectors();
    const damage = (key: bigint, bytes: Uint8Array | undefined) =>
      states.store.write([{ view: states.handle, key, merge: () => bytes }]);
    await damage(0n, Uint8Array.of(1, 2, 3));
    await damage(1n, new Uint8Array(64));
    const lost = [
      { card: 0n, amount: 1 },
      { card: 1n, amount: 2 },
    ];
    await push(lost);
    expect((await vectors())[0]).toMatchObject({ values: [1n, 1n, expect.anything()] });
    for await (const _progress of client.materialize({ scenario: "fraud" }));
    const after = await vectors();
    const counts = before[0] as { readonly values: readonly bigint[] };
    expect(after[0]).toMatchObject({
      values: counts.values.map((count, card) => (card < 2 ? count + 1n : count)),
    });
    // The same events in another order through the batch run: the same bits.
    const sums = before[1] as { readonly values: readonly number[] };
    expect(after[1]).toMatchObject({ values: sums.values.map((sum, card) => sum + (lost[card]?.amount ?? 0)) });
  });

  test.each<[string, string, Partial<Parameters<Client<typeof feature.FeatureService>["getOnlineFeatures"]>[0]>]>([
    ["neither features nor a service", "REQUEST_INVALID", {}],
    ["both", "REQUEST_INVALID", { featureService: "tree", features: ["last:amount"] }],
    ["too many features", "REQUEST_INVALID", { features: Array.from({ length: 11 }, () => "last:amount") }],
    [
      "two kinds of times",
      "REQUEST_INVALID",
      {
        features: ["last:amount"],
        entities: [{ entity: "shop", texts: ["s"] }],
        asOf: { seconds: 1n, nanos: 0 },
        rowsAsOfUs: [1n],
      },
    ],
    [
      "more keys than times",
      "REQUEST_INVALID",
      { features: ["last:amount"], entities: [{ entity: "shop", texts: ["s", "t"] }], rowsAsOfUs: [1n] },
    ],
    [
      "a time out of range",
      "REQUEST_INVALID",
      { features: ["last:amount"], entities: [{ entity: "shop", texts: ["s"] }], rowsAsOfUs: [1n << 60n] },
    ],
    ["unknown service", "FEATURE_SERVICE_UNKNOWN", { featureService: "nope" }],
    ["unknown feature", "FEATURE_UNKNOWN", { features: ["activity:nope"] }],
    ["unknown entity", "ENTITY_UNKNOWN", { features: ["last:amount"], entities: [{ entity: "dog", texts: ["a"] }] }],
    ["missing entity", "ENTITY_MISSING", { features: ["last:amount"] }],
    ["no keys", "ENTITY_MISSING", { features: ["last:amount"], entities: [{ entity: "shop" }] }],
    ["wrong key type", "KEY_INVALID", { features: ["last:amount"], entities: [{ entity: "shop", integers: [1n] }] }],
    ["wrong key type", "KEY_INVALID", { features: ["activity:n_1h"], entities: [{ entity: "card", texts: ["1"] }] }],
    ["empty key", "KEY_INVALID", { features: ["last:amount"], entities: [{ entity: "shop", texts: [""] }] }],
    [
      "long key",
      "KEY_INVALID",
      { features: ["last:amount"], entities: [{ entity: "shop", texts: ["é".repeat(257)] }] },
    ],
    [
      "keys of different lengths",
      "KEY_INVALID",
      {
        features: ["last:amount", "activity:n_1h"],
        entities: [
          { entity: "shop", texts: ["a", "b"] },
          { entity: "card", integers: [1n, 2n, 3n] },
        ],
      },
    ],
    [
      "too many rows",
      "ROWS_TOO_MANY",
      { features: ["activity:n_1h"], entities: [{ entity: "card", integers: [1n, 2n, 3n, 4n, 5n, 6n] }] },
    ],
    ["missing request feature", "REQUEST_FEATURE_INVALID", { features: ["request:amount"] }],
    [
      "NaN request feature",
      "REQUEST_FEATURE_INVALID",
      { features: ["request:amount"], requestFeatures: amountOf(Number.NaN) },
    ],
    [
      "wrongly typed request feature",
      "REQUEST_FEATURE_INVALID",
      {
        features: ["request:amount"],
        requestFeatures: [{ name: "amount", values: { case: "strings", value: { values: ["1"] } } }],
      },
    ],
    [
      "unknown request feature",
      "REQUEST_FEATURE_INVALID",
      { features: ["request:amount"], requestFeatures: [...amountOf(1), { ...amountOf(1)[0], name: "nope" }] },
    ],
    [
      "oversize request feature",
      "REQUEST_FEATURE_INVALID",
      {
        features: ["request:note"],
        requestFeatures: [{ name: "note", values: { case: "strings", value: { values: ["x".repeat(601)] } } }],
      },
    ],
    [
      "a list in a matrix",
      "FEATURE_NOT_NUMERIC",
      { features: ["last:seen"], layout: MATRIX, entities: [{ entity: "shop", texts: ["a"] }] },
    ],
  ])("refuses a read with %s: %s", async (_what, reason, request) => {
    await expect(read(request)).rejects.toMatchObject({ reason, domain: "weft.feature" });
  });

  test("a request feature may be null", async () => {
    const { columns } = await read({
      features: ["request:amount"],
      requestFeatures: [{ ...amountOf(0)[0], statuses: [NULL] }],
    });
    expect(columns[0]?.statuses).toEqual([NULL]);
  });

  test.each<[string, string, (columns: NonNullable<Columns>) => NonNullable<Columns>]>([
    ["no event time", "COLUMN_INVALID", (columns) => columns.slice(1)],
    ["no rows", "COLUMN_INVALID", () => paymentColumns([])],
    ["a missing field", "COLUMN_INVALID", (columns) => columns.filter(({ name }) => name !== "amount")],
    ["an unknown field", "COLUMN_INVALID", (columns) => [...columns, { ...columns[1], name: "nope" }]],
    ["a field sent twice", "COLUMN_INVALID", (columns) => [...columns, ...columns.slice(1, 2)]],
    [
      "columns of different lengths",
      "COLUMN_INVALID",
      (columns) => [...paymentColumns([{}, {}]).slice(0, 1), ...columns.slice(1)],
    ],
    [
      "a wrong type",
      "COLUMN_INVALID",
      (columns) => columns.map((c) => (c.name === "amount" ? { ...columns[1], name: "amount" } : c)),
    ],
    ["too many rows", "ROWS_TOO_MANY", () => paymentColumns([{}, {}, {}, {}, {}])],
    ["NaN", "COLUMN_INVALID", () => paymentColumns([{ amount: Number.NaN }])],
    ["minus infinity", "COLUMN_INVALID", () => paymentColumns([{ amount: Number.NEGATIVE_INFINITY }])],
    [
      "a status that only answers have",
      "COLUMN_INVALID",
      (columns) => columns.map((c) => (c.name === "amount" ? { ...c, statuses: [NOT_FOUND] } : c)),
    ],
    [
      "a value of 10 MB",
      "COLUMN_INVALID",
      (columns) => columns.map((c) => (c.name === "shop" ? stringsOf("shop", "x".repeat(10_000_000)) : c)),
    ],
    [
      "a vector of another dimension",
      "COLUMN_INVALID",
      (columns) => columns.map((c) => (c.name === "embedding" ? vectorsOf(3, [1, 2, 3]) : c)),
    ],
    [
      "a vector with NaN",
      "COLUMN_INVALID",
      (columns) => columns.map((c) => (c.name === "embedding" ? vectorsOf(2, [1, Number.NaN]) : c)),
    ],
    ["an event time beyond all times", "EVENT_TIME_OUT_OF_RANGE", () => paymentColumns([{ time: 2 ** 60 }])],
    ["an event time before all times", "EVENT_TIME_OUT_OF_RANGE", () => paymentColumns([{ time: -(2 ** 60) }])],
    [
      "an event time that is null",
      "EVENT_TIME_OUT_OF_RANGE",
      (columns) => columns.map((c) => (c.name === "time" ? { ...c, statuses: [NULL] } : c)),
    ],
    ["infinity", "COLUMN_INVALID", () => paymentColumns([{ amount: Number.POSITIVE_INFINITY }])],
    ["an empty key", "COLUMN_INVALID", () => paymentColumns([{ shop: "" }])],
    ["a long key", "COLUMN_INVALID", () => paymentColumns([{ shop: "x".repeat(513) }])],
    ["an oversize value", "COLUMN_INVALID", () => paymentColumns([{ shop: "x".repeat(601) }])],
    ["an event time too far ahead", "EVENT_TIME_OUT_OF_RANGE", () => paymentColumns([{ time: nowUs + 60_000_001 }])],
  ])("refuses a push with %s: %s", async (_what, reason, change) => {
    const columns = change(paymentColumns([{}]));
    await expect(client.push({ scenario: "fraud", source: "payments", columns })).rejects.toMatchObject({ reason });
    const { columns: after } = await read({
      features: ["activity:n_1h"],
      entities: [{ entity: "card", integers: [1n] }],
    });
    expect(after[0]?.values.value).toMatchObject({ values: [0n] });
    const { body } = await telemetry.metrics.expose();
    expect(body).toContain(`feature_refused_pushes_total{reason="${reason}"} 1\n`);
  });

  describe("the quarantine", () => {
    const message = (text: string) => ({ kind: "message" as const, bytes: new TextEncoder().encode(text) });
    const aside = (origin: string, reason: string, content: EventContent): RefusedEvent => ({
      scenario: "fraud",
      source: "payments",
      reason,
      detail: "does not fit",
      origin,
      content,
    });
    const good = `{"time": ${nowUs - 1_000_000}, "card": 7, "shop": "s", "amount": 3}`;
    const fields = ["card", "shop", "amount", "seen", "embedding"];
    const row = { eventTimeUs: nowUs - 2_000_000, createdTimeUs: nowUs, values: [7n, "s", 4, [8n], null] };
    const countOf7 = async () => {
      const { columns } = await read({ features: ["activity:n_1h"], entities: [{ entity: "card", integers: [7n] }] });
      return columns[0]?.values.value;
    };

    test("is listed by source and reason, page by page", async () => {
      await quarantine.add(
        [
          aside("kafka/t/0/1", "VALUE_INVALID", message(good)),
          aside("kafka/t/0/2", "MESSAGE_UNREADABLE", message("{")),
          aside("push/x/0", "EXPECTATION_NOT_MET", { kind: "row", fields, row }),
        ],
        5_000_001,
      );
      const all = await client.listQuarantine({ scenario: "fraud" });
      expect(all.events).toEqual([]);
      expect(all.summaries).toMatchObject([
        { source: "payments", reason: "EXPECTATION_NOT_MET", count: 1n, keptCount: 1n },
        { source: "payments", reason: "MESSAGE_UNREADABLE", firstTime: { seconds: 5n, nanos: 1_000 } },
        { source: "payments", reason: "VALUE_INVALID" },
      ]);
      const first = await client.listQuarantine({ scenario: "fraud", source: "payments", pageSize: 2 });
      expect(first.events.map(({ content }) => content)).toEqual([good, "{"]);
      const second = await client.listQuarantine({
        scenario: "fraud",
        source: "payments",
        pageSize: 2,
        pageToken: first.nextPageToken,
      });
      expect(second.events.map(({ content }) => JSON.parse(content))).toEqual([
        { event_time_us: nowUs - 2_000_000, card: "7", shop: "s", amount: 4, seen: ["8"], embedding: null },
      ]);
      expect(second.nextPageToken).toBe("");
    });

    test("is replayed, once; what cannot be read even now stays, and can be dropped", async () => {
      await quarantine.add(
        [
          aside("kafka/t/0/1", "VALUE_INVALID", message(good)),
          aside("kafka/t/0/2", "MESSAGE_UNREADABLE", message("{")),
          aside("push/x/0", "EXPECTATION_NOT_MET", { kind: "row", fields, row }),
        ],
        5,
      );
      const { REPLAY, DROP } = feature.ResolveQuarantineRequest_Action;
      const request = { scenario: "fraud", source: "payments", action: REPLAY };
      expect(await client.resolveQuarantine(request)).toMatchObject({ resolvedCount: 2n, keptCount: 1n });
      expect(await countOf7()).toMatchObject({ values: [2n] });
      // Should it come in again, it is the same event.
      await quarantine.add([aside("kafka/t/0/1", "VALUE_INVALID", message(good))], 6);
      expect(await client.resolveQuarantine(request)).toMatchObject({ resolvedCount: 1n, keptCount: 1n });
      expect(await countOf7()).toMatchObject({ values: [2n] });
      expect(await client.resolveQuarantine({ ...request, action: DROP })).toMatchObject({ resolvedCount: 1n });
      expect((await client.listQuarantine({ scenario: "fraud", source: "payments" })).events).toEqual([]);
    });

    test.each([
      ["no action", { source: "payments" }, "REQUEST_INVALID"],
      ["an unknown source", { source: "nope", action: 2 }, "SOURCE_UNKNOWN"],
      ["too many ids", { source: "payments", action: 2, ids: new Array<bigint>(1_001).fill(1n) }, "REQUEST_INVALID"],
    ])("refuses %s", async (_what, request, reason) => {
      await expect(client.resolveQuarantine({ scenario: "fraud", ...request })).rejects.toMatchObject({ reason });
    });
  });

  test("takes an event time before 1970, and one within the tolerance", async () => {
    expect(await push([{ time: -5_000_000 }, { time: nowUs + 60_000_000 }])).toMatchObject({ acceptedCount: 2 });
    const asOf = { seconds: -4n, nanos: 0 };
    const { columns } = await read({ features: ["last:amount"], entities: [{ entity: "shop", texts: ["s"] }], asOf });
    expect(columns[0]?.statuses).toEqual([NOT_FOUND]);
  });

  test("an unknown source is refused", async () => {
    await expect(client.push({ scenario: "fraud", source: "nope" })).rejects.toMatchObject({
      reason: "SOURCE_UNKNOWN",
    });
  });

  test("counts values by status, rows and freshness", async () => {
    await push([{}]);
    await read({ features: ["last:amount"], entities: [{ entity: "shop", texts: ["s", "nowhere"] }] });
    const { body } = await telemetry.metrics.expose();
    expect(body).toMatch(/feature_values_total\{status="present"\} 1\n/);
    expect(body).toMatch(/feature_values_total\{status="not_found"\} 1\n/);
    expect(body).toMatch(/feature_freshness_seconds_count\{scenario="fraud",view="last"\} 1\n/);
    expect(body).toMatch(/feature_read_rows_total 2\n/);
  });
});
