import { describe, expect, test } from "@jest/globals";
import { mergeCandidates, orderByScore } from "./candidates.ts";

const near = { source: "near", count: 3, neighbors: { keys: [1n, 2n, 3n, 4n], similarities: [0.9, 0.8, 0.7, 0.6] } };
const fresh = { source: "fresh", count: 10, neighbors: { keys: [2n, 5n, 6n], similarities: [30, 20, 10] } };

describe("candidates", () => {
  test("sources take turns by rank, each to its count, without repeats", () => {
    const merged = mergeCandidates([near, fresh], new Set(), 100);
    expect(merged.map(({ key, source }) => `${key} ${source}`)).toEqual([
      "1 near",
      "2 fresh",
      "5 fresh",
      "3 near",
      "6 fresh",
    ]);
    expect(merged[1]?.similarity).toBe(30);
  });

  test("dropped items are left out, int64 and text keys alike", () => {
    const texts = { source: "t", count: 9, neighbors: { keys: ["a", "b"], similarities: [1, 1] } };
    expect(mergeCandidates([near], new Set([2n]), 100).map(({ key }) => key)).toEqual([1n, 3n]);
    expect(mergeCandidates([texts], new Set(["a"]), 100).map(({ key }) => key)).toEqual(["b"]);
  });

  test("the cap keeps the best of every source", () => {
    expect(mergeCandidates([near, fresh], new Set(), 2).map(({ key }) => key)).toEqual([1n, 2n]);
    expect(mergeCandidates([], new Set(), 2)).toEqual([]);
  });

  test("scores order candidates; ties keep the order of retrieval and what is not finite is left out", () => {
    const scores = Float32Array.of(0.1, 0.5, Number.NaN, 0.5, Number.POSITIVE_INFINITY, 0.9);
    expect(orderByScore(scores, 10)).toEqual([5, 1, 3, 0]);
    expect(orderByScore(scores, 2)).toEqual([5, 1]);
  });
});
