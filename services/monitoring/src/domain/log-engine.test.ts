import { describe, expect, test } from "@jest/globals";
import type { ReferenceDistribution } from "@weft/statistics";
import { seededRandom } from "@weft/testkit";
import { MemoryPredictionLog } from "../adapters/memory-prediction-log.ts";
import { LogEngine, type LogEngineOptions } from "./log-engine.ts";
import { decodePayload } from "./payload.ts";
import {
  floatBytes,
  pack,
  prediction,
  reference,
  releaseParts,
  type SentPrediction,
  startUs,
} from "./prediction-fixture.ts";
import type { PredictionLog } from "./prediction-log.ts";

const hourUs = 3_600_000_000;
const options: LogEngineOptions = {
  sizeMaxBytes: 1e9,
  ageMaxMs: 1e12,
  bucketUs: hourUs,
  bucketsMax: 100,
  releasesMax: 10,
  pageRows: 7,
  pause: () => new Promise((resolve) => setImmediate(resolve)),
  stopwatchMs: () => performance.now(),
};
const open = (log: PredictionLog, over: Partial<LogEngineOptions> = {}) => LogEngine.open(log, { ...options, ...over });

describe("drift of the log", () => {
  test("is that of a plain count over the raw log, through repeats, late rows, retention and restarts", async () => {
    for (let seed = 1; seed <= 6; seed++) {
      const random = seededRandom(seed);
      const log = new MemoryPredictionLog(1e9);
      let engine = await open(log, { sizeMaxBytes: 15_000 });
      await engine.putRelease(releaseParts("fraud-1"));
      let sent = 0;
      for (let step = 0; step < 60; step++) {
        const rows = Array.from({ length: 1 + Math.floor(random() * 20) }, () => anyPrediction(random, sent++));
        await engine.append(pack(...rows), step);
        if (random() < 0.2) {
          await engine.append(pack(...rows), step);
        }
        if (step === 20) {
          await engine.putRelease(releaseParts("fraud-2"));
        }
        if (random() < 0.1) {
          engine = await open(log, { sizeMaxBytes: 15_000 });
        }
        if (step % 6 === 5) {
          for (const releaseId of ["fraud-1", "fraud-2"]) {
            const windowUs = Math.ceil(random() * 30) * hourUs * random() + 1;
            const answer = await engine.drift({ scenario: "fraud", releaseId, windowUs });
            const context = { seed, step, releaseId };
            if (answer.outcome !== "compared") {
              expect({ ...context, outcome: answer.outcome }).toEqual({
                ...context,
                outcome: step < 20 && releaseId === "fraud-2" ? expect.any(String) : "no predictions",
              });
              continue;
            }
            const expected = await plainDrift(log, releaseId, windowUs);
            expect({ ...context, fromUs: answer.fromUs, toUs: answer.toUs, count: answer.predictionCount }).toEqual({
              ...context,
              fromUs: expected.fromUs,
              toUs: expected.toUs,
              count: expected.count,
            });
            const actual = Object.fromEntries(
              answer.distributions.map(({ model, name, psi }) => [`${model} ${name}`, psi]),
            );
            expect(Object.keys(actual).sort()).toEqual(Object.keys(expected.psi).sort());
            for (const [name, psi] of Object.entries(expected.psi)) {
              expect(Math.abs((actual[name] ?? -1) - psi)).toBeLessThan(1e-9);
            }
          }
        }
      }
      expect((await log.usage()).predictionCount).toBeLessThan(sent);
    }
  });

  test("answers the release whose first prediction was logged last, when none is named", async () => {
    const engine = await open(new MemoryPredictionLog(1e9));
    await engine.putRelease(releaseParts("fraud-1"));
    await engine.putRelease(releaseParts("fraud-2"));
    await engine.append(pack(prediction("a"), prediction("b", { releaseId: "fraud-2" }), prediction("c")), 1);
    await engine.append(pack(prediction("d", { eventTimeUs: BigInt(startUs + hourUs) })), 1);
    expect(await engine.drift({ scenario: "fraud", releaseId: "", windowUs: hourUs })).toMatchObject({
      outcome: "compared",
      releaseId: "fraud-2",
      predictionCount: 1,
    });
  });

  test("says why there is none", async () => {
    const engine = await open(new MemoryPredictionLog(1e9));
    const query = { scenario: "fraud", releaseId: "", windowUs: hourUs };
    expect(await engine.drift(query)).toEqual({ outcome: "no predictions" });
    await engine.append(pack(prediction("a")), 1);
    expect(await engine.drift(query)).toEqual({ outcome: "release not put", releaseId: "fraud-1" });
    expect(await engine.drift({ ...query, releaseId: "fraud-9" })).toEqual({ outcome: "no predictions" });
    const { models } = releaseParts();
    await engine.putRelease({
      ...releaseParts(),
      models: models.map(({ name, version, features }) => ({ name, version, features })),
    });
    expect(await engine.drift(query)).toEqual({ outcome: "no reference", releaseId: "fraud-1" });
  });

  test("counts rows whose columns are not the model's as predictions only", async () => {
    const engine = await open(new MemoryPredictionLog(1e9));
    await engine.putRelease(releaseParts());
    const odd = prediction("b", { features: floatBytes([1, 2, 3]), statuses: new Uint8Array(0) });
    expect(await engine.append(pack(prediction("a"), odd), 1)).toMatchObject({ newCount: 2, mismatchedCount: 1 });
    const answer = await engine.drift({ scenario: "fraud", releaseId: "fraud-1", windowUs: hourUs });
    expect(answer).toMatchObject({ outcome: "compared", predictionCount: 2 });
    const counts =
      answer.outcome === "compared" ? answer.distributions.map(({ name, currentCount }) => [name, currentCount]) : [];
    expect(counts).toEqual([
      ["card:amount", 1],
      ["card:age", 1],
      ["score:tree", 2],
    ]);
  });

  test("keeps histograms of the releases used last; those of others are counted again from the log", async () => {
    const engine = await open(new MemoryPredictionLog(1e9), { releasesMax: 2 });
    for (const releaseId of ["fraud-1", "fraud-2", "fraud-3"]) {
      await engine.putRelease(releaseParts(releaseId));
      await engine.append(pack(...["a", "b", "c"].map((id) => prediction(releaseId + id, { releaseId }))), 1);
    }
    await engine.append(pack(prediction("late", { releaseId: "fraud-1" })), 1);
    const asked = ["fraud-1", "fraud-2", "fraud-3", "fraud-1"].map((releaseId) =>
      engine.drift({ scenario: "fraud", releaseId, windowUs: hourUs }),
    );
    expect((await Promise.all(asked)).map((answer) => answer.outcome === "compared" && answer.predictionCount)).toEqual(
      [4, 3, 3, 4],
    );
  });
});

describe("histograms after a restart", () => {
  test("are built at a fifth of a core, and at full speed while a question waits for them", async () => {
    const log = new MemoryPredictionLog(1e9);
    const before = await open(log);
    await before.putRelease(releaseParts("fraud-1"));
    for (let row = 0; row < 50; row++) await before.append(pack(prediction(`r${row}`)), row);
    const rests: number[] = [];
    let nowMs = 0;
    const scan = log.scan.bind(log);
    log.scan = (after, limit) => {
      nowMs += 10;
      return scan(after, limit);
    };
    const resting = Promise.withResolvers<void>();
    const after = await open(log, {
      stopwatchMs: () => nowMs,
      pause: async (ms) => {
        rests.push(ms);
        await (rests.length === 2 ? resting.promise : new Promise<void>((resolve) => setImmediate(resolve)));
      },
    });
    while (rests.length < 2) await new Promise((resolve) => setImmediate(resolve));
    const answer = after.drift({ scenario: "fraud", releaseId: "", windowUs: hourUs });
    await new Promise((resolve) => setImmediate(resolve));
    resting.resolve();
    expect((await answer).outcome).toBe("compared");
    expect(rests[1]).toBe(40);
    expect(rests.length).toBeGreaterThan(5);
    expect(rests.slice(2).every((ms) => ms === 0)).toBe(true);
  });
});

describe("quality of the log", () => {
  test("is per model and version, shadows too, on labelled predictions of the window", async () => {
    const engine = await open(new MemoryPredictionLog(1e9));
    await engine.putRelease(releaseParts());
    const row = (id: string, tree: number, network: number, hours: number) =>
      prediction(id, {
        eventTimeUs: BigInt(startUs + hours * hourUs),
        scores: [
          { model: "tree", version: "1", score: tree, shadow: false },
          { model: "network", version: "2", score: network, shadow: true },
        ],
      });
    await engine.append(
      pack(
        row("old", 1, 1, 0),
        row("a", 0.9, 0.2, 10),
        row("b", 0.1, 0.3, 10),
        row("c", 0.5, 0.1, 11),
        row("d", 1, 1, 12),
      ),
      1,
    );
    const labels = { old: 0, a: 1, b: 0, c: 0 };
    await engine.appendLabels(
      "fraud",
      Object.entries(labels).map(([requestId, value]) => ({ requestId, item: "", value, labelTimeUs: 1 })),
      2,
    );
    const answer = await engine.drift({ scenario: "fraud", releaseId: "", windowUs: 2 * hourUs });
    expect(answer).toMatchObject({ outcome: "compared", predictionCount: 4 });
    const [tree, network] = answer.outcome === "compared" ? answer.quality : [];
    expect(tree).toMatchObject({ model: "tree", version: "1", labelledCount: 3, auc: 1 });
    expect(tree?.brierScore).toBeCloseTo((0.1 ** 2 + 0.1 ** 2 + 0.5 ** 2) / 3, 12);
    expect(network).toMatchObject({ model: "network", version: "2", labelledCount: 3, auc: 0.5 });
  });
});

describe("retention", () => {
  test("drops by size and by age, and tells how much", async () => {
    const log = new MemoryPredictionLog(1e9);
    const rows = (name: string) => pack(...Array.from({ length: 100 }, (_, i) => prediction(`${name}${i}`)));
    const bytes = rows("x").payloads.length;
    const engine = await open(log, { sizeMaxBytes: 2.5 * bytes, ageMaxMs: 1000 });
    await engine.appendLabels("fraud", [{ requestId: "a0", item: "", value: 1, labelTimeUs: 1 }], 0);
    expect((await engine.append(rows("a"), 0)).droppedPredictions).toBe(0);
    expect((await engine.append(rows("b"), 500)).droppedPredictions).toBe(0);
    const third = await engine.append(rows("c"), 900);
    expect(third.droppedPredictions).toBeGreaterThanOrEqual(50);
    expect(third.usage.sizeBytes).toBeLessThanOrEqual(2.5 * bytes);
    expect((await engine.maintain(1899)).usage.predictionCount).toBe(100);
    const last = await engine.maintain(1901);
    expect(last).toMatchObject({ droppedPredictions: 100, usage: { predictionCount: 0, labelCount: 0 } });
  });
});

function anyPrediction(random: () => number, n: number): SentPrediction {
  const value = () => (random() < 0.15 ? Number.NaN : Math.fround(random() * 4 - 0.5));
  const isDegraded = random() < 0.1;
  return prediction(`r${n}`, {
    releaseId: random() < 0.7 ? "fraud-1" : "fraud-2",
    eventTimeUs: BigInt(startUs + Math.floor(random() * 48 * hourUs)),
    features: isDegraded ? new Uint8Array(0) : floatBytes([value(), value() * 10]),
    statuses: new Uint8Array(0),
    degraded: isDegraded,
    scores: isDegraded
      ? [{ model: "rules", version: "", score: random(), shadow: false }]
      : [
          { model: "tree", version: "1", score: random(), shadow: false },
          { model: "network", version: "1", score: random(), shadow: true },
        ],
  });
}

/** The same, from every row of the log, without histograms. */
async function plainDrift(log: PredictionLog, releaseId: string, windowUs: number) {
  const rows = (await log.scan(0, 1e6)).filter(({ layout }) => layout.releaseId === releaseId);
  const toUs = Math.max(...rows.map(({ eventTimeUs }) => eventTimeUs));
  const fromUs = Math.floor((toUs - windowUs) / hourUs) * hourUs;
  const current = rows.filter(({ eventTimeUs }) => eventTimeUs >= fromUs);
  const values = new Map<string, { distribution: ReferenceDistribution; values: number[] }>();
  const add = (name: string, distribution: ReferenceDistribution | undefined, value: number) => {
    if (distribution !== undefined) {
      const entry = values.get(name) ?? { distribution, values: [] };
      entry.values.push(value);
      values.set(name, entry);
    }
  };
  for (const { layout, payload } of current) {
    const { features, scores } = decodePayload(payload);
    if (features.length > 0) {
      const columns = new Float32Array(features.buffer, features.byteOffset, 2);
      add(`${layout.featureModel} card:amount`, reference.features["card:amount"], columns[0] ?? 0);
      add(`${layout.featureModel} card:age`, reference.features["card:age"], columns[1] ?? 0);
    }
    layout.models.forEach(({ model }, i) => {
      if (model !== "rules") {
        add(`${model} score:${model}`, reference.scores, scores[i] ?? 0);
      }
    });
  }
  const psi: Record<string, number> = {};
  for (const [name, entry] of values) {
    psi[name] = plainPsi(entry.distribution, entry.values);
  }
  return { fromUs, toUs, count: current.length, psi };
}

function plainPsi({ edges, shares, missingRatio }: ReferenceDistribution, values: readonly number[]): number {
  let psi = 0;
  const term = (expected: number, count: number) => {
    if (expected > 0 || count > 0) {
      const p = expected === 0 ? 0.5 / reference.rows : expected;
      const q = (count === 0 ? 0.5 : count) / values.length;
      psi += (q - p) * Math.log(q / p);
    }
  };
  shares.forEach((share, bin) => {
    const low = bin === 0 ? Number.NEGATIVE_INFINITY : (edges[bin - 1] ?? 0);
    const high = edges[bin] ?? Number.POSITIVE_INFINITY;
    term(share * (1 - missingRatio), values.filter((v) => v > low && v <= high).length);
  });
  term(missingRatio, values.filter((v) => Number.isNaN(v)).length);
  return psi;
}
