import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { monitoring } from "@weft/contracts";
import { systemClock } from "@weft/service";
import { clientOf, quietTelemetry, seededRandom } from "@weft/testkit";
import { LogThread } from "../adapters/log-thread.ts";
import { SqlitePredictionLog } from "../adapters/sqlite-prediction-log.ts";
import { LogEngine, type MonitoringLog } from "../domain/log-engine.ts";
import { floatBytes } from "../domain/prediction-fixture.ts";
import type { Reference } from "../domain/reference.ts";
import { ReleaseCatalog } from "../domain/release-catalog.ts";
import { createMonitoringMetrics } from "../metrics.ts";
import { createMonitoringService } from "../service.ts";

/*
 * What a logged prediction costs: main-thread CPU (process.threadCpuUsage) and CPU of the whole process, for the handler
 * alone, through the in-memory call layer, and with the log on the event loop. 30 features, 2 scores, 500 a request,
 * offered at 10,000/s. Prints one JSON object a line: node dist/bench/log-cost.js
 */
const features = 30;
const batchRows = 500;
const perSecond = 10_000;
const seconds = Number(process.argv[2] ?? 10);

const random = seededRandom(1);
const edges = Array.from({ length: 9 }, (_, i) => (i + 1) / 10);
const distribution = { edges, shares: new Array<number>(10).fill(0.1), missingRatio: 0 };
const names = Array.from({ length: features }, (_, i) => `card:feature_${i}`);
const reference: Reference = {
  rows: 100_000,
  features: Object.fromEntries(names.map((name) => [name, distribution])),
  scores: distribution,
};
const parts = {
  releaseId: "fraud-1f2e3d4c5b6a",
  scenario: "fraud",
  models: ["fraud_tree", "fraud_network"].map((name) => ({ name, version: "1", features: names, reference })),
};

function request(batch: number): monitoring.LogPredictionsRequest {
  const predictions = Array.from({ length: batchRows }, (_, i) => ({
    requestId: `${batch.toString(16).padStart(8, "0")}-${Math.floor(random() * 2 ** 32).toString(16)}-4000-8000-${i}`,
    scenario: "fraud",
    releaseId: parts.releaseId,
    eventTimeUs: BigInt(1_704_067_200_000_000 + (batch * batchRows + i) * 100),
    entities: { card: `card-${i}`, customer: `customer-${i}`, terminal: `terminal-${i}` },
    featureModel: "fraud_tree",
    features: floatBytes(Array.from({ length: features }, () => random())),
    statuses: new Uint8Array(features).fill(1),
    scores: [
      { model: "fraud_tree", version: "1", score: random() },
      { model: "fraud_network", version: "1", score: random(), shadow: true },
    ],
    decision: "approve",
  }));
  return create(monitoring.LogPredictionsRequestSchema, { predictions });
}

const engineOptions = {
  sizeMaxBytes: 2 ** 31,
  ageMaxMs: 1e12,
  bucketUs: 3.6e9,
  bucketsMax: 800,
  releasesMax: 64,
  pageRows: 2000,
};

async function measure(
  mode: string,
  open: (path: string) => Promise<MonitoringLog>,
  callOf: (
    handlers: ReturnType<typeof createMonitoringService>,
  ) => (message: monitoring.LogPredictionsRequest) => Promise<unknown>,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "weft-log-cost-"));
  const log = await open(join(directory, "log.sqlite"));
  await log.putRelease(parts);
  const unused = async () => {
    throw new Error("not asked here");
  };
  const catalog = new ReleaseCatalog({ findRelease: unused, hasScenario: unused }, { entriesMax: 10, retryMs: 1 });
  catalog.add(parts);
  const telemetry = quietTelemetry();
  const handlers = createMonitoringService({
    log,
    catalog,
    metrics: createMonitoringMetrics(telemetry.metrics),
    clock: systemClock,
    eventTimeAheadUs: 1e12,
    windowMaxUs: 1e15,
  });
  const call = callOf(handlers);
  const warmUp = 60;
  const batches = (seconds * perSecond) / batchRows;
  const delays: number[] = [];
  let main = 0;
  let all = 0;
  for (let batch = 0; batch < warmUp + batches; batch++) {
    const message = request(batch);
    const wire = mode.startsWith("decode") ? toBinary(monitoring.LogPredictionsRequestSchema, message) : undefined;
    await new Promise((resolve) => setTimeout(resolve, batch < warmUp ? 0 : (1000 * batchRows) / perSecond / 2));
    const startMs = performance.now();
    const thread = process.threadCpuUsage();
    const whole = process.cpuUsage();
    await call(wire === undefined ? message : fromBinary(monitoring.LogPredictionsRequestSchema, wire));
    const threadUsed = process.threadCpuUsage(thread);
    const wholeUsed = process.cpuUsage(whole);
    if (batch >= warmUp) {
      main += threadUsed.user + threadUsed.system;
      all += wholeUsed.user + wholeUsed.system;
      delays.push(performance.now() - startMs);
    }
  }
  delays.sort((a, b) => a - b);
  const rows = batches * batchRows;
  const driftMs: number[] = [];
  for (let i = 0; i < 20; i++) {
    const startMs = performance.now();
    await log.drift({ scenario: "fraud", releaseId: "", windowUs: 86_400e6 });
    driftMs.push(performance.now() - startMs);
  }
  const { usage } = await log.maintain(Date.now());
  const result = {
    mode,
    rows,
    mainThreadUsPerPrediction: round(main / rows),
    processUsPerPrediction: round(all / rows),
    requestMs: {
      p50: round(delays[delays.length >> 1] ?? 0),
      p99: round(delays[Math.floor(delays.length * 0.99)] ?? 0),
    },
    driftMs: round(driftMs.sort((a, b) => a - b)[10] ?? 0),
    bytesPerPrediction: Math.round(usage.sizeBytes / usage.predictionCount),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
  const capacity = await saturate(call, warmUp + batches);
  await log.close();
  const reopenMs = performance.now();
  const again = await open(join(directory, "log.sqlite"));
  await again.drift({ scenario: "fraud", releaseId: "", windowUs: 86_400e6 });
  const rebuild = { mode, capacityPerSecond: capacity, openAndRebuildMs: round(performance.now() - reopenMs) };
  process.stdout.write(`${JSON.stringify(rebuild)}\n`);
  await again.close();
  rmSync(directory, { recursive: true, force: true });
}

/** Predictions a second with four requests always waiting. */
async function saturate(call: (message: monitoring.LogPredictionsRequest) => Promise<unknown>, from: number) {
  const messages = Array.from({ length: 200 }, (_, i) => request(from + i));
  const startMs = performance.now();
  let next = 0;
  const caller = async () => {
    for (let message = messages[next++]; message !== undefined; message = messages[next++]) {
      await call(message);
    }
  };
  await Promise.all([caller(), caller(), caller(), caller()]);
  return Math.round((messages.length * batchRows) / ((performance.now() - startMs) / 1000));
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

async function main(): Promise<void> {
  const onThread = (path: string) =>
    LogThread.start({
      log: { path, synchronous: "full", hardLimitBytes: 2 ** 32, layoutsMax: 100 },
      engine: engineOptions,
      queueBytesMax: 2 ** 26,
      onState: () => undefined,
      setTimer: (delayMs, callback) => systemClock.setTimer(delayMs, callback),
    });
  const onLoop = async (path: string) =>
    LogEngine.open(SqlitePredictionLog.open({ path, synchronous: "full", hardLimitBytes: 2 ** 32, layoutsMax: 100 }), {
      ...engineOptions,
      pause: () => new Promise((resolve) => setImmediate(resolve)),
      stopwatchMs: () => performance.now(),
    });
  const direct: Parameters<typeof measure>[2] = (handlers) => async (message) =>
    handlers.logPredictions(message, undefined as never);
  await measure("handler, log on a thread", onThread, direct);
  await measure("decode + handler, log on a thread", onThread, direct);
  await measure("in-memory call, log on a thread", onThread, (handlers) => {
    const client = clientOf(monitoring.MonitoringService, handlers);
    return (message) => client.logPredictions(message);
  });
  await measure("handler, log on the event loop", onLoop, direct);
}

void main();
