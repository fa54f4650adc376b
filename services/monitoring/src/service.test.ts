import { createHash } from "node:crypto";
import { create, toJson } from "@bufbuild/protobuf";
import { beforeEach, describe, expect, test } from "@jest/globals";
import { monitoring, registry } from "@weft/contracts";
import { Code, createErrors, WeftError } from "@weft/errors";
import type { Handlers } from "@weft/rpc";
import { clientOf, FakeClock, quietTelemetry } from "@weft/testkit";
import { MemoryPredictionLog } from "./adapters/memory-prediction-log.ts";
import { createRegistryLookup } from "./adapters/registry-lookup.ts";
import { LogEngine } from "./domain/log-engine.ts";
import { floatBytes, prediction, type SentPrediction, startUs } from "./domain/prediction-fixture.ts";
import { ReleaseCatalog } from "./domain/release-catalog.ts";
import { createMonitoringMetrics } from "./metrics.ts";
import { createMonitoringService } from "./service.ts";

const referenceJson = JSON.stringify({
  rows: 1000,
  features: {
    "card:amount": { edges: [0, 1, 2], shares: [0.25, 0.25, 0.25, 0.25], missing_ratio: 0 },
    "card:age": { edges: [10], shares: [0.5, 0.5], missing_ratio: 0.2 },
  },
  scores: { edges: [0.2, 0.5, 0.8], shares: [0.4, 0.3, 0.2, 0.1] },
});
const registryErrors = createErrors("weft.registry", {
  RELEASE_NOT_FOUND: { code: Code.NotFound, message: (m: { release: string }) => `no release ${m.release}` },
  DOWN: { code: Code.Unavailable, message: (_: { why: string }) => "down", retryAfterMs: 10 },
});

/** A registry in which releases are named `<scenario>-<n>`; tests change what it holds and whether it answers. */
function fakeRegistry() {
  const state = { isUp: true, calls: 0, text: referenceJson, digest: "", knows: (id: string) => id.endsWith("-1") };
  const check = () => {
    state.calls++;
    if (!state.isUp) {
      throw registryErrors.DOWN({ why: "test" });
    }
  };
  const refuse = () => {
    throw registryErrors.DOWN({ why: "not part of this test" });
  };
  const handlers: Handlers<typeof registry.RegistryService> = {
    putArtifact: refuse,
    registerFeatureView: refuse,
    listFeatureViews: refuse,
    registerModel: refuse,
    getModel: refuse,
    listModels: refuse,
    createRelease: refuse,
    setLabel: refuse,
    getLineage: refuse,
    watchReleases: refuse,
    getRelease({ id }) {
      check();
      if (!state.knows(id)) {
        throw registryErrors.RELEASE_NOT_FOUND({ release: id });
      }
      const features = ["card:amount", "card:age"];
      const referenceDigest = state.digest || createHash("sha256").update(state.text).digest("hex");
      const models = ["tree", "network"].map((name) => ({ name, version: "1", features, referenceDigest }));
      const scenario = id.split("-")[0] ?? "";
      return {
        release: {
          id,
          scenario,
          models: state.digest === "none" ? models.map((model) => ({ ...model, referenceDigest: "" })) : models,
        },
      };
    },
    async *getArtifact() {
      check();
      for (let at = 0; at < state.text.length; at += 100) {
        yield { chunk: Buffer.from(state.text.slice(at, at + 100)) };
      }
    },
    listReleases({ scenario }) {
      check();
      return { releases: scenario === "fraud" ? [{ id: "fraud-1", scenario }] : [] };
    },
  };
  return { state, client: clientOf(registry.RegistryService, handlers) };
}

describe("monitoring service", () => {
  const telemetry = quietTelemetry();
  let fake: ReturnType<typeof fakeRegistry>;
  let clock: FakeClock;
  let log: MemoryPredictionLog;
  let client: ReturnType<typeof clientOf<typeof monitoring.MonitoringService>>;

  beforeEach(async () => {
    fake = fakeRegistry();
    clock = new FakeClock(startUs / 1000 + 3_600_000);
    log = new MemoryPredictionLog(100_000);
    const engine = await LogEngine.open(log, {
      sizeMaxBytes: 1e9,
      ageMaxMs: 1e12,
      bucketUs: 3.6e9,
      bucketsMax: 48,
      releasesMax: 10,
      pageRows: 100,
      pause: () => new Promise((resolve) => setImmediate(resolve)),
      stopwatchMs: () => performance.now(),
    });
    const handlers = createMonitoringService({
      log: engine,
      catalog: new ReleaseCatalog(createRegistryLookup(fake.client, { timeoutMs: 1000, referenceBytesMax: 10_000 }), {
        entriesMax: 10,
        retryMs: 5000,
      }),
      metrics: createMonitoringMetrics(telemetry.metrics),
      clock,
      eventTimeAheadUs: 86_400e6,
      windowMaxUs: 47 * 3.6e9,
    });
    client = clientOf(monitoring.MonitoringService, handlers);
  });

  const refused = async (call: Promise<unknown>, code: number, reason: string, message: RegExp) => {
    const error = await call.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(WeftError);
    expect(error).toMatchObject({ code, reason, message: expect.stringMatching(message) });
    return error as WeftError;
  };

  test("logs predictions and labels, and answers drift and quality of champion and shadow", async () => {
    const predictions = Array.from({ length: 400 }, (_, i) =>
      prediction(`r${i}`, {
        eventTimeUs: BigInt(startUs + i),
        features: floatBytes([5, i % 5 === 0 ? Number.NaN : i % 2 === 0 ? 5 : 15]),
        scores: [
          { model: "tree", version: "1", score: i / 400, shadow: false },
          { model: "network", version: "1", score: 0.9, shadow: true },
        ],
      }),
    );
    expect(await client.logPredictions({ predictions })).toMatchObject({ acceptedCount: 400 });
    expect(await client.logPredictions({ predictions: predictions.slice(0, 3) })).toMatchObject({ acceptedCount: 3 });
    const labels = predictions.map(({ requestId }, i) => ({ requestId, value: i >= 200 ? 1 : 0 }));
    const waiting = { requestId: "unknown", value: 1 };
    expect(await client.logLabels({ scenario: "fraud", labels: [...labels, waiting] })).toMatchObject({
      acceptedCount: 401,
      joinedCount: 400,
    });

    const drift = await client.getDrift({ scenario: "fraud" });
    expect(drift).toMatchObject({
      releaseId: "fraud-1",
      predictionCount: 400n,
      windowStart: { seconds: BigInt(startUs / 1e6 - 86_400), nanos: 0 },
      windowEnd: { seconds: BigInt(startUs / 1e6), nanos: 399_000 },
    });
    const byName = new Map(drift.statistics.map((each) => [`${each.model} ${each.name}`, each]));
    expect([...byName.keys()]).toEqual([
      "tree card:amount",
      "tree card:age",
      "tree score:tree",
      "network score:network",
    ]);
    expect(byName.get("tree card:amount")).toMatchObject({
      drifted: true,
      currentCount: 400n,
      referenceCount: 1000n,
      edges: [0, 1, 2],
      referenceShares: [0.25, 0.25, 0.25, 0.25],
      currentShares: [0, 0, 0, 1],
    });
    const age = byName.get("tree card:age");
    expect(age).toMatchObject({ drifted: false, missingRatio: 0.2, referenceShares: [0.4, 0.4] });
    expect(age?.psi).toBeCloseTo(0, 12);
    expect(drift.quality).toMatchObject([
      { model: "tree", version: "1", labelledCount: 400n, auc: 1 },
      { model: "network", labelledCount: 400n, auc: 0.5 },
    ]);
    expect(drift.quality[1]?.brierScore).toBeCloseTo((0.9 ** 2 + 0.1 ** 2) / 2, 12);
    const { body } = await telemetry.metrics.expose();
    expect(body).toContain('monitoring_predictions_total{result="new"} 400');
    expect(body).toContain('monitoring_predictions_total{result="repeated"} 3');
    expect(body).toMatch(/monitoring_drift_psi\{scenario="fraud",model="tree",feature="card:amount"\} \d/);
  });

  test("lists predictions as they were sent, the last first, page by page and by key", async () => {
    const predictions = Array.from({ length: 40 }, (_, i) =>
      prediction(`r${i}`, {
        entities: { card: `c${i}` },
        request: { amount: { kind: { case: "number", value: i / 3 } }, note: { kind: { case: undefined } } },
        readTimeUs: BigInt(startUs + i),
      }),
    );
    await client.logPredictions({ predictions });
    const list = async (keyShare: number, pageSize: number) => {
      const found: monitoring.LoggedPrediction[] = [];
      let pageToken = "";
      do {
        const page = await client.listPredictions({ scenario: "fraud", keyShare, pageSize, pageToken });
        expect(page.predictions.length).toBeLessThanOrEqual(pageSize);
        found.push(...page.predictions);
        pageToken = page.nextPageToken;
      } while (pageToken !== "");
      return found;
    };
    const all = await list(1, 7);
    const sent = predictions.map((one) => create(monitoring.LoggedPredictionSchema, one)).reverse();
    expect(all.map((one) => toJson(monitoring.LoggedPredictionSchema, one))).toEqual(
      sent.map((one) => toJson(monitoring.LoggedPredictionSchema, one)),
    );
    const half = await list(0.5, 1_000);
    expect(half.length).toBeGreaterThan(5);
    expect(half.length).toBeLessThan(35);
    const quarter = await list(0.25, 3);
    const ids = new Set(half.map(({ requestId }) => requestId));
    expect(quarter.every(({ requestId }) => ids.has(requestId))).toBe(true);
    expect((await client.listPredictions({ scenario: "fraud", releaseId: "fraud-9" })).predictions).toEqual([]);
    expect((await client.listPredictions({ scenario: "other" })).predictions).toEqual([]);
  });

  test.each([
    [{ scenario: "" }, "REQUEST_INVALID", /scenario is empty/],
    [{ scenario: "fraud", keyShare: 0 }, "REQUEST_INVALID", /key_share is not over 0 and at most 1/],
    [{ scenario: "fraud", keyShare: Number.NaN }, "REQUEST_INVALID", /key_share/],
    [{ scenario: "fraud", pageSize: 1_001 }, "REQUEST_INVALID", /page_size is not 1 to 1000/],
    [{ scenario: "fraud", pageToken: "12x" }, "PAGE_TOKEN_INVALID", /not one that this service gave/],
  ])("refuses a faulty list: %o", async (request, reason, message) => {
    await refused(client.listPredictions(request), Code.InvalidArgument, reason, message);
  });

  test("an empty batch is nothing, and a release is looked up once", async () => {
    expect(await client.logPredictions({})).toMatchObject({ acceptedCount: 0 });
    expect(await client.logLabels({ scenario: "fraud" })).toMatchObject({ acceptedCount: 0 });
    fake.state.calls = 0;
    await Promise.all(
      Array.from({ length: 10 }, (_, i) => client.logPredictions({ predictions: [prediction(`r${i}`)] })),
    );
    // The release, and the reference of each of its two models.
    expect(fake.state.calls).toBe(3);
  });

  test("refuses faulty predictions whole, naming the field", async () => {
    const predictions = [prediction("a"), prediction("b", { features: new Uint8Array(6) })];
    const error = await refused(
      client.logPredictions({ predictions }),
      Code.InvalidArgument,
      "REQUEST_INVALID",
      /^predictions\[1\]\.features 6 bytes are not a multiple of 4$/,
    );
    expect(error.violations).toEqual([
      { field: "predictions[1].features", description: "6 bytes are not a multiple of 4" },
    ]);
    expect(await log.scan(0, 10)).toEqual([]);
    const cases: readonly (readonly [Partial<SentPrediction>, RegExp])[] = [
      [{ features: floatBytes([1]) }, /features are 1; "tree" has 2/],
      [{ scores: [{ model: "tree", version: "1", score: Number.NaN, shadow: false }] }, /NaN is not a finite number/],
      [{ eventTimeUs: BigInt(startUs) * 2n }, /event_time_us .* is in the future/],
      [{ scenario: "films" }, /release fraud-1 is of scenario "fraud"/],
      [{ requestId: "" }, /request_id/],
    ];
    for (const [over, fault] of cases) {
      const call = client.logPredictions({ predictions: [prediction("a", over)] });
      await refused(call, Code.InvalidArgument, "REQUEST_INVALID", fault);
    }
  });

  test("refuses oversize batches", async () => {
    const predictions = new Array(10_001).fill(prediction("a"));
    await refused(
      client.logPredictions({ predictions }),
      Code.InvalidArgument,
      "BATCH_TOO_LARGE",
      /10001.* at most 10000/,
    );
    const labels = new Array(10_001).fill({ requestId: "a", value: 1 });
    await refused(
      client.logLabels({ scenario: "fraud", labels }),
      Code.InvalidArgument,
      "BATCH_TOO_LARGE",
      /at most 10000/,
    );
  });

  test("refuses faulty labels", async () => {
    for (const [label, fault] of [
      [{ requestId: "", value: 1 }, /labels\[0\].request_id/],
      [{ requestId: "a", value: Number.NaN }, /labels\[0\].value NaN is not a finite number/],
      [{ requestId: "a", value: 1, labelTime: { seconds: -5n } }, /labels\[0\].label_time/],
      [{ requestId: "a", value: 1, labelTime: { seconds: 99_999_999_999n } }, /labels\[0\].label_time/],
      [{ requestId: "a", item: "x".repeat(513), value: 1 }, /labels\[0\].item/],
    ] as const) {
      const call = client.logLabels({ scenario: "fraud", labels: [label] });
      await refused(call, Code.InvalidArgument, "REQUEST_INVALID", fault);
    }
    await refused(client.logLabels({ labels: [] }), Code.InvalidArgument, "REQUEST_INVALID", /scenario/);
  });

  test("a label without a time is of now, so a later one replaces it", async () => {
    await client.logPredictions({ predictions: [prediction("a")] });
    await client.logLabels({ scenario: "fraud", labels: [{ requestId: "a", value: 1 }] });
    await clock.advance(1000);
    await client.logLabels({ scenario: "fraud", labels: [{ requestId: "a", value: 0 }] });
    const { quality } = await client.getDrift({ scenario: "fraud", releaseId: "fraud-1" });
    expect(quality).toMatchObject([{ labelledCount: 1n, brierScore: 0.25 }]);
    expect(quality[0]?.auc).toBeUndefined();
  });

  test("unknown scenarios and releases", async () => {
    const unknown = { predictions: [prediction("a", { releaseId: "fraud-9" })] };
    await refused(
      client.logPredictions(unknown),
      Code.NotFound,
      "RELEASE_UNKNOWN",
      /scenario "fraud" has no release "fraud-9"/,
    );
    const labels = [{ requestId: "a", value: 1 }];
    await refused(
      client.logLabels({ scenario: "films", labels }),
      Code.NotFound,
      "SCENARIO_UNKNOWN",
      /scenario "films"/,
    );
    await refused(client.getDrift({ scenario: "films" }), Code.NotFound, "SCENARIO_UNKNOWN", /scenario "films"/);
    const other = client.getDrift({ scenario: "films", releaseId: "fraud-1" });
    await refused(other, Code.NotFound, "RELEASE_UNKNOWN", /scenario "films" has no release "fraud-1"/);
    const absent = client.getDrift({ scenario: "fraud", releaseId: "fraud-9" });
    await refused(absent, Code.NotFound, "RELEASE_UNKNOWN", /no release "fraud-9"/);
    // That there was none is believed for a while, not for ever.
    fake.state.knows = () => true;
    await refused(client.logPredictions(unknown), Code.NotFound, "RELEASE_UNKNOWN", /fraud-9/);
    await clock.advance(5000);
    expect(await client.logPredictions(unknown)).toMatchObject({ acceptedCount: 1 });
  });

  test("no predictions, no reference, a reference that cannot be read, a window too long or empty", async () => {
    await refused(
      client.getDrift({ scenario: "fraud" }),
      Code.FailedPrecondition,
      "NO_PREDICTIONS",
      /no predictions of scenario "fraud" in the log/,
    );
    const named = client.getDrift({ scenario: "fraud", releaseId: "fraud-1" });
    await refused(named, Code.FailedPrecondition, "NO_PREDICTIONS", /release "fraud-1"/);
    const long = client.getDrift({ scenario: "fraud", window: { seconds: 48n * 3600n } });
    await refused(long, Code.InvalidArgument, "WINDOW_TOO_LONG", /47 hours/);
    const none = client.getDrift({ scenario: "fraud", window: { seconds: 0n } });
    await refused(none, Code.InvalidArgument, "REQUEST_INVALID", /window is not longer than zero/);
    await refused(client.getDrift({}), Code.InvalidArgument, "REQUEST_INVALID", /scenario is empty/);

    fake.state.digest = "none";
    fake.state.knows = (id) => id === "fraud-2";
    await client.logPredictions({ predictions: [prediction("a", { releaseId: "fraud-2" })] });
    await refused(
      client.getDrift({ scenario: "fraud" }),
      Code.FailedPrecondition,
      "REFERENCE_MISSING",
      /release "fraud-2"/,
    );
    fake.state.digest = "";
    fake.state.text = '{"rows": 0}';
    fake.state.knows = (id) => id === "fraud-3";
    await client.logPredictions({ predictions: [prediction("b", { releaseId: "fraud-3" })] });
    await refused(
      client.getDrift({ scenario: "fraud" }),
      Code.FailedPrecondition,
      "REFERENCE_INVALID",
      /"tree".*rows: not a positive integer/,
    );
  });

  test("a corrupt reference is never used; predictions are taken all the same", async () => {
    fake.state.digest = "0".repeat(64);
    await client.logPredictions({ predictions: [prediction("a")] });
    await refused(
      client.getDrift({ scenario: "fraud" }),
      Code.DataLoss,
      "REFERENCE_CORRUPT",
      /do not have this digest/,
    );
    fake.state.digest = "";
    await clock.advance(5000);
    expect((await client.getDrift({ scenario: "fraud" })).predictionCount).toBe(1n);
  });

  test("while the registry is down predictions and labels are taken, and compared once it is back", async () => {
    fake.state.isUp = false;
    const odd = { features: floatBytes([1, 2, 3]), statuses: new Uint8Array(0) };
    expect(await client.logPredictions({ predictions: [prediction("a"), prediction("b", odd)] })).toMatchObject({
      acceptedCount: 2,
    });
    const label = { requestId: "a", value: 1 };
    expect(await client.logLabels({ scenario: "fraud", labels: [label] })).toMatchObject({ joinedCount: 1 });
    const error = await refused(
      client.getDrift({ scenario: "fraud" }),
      Code.Unavailable,
      "REGISTRY_UNAVAILABLE",
      /release "fraud-1"/,
    );
    expect(error.retryAfterMs).toBe(1000);
    fake.state.isUp = true;
    await clock.advance(5000);
    const { predictionCount, statistics } = await client.getDrift({ scenario: "fraud" });
    expect(predictionCount).toBe(2n);
    expect(statistics.map(({ name, currentCount }) => [name, currentCount])).toEqual([
      ["card:amount", 1n],
      ["card:age", 1n],
      ["score:tree", 2n],
    ]);
  });

  test("a full disk is told as such, and what was there stays", async () => {
    const predictions = Array.from({ length: 2000 }, (_, i) => prediction(`r${i}`));
    await client.logPredictions({ predictions: predictions.slice(0, 10) });
    await refused(
      client.logPredictions({ predictions }),
      Code.ResourceExhausted,
      "DISK_FULL",
      /no space is left for the prediction log/,
    );
    expect((await client.getDrift({ scenario: "fraud" })).predictionCount).toBe(10n);
  });

  test("a closed log is unavailable", async () => {
    await log.close();
    await refused(
      client.logPredictions({ predictions: [prediction("a")] }),
      Code.Unavailable,
      "LOG_UNAVAILABLE",
      /not open/,
    );
  });
});
