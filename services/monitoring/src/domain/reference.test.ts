import { expect, test } from "@jest/globals";
import { readReference } from "./reference.ts";

const document = (over: object) =>
  JSON.stringify({
    rows: 100,
    features: { "card:amount": { edges: [1, 2], shares: [0.5, 0.25, 0.25], missing_ratio: 0.2 } },
    scores: { edges: [0.5], shares: [0.9, 0.1] },
    ...over,
  });

test("reads a reference", () => {
  expect(readReference(document({}))).toEqual({
    reference: {
      rows: 100,
      features: { "card:amount": { edges: [1, 2], shares: [0.5, 0.25, 0.25], missingRatio: 0.2 } },
      scores: { edges: [0.5], shares: [0.9, 0.1], missingRatio: 0 },
    },
    faults: [],
  });
});

test("shares of all rows are read as shares of the values present", () => {
  const features = { a: { edges: [1], shares: [0.2, 0.6], missing_ratio: 0.2 } };
  const { shares } = readReference(document({ features })).reference?.features.a ?? { shares: [] };
  expect(shares[0]).toBeCloseTo(0.25, 12);
  expect(shares[1]).toBeCloseTo(0.75, 12);
});

test("a model without scores, and a feature that is always missing", () => {
  const features = { a: { edges: [], shares: [0], missing_ratio: 1 } };
  for (const scores of [undefined, null, {}]) {
    const { reference, faults } = readReference(document({ features, scores }));
    expect(faults).toEqual([]);
    expect(reference?.scores).toBeUndefined();
    expect(reference?.features.a).toEqual({ edges: [], shares: [0], missingRatio: 1 });
  }
});

test.each([
  ["{", "not JSON"],
  ["[]", "not an object"],
  [document({ rows: 0 }), "rows: not a positive integer"],
  [document({ features: [] }), "features: not an object"],
  [document({ features: { a: 1 } }), 'features["a"]: not an object'],
  [document({ features: { a: { edges: [2, 1], shares: [0, 0, 1] } } }), 'features["a"].edges: not strictly ascending'],
  [document({ features: { a: { edges: [1], shares: [1] } } }), 'features["a"].shares: not 2 numbers >= 0'],
  [document({ features: { a: { edges: [1], shares: [0.5, 0.6] } } }), 'features["a"].shares: sum to 1.1, not to 1'],
  [
    document({ features: { a: { edges: [1], shares: [0.5, 0.5], missing_ratio: 2 } } }),
    'features["a"].missing_ratio: not between 0 and 1',
  ],
  [document({ scores: { edges: ["1"], shares: [1, 0] } }), "scores.edges: not a list of at most 255 finite numbers"],
])("names the fault of %s", (text, fault) => {
  expect(readReference(text).faults).toEqual([fault]);
});

test("names every fault at once", () => {
  expect(readReference(document({ rows: -1, features: { a: 1, b: 2 } })).faults).toHaveLength(3);
});
