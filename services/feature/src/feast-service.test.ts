import { create } from "@bufbuild/protobuf";
import { beforeAll, describe, expect, test } from "@jest/globals";
import { feastServing, registry } from "@weft/contracts";
import { isWeftError } from "@weft/errors";
import {
  defineEntity,
  defineFeatureView,
  defineModel,
  defineScenario,
  defineScorePipeline,
  defineSource,
  defineTrainingSet,
  type Value,
} from "@weft/scenario";
import { clientOf, quietTelemetry } from "@weft/testkit";
import { MemoryOnlineStore } from "./adapters/memory-online-store.ts";
import { SqliteEventLog } from "./adapters/sqlite-event-log.ts";
import { Ingest } from "./domain/ingest/ingest.ts";
import { createFeastHandlers } from "./feast-service.ts";
import { openPushExpectations } from "./materialization-fixture.ts";
import { createMetrics } from "./metrics.ts";
import { loadRelease } from "./releases.ts";
import { createOnlineHandlers } from "./service.ts";

const nowUs = 1_700_000_000_000_000;
const dayUs = 86_400_000_000;
const driver = defineEntity({ name: "driver_id", key: "int64" });
const city = defineEntity({ name: "city", key: "string" });
const fields = {
  driver: "int64",
  town: "string",
  rate: "float32",
  trips: "int64",
  active: "bool",
  name: "string",
  photo: "bytes",
  place: { vector: 2 },
  seen: { keys: "int64" },
  note: "float64",
} as const;
const stats = defineSource({ name: "stats", file: "stats.csv", eventTime: "at", fields });
const ofDriver = defineFeatureView({
  name: "driver_stats",
  entities: [{ entity: driver, field: "driver" }],
  source: stats,
  ttl: "2d",
  features: Object.fromEntries(
    (["rate", "trips", "active", "name", "photo", "place", "seen", "note"] as const).map((name) => [
      name,
      { type: fields[name] },
    ]),
  ),
});
const ofCity = defineFeatureView({
  name: "city_stats",
  entities: [{ entity: city, field: "town" }],
  source: stats,
  ttl: "2d",
  ladder: ["stale", "default"],
  features: { rate: { type: "float64", field: "note", default: 0.5 } },
});
const trainingSet = defineTrainingSet({
  name: "none",
  source: stats,
  entities: {},
  label: "note",
  testShare: 0,
});
const model = defineModel({
  name: "eta",
  features: ["driver_stats:rate", "driver_stats:trips", "request:distance"],
  trainingSet,
  trainer: { name: "none", parameters: {} },
  output: "score",
});
const scenario = defineScenario({
  name: "rides",
  description: "Rides.",
  request: { distance: "float64", night: "bool" },
  views: [ofDriver, ofCity],
  transforms: [],
  models: [model],
  pipeline: defineScorePipeline({
    name: "eta",
    deadlineMs: 50,
    entities: [driver],
    stages: { features: { budgetMs: 10 }, scoring: { budgetMs: 10, model } },
    decisions: [{ decision: "go", atLeast: 0 }],
    fallback: { name: "rules", rules: () => ({ score: 0, reasons: [] }) },
  }),
  examples: [],
});

const { PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_MAX_AGE } = feastServing.FieldStatus;
const telemetry = quietTelemetry();

async function start(more: { scenario?: string; scenarios?: readonly string[] } = {}) {
  const store = new MemoryOnlineStore();
  const log = SqliteEventLog.open({ path: ":memory:", sizeMaxBytes: 2 ** 24 });
  const observer = { accepted: () => {}, skipped: () => {}, corrupt: () => {}, behind: () => {} };
  const ingest = new Ingest(log, store, observer, { queueRowsMax: 1_000 });
  const release = await loadRelease(
    {
      release: create(registry.ReleaseSchema, {
        id: "r1",
        featureViews: [
          { name: "driver_stats", version: "7" },
          { name: "city_stats", version: "2" },
        ],
      }),
      scenario,
    },
    { store, ingest, plansMax: 8 },
  );
  const row = (eventTimeUs: number, values: readonly Value[]) => ({
    eventTimeUs,
    createdTimeUs: eventTimeUs,
    values,
  });
  await ingest.push({
    scenario: "rides",
    source: "stats",
    requestId: "1",
    receivedUs: nowUs,
    fields: Object.keys(fields),
    rows: [
      row(nowUs - 5_000_001, [
        9_007_199_254_740_993n,
        "Bonn",
        0.25,
        -(2n ** 62n),
        true,
        "Ü",
        Uint8Array.of(0, 255),
        Float32Array.of(1.5, -2),
        [3n, 2n],
        0.125,
      ]),
      row(nowUs - dayUs, [2n, "Ulm", null, 4n, null, null, null, null, [], null]),
      row(nowUs - 3 * dayUs, [3n, "Jena", 1, 5n, false, "x", Uint8Array.of(), Float32Array.of(0, 0), [], 8]),
    ],
  });
  const resolve = () => release;
  const limits = { rowsMax: 5, featuresMax: 20, pushRowsMax: 4, valueBytesMax: 600, futureToleranceMs: 60_000 };
  const metrics = createMetrics(telemetry.metrics);
  const online = createOnlineHandlers({
    resolve,
    store,
    ingest,
    metrics,
    expectations: openPushExpectations().expectations,
    nowUs: () => nowUs,
    limits,
  });
  return clientOf(
    feastServing.ServingService,
    createFeastHandlers({
      resolve(name, id) {
        if (name !== "rides") throw new Error(`resolved ${name}`);
        expect(id).toBe("");
        return release;
      },
      scenarios: () => more.scenarios ?? ["rides"],
      scenario: more.scenario ?? "",
      getOnlineFeatures: online.getOnlineFeatures,
    }),
    telemetry,
  );
}

const int64s = (...values: bigint[]) => ({
  val: values.map((value) => ({ val: { case: "int64Val" as const, value } })),
});
const texts = (...values: string[]) => ({
  val: values.map((value) => ({ val: { case: "stringVal" as const, value } })),
});
const doubles = (...values: number[]) => ({
  val: values.map((value) => ({ val: { case: "doubleVal" as const, value } })),
});

let client: Awaited<ReturnType<typeof start>>;
beforeAll(async () => {
  client = await start();
});

/** Kinds, statuses and times of the answer by name. */
function columns({ metadata, results }: feastServing.GetOnlineFeaturesResponse) {
  return Object.fromEntries(
    (metadata?.featureNames?.val ?? []).map((name, index) => {
      const { values = [], statuses = [], eventTimestamps = [] } = results[index] ?? {};
      return [
        name,
        { values: values.map(({ val }) => val), statuses, times: eventTimestamps.map(({ seconds }) => seconds) },
      ];
    }),
  );
}

describe("Feast's serving contract", () => {
  test("says which version it is", async () => {
    expect(await client.getFeastServingInfo({})).toMatchObject({ version: expect.stringMatching(/^\d+\.\d+\.\d+$/) });
  });

  test("answers every type, status and event time, entities first", async () => {
    const names = ["rate", "trips", "active", "name", "photo", "place", "seen", "note"];
    const response = await client.getOnlineFeatures({
      kind: { case: "features", value: { val: names.map((name) => `driver_stats:${name}`) } },
      entities: { driver_id: int64s(9_007_199_254_740_993n, 2n, 3n, 4n) },
    });
    expect(response.status).toBe(true);
    expect(response.metadata?.featureNames?.val).toEqual(["driver_id", ...names]);
    expect(response.metadata?.featureViewMetadata).toEqual([]);
    const { driver_id, ...found } = columns(response);
    expect(driver_id?.values.map((val) => val.value)).toEqual([9_007_199_254_740_993n, 2n, 3n, 4n]);
    expect(driver_id?.statuses).toEqual([PRESENT, PRESENT, PRESENT, PRESENT]);
    expect(Object.values(found).map(({ values }) => [values[0]?.case, values[0]?.value])).toEqual([
      ["floatVal", 0.25],
      ["int64Val", -(2n ** 62n)],
      ["boolVal", true],
      ["stringVal", "Ü"],
      ["bytesVal", Uint8Array.of(0, 255)],
      ["floatListVal", expect.objectContaining({ val: [1.5, -2] })],
      ["int64ListVal", expect.objectContaining({ val: [3n, 2n] })],
      ["doubleVal", 0.125],
    ]);
    expect(found.rate?.statuses).toEqual([PRESENT, NULL_VALUE, OUTSIDE_MAX_AGE, NOT_FOUND]);
    expect(found.trips?.statuses).toEqual([PRESENT, PRESENT, OUTSIDE_MAX_AGE, NOT_FOUND]);
    // Nothing stale where the ladder has no such step.
    expect(found.trips?.values.map((val) => val.value)).toEqual([-(2n ** 62n), 4n, undefined, undefined]);
    expect(found.trips?.times.slice(0, 2)).toEqual([BigInt((nowUs - 6_000_000) / 1e6), BigInt((nowUs - dayUs) / 1e6)]);
    expect(found.trips?.times[3]).toBe(0n);
    expect(response.results[1]?.eventTimestamps[0]?.nanos).toBe(999_999_000);
  });

  test("serves stale values and defaults where the view's ladder has them, and says so", async () => {
    const { rate } = columns(
      await client.getOnlineFeatures({
        kind: { case: "features", value: { val: ["city_stats:rate"] } },
        entities: { city: texts("Bonn", "Jena", "Köln") },
      }),
    );
    expect(rate?.values.map((val) => val.value)).toEqual([0.125, 8, 0.5]);
    expect(rate?.statuses).toEqual([PRESENT, OUTSIDE_MAX_AGE, NOT_FOUND]);
  });

  test("reads a feature service with request fields from either map, and names features in full", async () => {
    const ask = (fieldsIn: "entities" | "requestContext") =>
      client.getOnlineFeatures({
        kind: { case: "featureService", value: "eta" },
        entities: { driver_id: int64s(2n, 4n), ...(fieldsIn === "entities" ? { distance: doubles(1.5, 2.5) } : {}) },
        ...(fieldsIn === "entities" ? {} : { requestContext: { distance: doubles(1.5, 2.5) } }),
        fullFeatureNames: true,
        includeFeatureViewVersionMetadata: true,
      });
    const response = await ask("requestContext");
    expect(await ask("entities")).toEqual(response);
    expect(response.metadata?.featureNames?.val).toEqual([
      "driver_id",
      "driver_stats__rate",
      "driver_stats__trips",
      "request__distance",
    ]);
    expect(response.metadata?.featureViewMetadata).toMatchObject([{ name: "driver_stats", version: 7 }]);
    expect(columns(response).request__distance?.values.map((val) => val.value)).toEqual([1.5, 2.5]);
  });

  const features = (...val: string[]) => ({ case: "features" as const, value: { val } });
  test.each<[string, Parameters<typeof client.getOnlineFeatures>[0], string, RegExp]>([
    ["no kind", { entities: { driver_id: int64s(1n) } }, "REQUEST_INVALID", /name either/],
    [
      "an unknown feature",
      { kind: features("driver_stats:nope"), entities: { driver_id: int64s(1n) } },
      "FEATURE_UNKNOWN",
      /nope/,
    ],
    [
      "an unknown service",
      { kind: { case: "featureService", value: "x" }, entities: {} },
      "FEATURE_SERVICE_UNKNOWN",
      /"x"/,
    ],
    ["no keys", { kind: features("driver_stats:rate"), entities: {} }, "ENTITY_MISSING", /driver_id/],
    [
      "keys of another type",
      { kind: features("driver_stats:rate"), entities: { driver_id: texts("1") } },
      "KEY_INVALID",
      /are int64, and string_val was sent/,
    ],
    [
      "an unknown entity",
      { kind: features("driver_stats:rate"), entities: { driver_id: int64s(1n), car: int64s(1n) } },
      "REQUEST_FEATURE_INVALID",
      /"car"/,
    ],
    [
      "a request field of another type",
      { kind: features("request:night"), requestContext: { night: doubles(1) } },
      "REQUEST_FEATURE_INVALID",
      /row 0 is double_val/,
    ],
    [
      "columns of different lengths",
      {
        kind: features("driver_stats:rate", "city_stats:rate"),
        entities: { driver_id: int64s(1n, 2n), city: texts("a", "b", "c") },
        fullFeatureNames: true,
      },
      "KEY_INVALID",
      /rows/,
    ],
    [
      "two features of one name",
      { kind: features("driver_stats:rate", "city_stats:rate"), entities: { driver_id: int64s(1n), city: texts("a") } },
      "REQUEST_INVALID",
      /two features are named "rate"/,
    ],
    [
      "too many rows",
      { kind: features("driver_stats:rate"), entities: { driver_id: int64s(1n, 2n, 3n, 4n, 5n, 6n) } },
      "ROWS_TOO_MANY",
      /6 rows/,
    ],
  ])("refuses %s", async (_, request, reason, message) => {
    const error = await client.getOnlineFeatures(request).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(isWeftError(error) ? [error.reason, error.message] : error).toEqual([
      reason,
      expect.stringMatching(message),
    ]);
  });

  test("reads the scenario that the call names, else the one that is set, else the only one", async () => {
    const ask = { kind: features("driver_stats:trips"), entities: { driver_id: int64s(2n) } };
    const several = await start({ scenarios: ["rides", "loans"] });
    await expect(several.getOnlineFeatures(ask)).rejects.toMatchObject({
      reason: "SCENARIO_AMBIGUOUS",
      message: expect.stringContaining("rides, loans"),
    });
    const named = await several.getOnlineFeatures(ask, { metadata: { "x-weft-scenario": "rides" } });
    expect(columns(named).trips?.values[0]?.value).toBe(4n);
    const set = await start({ scenario: "rides", scenarios: ["rides", "loans"] });
    expect(columns(await set.getOnlineFeatures(ask)).trips?.values[0]?.value).toBe(4n);
    await expect((await start({ scenarios: [] })).getOnlineFeatures(ask)).rejects.toMatchObject({
      reason: "SCENARIO_AMBIGUOUS",
    });
  });
});
