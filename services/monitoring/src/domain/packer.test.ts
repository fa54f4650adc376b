import { describe, expect, test } from "@jest/globals";
import { packPredictions } from "./packer.ts";
import { decodePayload, PayloadNumbers } from "./payload.ts";
import { floatBytes, prediction, releaseParts, type SentPrediction, startUs } from "./prediction-fixture.ts";

const rules = {
  release: (releaseId: string) => (releaseId === "fraud-1" ? releaseParts() : undefined),
  eventTimeMaxUs: startUs + 1e6,
};

describe("packing", () => {
  test("what is packed is what is read, with and without every optional part", () => {
    const rows: SentPrediction[] = [
      prediction("a"),
      prediction("b", { entities: { card: "ключ-🂡", customer: "x".repeat(400) }, decision: "review", arm: "ε" }),
      prediction("c", { statuses: new Uint8Array(0), tenant: "t", item: "17" }),
      prediction("d", {
        scores: [
          { model: "tree", version: "1", score: -0.25, shadow: false },
          { model: "network", version: "2", score: 1e300, shadow: true },
        ],
        features: floatBytes([Number.NaN, Number.NEGATIVE_INFINITY]),
      }),
      prediction("e", { features: new Uint8Array(0), statuses: new Uint8Array(0), degraded: true, scores: [] }),
      prediction("f", { featureModel: "", features: new Uint8Array(0), statuses: new Uint8Array(0), entities: {} }),
      prediction("g"),
      prediction("h", {
        request: {
          amount: { kind: { case: "number", value: -0.5 } },
          count: { kind: { case: "integer", value: -(2n ** 63n) } },
          online: { kind: { case: "flag", value: true } },
          off: { kind: { case: "flag", value: false } },
          note: { kind: { case: "text", value: "ключ" } },
          unknown: { kind: { case: undefined } },
        },
        readTimeUs: BigInt(startUs + 17),
      }),
      prediction("i", { readTimeUs: 1n, arm: "b" }),
      prediction("j", { request: { note: { kind: { case: "text", value: "" } } } }),
    ];
    const { packed, faults } = packPredictions(rows, rules);
    expect(faults).toEqual([]);
    expect(packed.count).toBe(rows.length);
    expect(packed.layouts).toHaveLength(4);
    rows.forEach((row, i) => {
      const start = packed.payloadStarts[i] ?? 0;
      const payload = packed.payloads.slice(start, start + (packed.payloadLengths[i] ?? 0));
      const { scores, requestId, item, scenario, releaseId, eventTimeUs, featureModel, ...rest } = row;
      expect(decodePayload(payload)).toEqual({ ...rest, scores: scores.map(({ score }) => score) });
      expect([packed.requestIds[i], packed.items[i], packed.eventTimesUs[i]]).toEqual([
        requestId,
        item,
        Number(eventTimeUs),
      ]);
      expect(packed.layouts[packed.layoutIndexes[i] ?? 9]).toEqual({
        scenario,
        releaseId,
        featureModel,
        models: scores.map(({ model, version, shadow }) => ({ model, version, shadow })),
      });
      const shifted = new Uint8Array(payload.length + 3);
      shifted.set(payload, 3);
      for (const [numbers, at] of [
        [new PayloadNumbers(packed.payloads), start],
        [new PayloadNumbers(shifted.subarray(3)), 0],
      ] as const) {
        expect(numbers.scoreCount(at)).toBe(scores.length);
        expect(numbers.featureCount(at)).toBe(row.features.length / 4);
        const firstScore = numbers.scoresStart(at);
        expect([...numbers.float64.subarray(firstScore, firstScore + scores.length)]).toEqual(
          scores.map(({ score }) => score),
        );
        const first = numbers.featuresStart(at);
        expect([...numbers.float32.subarray(first, first + row.features.length / 4)]).toEqual([
          ...new Float32Array(row.features.slice().buffer),
        ]);
      }
    });
  });

  test.each<[Partial<SentPrediction>, string, string]>([
    [{ requestId: "" }, "request_id", "is not 1 to 512 characters"],
    [{ item: "x".repeat(513) }, "item", "is longer than 512 characters"],
    [{ scenario: "" }, "scenario", "is not 1 to 256 characters"],
    [{ scenario: "films" }, "scenario", 'release fraud-1 is of scenario "fraud"'],
    [{ releaseId: "" }, "release_id", "is not 1 to 256 characters"],
    [{ featureModel: "forest" }, "feature_model", 'release fraud-1 has no model "forest"'],
    [{ eventTimeUs: 0n }, "event_time_us", "is not after 1970"],
    [{ eventTimeUs: BigInt(startUs) + 2_000_000n }, "event_time_us", "is in the future"],
    [{ features: new Uint8Array(7) }, "features", "7 bytes are not a multiple of 4"],
    [{ features: floatBytes([1, 2, 3]) }, "features", 'are 3; "tree" has 2'],
    [{ features: new Uint8Array(0) }, "features", 'are 0; "tree" has 2'],
    [{ featureModel: "" }, "features", "are 2; no feature_model has none"],
    [{ features: floatBytes(new Array(20_000).fill(0)), releaseId: "new" }, "features", "are more than 16384"],
    [{ statuses: Uint8Array.of(1) }, "statuses", "are 1 for 2 features"],
    [
      { scores: [{ model: "tree", version: "1", score: Number.NaN, shadow: false }] },
      "scores[0].score",
      "NaN is not a finite number",
    ],
    [
      { scores: [{ model: "", version: "1", score: 1, shadow: false }] },
      "scores[0].model",
      "is not 1 to 256 characters",
    ],
    [
      { scores: new Array(33).fill({ model: "tree", version: "1", score: 1, shadow: false }) },
      "scores",
      "are more than 32",
    ],
    [{ readTimeUs: -1n }, "read_time_us", "is not 0 to 2^53"],
    [
      { request: { note: { kind: { case: "text", value: "x".repeat(4_097) } } } },
      "request.note",
      "is longer than 4096 characters",
    ],
    [
      { request: Object.fromEntries(Array.from({ length: 257 }, (_, i) => [`f${i}`, { kind: { case: undefined } }])) },
      "request",
      "has more than 256 fields",
    ],
    [{ decision: "x".repeat(257) }, "decision", "is longer than 256 characters"],
    [
      { entities: Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`e${i}`, "k"])) },
      "entities",
      "are more than 32",
    ],
  ])("%o is refused", (over, field, description) => {
    const { faults } = packPredictions([prediction("a"), prediction("b", over)], rules);
    expect(faults).toHaveLength(1);
    expect(faults[0]?.field).toBe(`predictions[1].${field}`);
    expect(faults[0]?.description).toContain(description);
  });

  test("a release that nobody could look up is taken with any number of columns", () => {
    const row = prediction("a", { releaseId: "other", features: floatBytes([1, 2, 3]), statuses: new Uint8Array(3) });
    expect(packPredictions([row], rules).faults).toEqual([]);
    expect(packPredictions([{ ...row, features: new Uint8Array(5) }], rules).faults[0]?.description).toMatch(
      "not a multiple of 4",
    );
  });

  test("names the first ten faults", () => {
    const rows = Array.from({ length: 50 }, () => prediction("", { features: new Uint8Array(3) }));
    const { faults } = packPredictions(rows, rules);
    expect(faults).toHaveLength(10);
    expect(faults[9]?.field).toBe("predictions[9].request_id");
  });
});
