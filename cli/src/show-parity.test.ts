import { create } from "@bufbuild/protobuf";
import { expect, test } from "@jest/globals";
import { feature } from "@weft/contracts";
import { disagreements, showParity } from "./show-parity.ts";

const report = create(feature.CheckParityResponseSchema, {
  releaseId: "fraud-1",
  comparedCount: 1_200n,
  incompleteCount: 1n,
  features: [
    { reference: "card:count_1h", type: "int64", matching: 1_200n },
    {
      reference: "risk:score",
      type: "float64",
      matching: 1_190n,
      missing: 1n,
      extra: 2n,
      different: 3n,
      inFlight: 2n,
      hindsight: 1n,
      unavailable: 1n,
      absoluteErrorMax: 0.25,
      relativeErrorMax: Number.POSITIVE_INFINITY,
    },
  ],
  differences: [
    { id: "r1", reference: "risk:score", served: 0.5, status: feature.FeatureStatus.DEFAULTED },
    { id: "r2", reference: "risk:score", recomputed: 0.25, inFlight: true },
    { id: "r3/17", reference: "risk:score", served: 1, recomputed: 0.75 },
  ],
});

test("counts what disagrees, and with strict what something explains too", () => {
  expect(disagreements(report)).toBe(6);
  expect(disagreements(report, true)).toBe(10);
});

test("shows a table a model, a verdict, and the first values that nothing explains", () => {
  const text = showParity([{ release: "fraud-1", model: "tree", report }], {
    withoutFeatures: 2,
    notLoaded: { "fraud-0": 1 },
  });
  expect(text.split("\n")).toEqual([
    "tree, release fraud-1",
    "feature        type     match  missing  extra  differ  in flight  hindsight  unavailable  max abs error  max rel error",
    "card:count_1h  int64    1,200        0      0       0          0          0            0              0              0",
    "risk:score     float64  1,190        1      2       3          2          1            1         2.5e-1       Infinity",
    "1 vector without all keys and request fields",
    "1,200 vectors, 2,400 values: 6 values disagree",
    "1 value in hindsight: asked for as of a time before rows that the online store held already",
    "  r1: risk:score was served as 0.5 (DEFAULTED), offline it is absent",
    "  r3/17: risk:score was served as 1, offline it is 0.75",
    "",
    "2 predictions without features: not compared",
    "",
    "1 vector of fraud-0, which the feature service no longer holds: not compared",
    "",
  ]);
});
