import { describe, expect, test } from "@jest/globals";
import { Code, WeftError } from "@weft/errors";
import { FakeClock, quietTelemetry, settle } from "@weft/testkit";
import { config } from "../config.ts";
import type { PredictionRecord } from "../domain/prediction.ts";
import { createMetrics } from "../metrics.ts";
import { PredictionLog, type PredictionLogSettings } from "./prediction-log.ts";

const failure = (code: Code) => new WeftError({ code, reason: "FAKE", domain: "fake", message: "no" });

function record(requestId: string): PredictionRecord {
  const empty = new Uint8Array(0);
  return {
    requestId,
    item: "",
    scenario: "s",
    releaseId: "r",
    eventTimeUs: 1n,
    entities: {},
    featureModel: "",
    features: empty,
    statuses: empty,
    scores: [],
    decision: "",
    degraded: false,
    tenant: "",
    arm: "",
    request: {},
    readTimeUs: 0n,
  };
}

function create(overrides: Partial<PredictionLogSettings> = {}) {
  const clock = new FakeClock();
  const telemetry = quietTelemetry();
  const batches: string[][] = [];
  const server = { fail: (_: readonly string[]): Error | undefined => undefined };
  const defaults = Object.fromEntries(
    Object.entries(config.settings).map(([name, setting]) => [name, setting.default]),
  );
  const log = new PredictionLog({
    monitoring: {
      async logPredictions({ predictions = [] }) {
        const ids = predictions.map(({ requestId = "" }) => requestId);
        const error = server.fail(ids);
        if (error !== undefined) throw error;
        batches.push(ids);
        return { $typeName: "weft.monitoring.v1.LogPredictionsResponse", acceptedCount: ids.length };
      },
    },
    settings: { ...(defaults as unknown as PredictionLogSettings), logBatchMax: 3, ...overrides },
    timers: clock,
    random: () => 1,
    metrics: createMetrics(telemetry),
    logger: telemetry.logger,
  });
  const fill = (...ids: readonly string[]) => {
    for (const id of ids) log.append(record(id));
  };
  const counted = async (name: string) => {
    const { body } = await telemetry.metrics.expose();
    return body.split("\n").filter((line) => line.startsWith(name));
  };
  return { clock, log, batches, server, fill, counted };
}

describe("prediction log", () => {
  test("sends a full batch at once and a started one after its delay", async () => {
    const { clock, batches, fill, counted } = create();
    fill("a", "b", "c", "d");
    await settle();
    expect(batches).toEqual([["a", "b", "c"]]);
    await clock.advance(100);
    expect(batches).toEqual([["a", "b", "c"], ["d"]]);
    expect(await counted("gateway_predictions_logged_total")).toEqual(["gateway_predictions_logged_total 4"]);
  });

  test("while monitoring is down it retries, keeps what fits, drops and counts the rest", async () => {
    const { clock, batches, server, fill, counted } = create({ logQueueMax: 4 });
    server.fail = () => failure(Code.Unavailable);
    fill("1", "2", "3");
    await settle();
    fill("4", "5", "6", "7", "8", "9");
    await clock.advance(60_000);
    expect(batches).toEqual([]);
    expect(await counted("gateway_predictions_dropped_total")).toEqual([
      'gateway_predictions_dropped_total{reason="queue_full"} 2',
    ]);
    server.fail = () => undefined;
    await clock.advance(10_000);
    expect(batches).toEqual([["1", "2", "3"], ["4", "5", "6"], ["7"]]);
  });

  test("pauses grow to their bound", async () => {
    const { clock, server, fill } = create({ logRetryMaxMs: 400 });
    const attempts: number[] = [];
    const startMs = clock.nowMs();
    server.fail = () => {
      attempts.push(clock.nowMs() - startMs);
      return failure(Code.ResourceExhausted);
    };
    fill("1", "2", "3");
    await settle();
    await clock.advance(2_000);
    expect(attempts).toEqual([0, 100, 300, 700, 1_100, 1_500, 1_900]);
  });

  test("one record that is refused does not take its batch along", async () => {
    const { clock, batches, server, fill, counted } = create({ logBatchMax: 8 });
    server.fail = (ids) => (ids.includes("bad") ? failure(Code.InvalidArgument) : undefined);
    fill("a", "b", "bad", "c", "d", "e");
    await clock.advance(100);
    expect(batches.flat().sort()).toEqual(["a", "b", "c", "d", "e"]);
    expect(await counted("gateway_predictions_dropped_total")).toEqual([
      'gateway_predictions_dropped_total{reason="refused"} 1',
    ]);
  });

  test("closing logs what waits, or gives up in time and counts it", async () => {
    const drained = create();
    drained.fill("a", "b");
    await drained.log.close();
    expect(drained.batches).toEqual([["a", "b"]]);
    expect(drained.clock.pending()).toBe(0);

    const stuck = create({ drainMs: 1_000 });
    stuck.server.fail = () => failure(Code.Unavailable);
    stuck.fill("a", "b", "c", "d", "e");
    const closed = stuck.log.close();
    await stuck.clock.advance(1_000);
    await closed;
    const dropped = (await stuck.counted("gateway_predictions_dropped_total")).map((line) =>
      Number(line.split(" ")[1]),
    );
    expect(dropped).toEqual([5]);
  });
});
