import { describe, expect, test } from "@jest/globals";
import { seededRandom } from "@weft/testkit";
import { clusteredVectors } from "../testing/clustered-vectors.ts";
import { ExactIndex } from "./exact-index.ts";
import type { Metric, VectorIndex } from "./vector-index.ts";

/** What an index under test promises. */
export interface VectorIndexContract {
  readonly name: string;
  readonly build: (exact: ExactIndex, metric: Metric) => VectorIndex;
  /** Least recall@10 over clustered vectors, 0 to 1. */
  readonly recall: number;
}

/** The suite that every VectorIndex runs. */
export function vectorIndexContract({ name, build, recall }: VectorIndexContract): void {
  describe.each<Metric>(["cosine", "inner_product"])(`${name}, %s`, (metric) => {
    const dimension = 24;
    const random = seededRandom(7);
    const exact = new ExactIndex(clusteredVectors(3_000, dimension, metric, random), dimension);
    const index = build(exact, metric);
    const queries = Array.from({ length: 40 }, () => clusteredVectors(1, dimension, metric, random));

    test("knows its size and dimension", () => {
      expect([index.size, index.dimension]).toEqual([3_000, dimension]);
    });

    test("answers distinct rows by falling similarity, each with its inner product", () => {
      for (const query of queries) {
        const { rows, similarities } = index.search(query, 50);
        expect(rows.length).toBe(50);
        expect(similarities.length).toBe(50);
        expect(new Set(rows).size).toBe(50);
        for (let i = 0; i < rows.length; i += 1) {
          const row = rows[i] as number;
          let product = 0;
          for (let e = 0; e < dimension; e += 1)
            product += (exact.vectors[row * dimension + e] as number) * (query[e] as number);
          expect(similarities[i]).toBeCloseTo(product, 4);
          if (i > 0) expect(similarities[i]).toBeLessThanOrEqual(similarities[i - 1] as number);
        }
      }
    });

    test(`finds at least ${recall} of the true neighbours`, () => {
      let found = 0;
      for (const query of queries) {
        const truth = new Set(bruteForce(exact, query, 10));
        for (const row of index.search(query, 10).rows) if (truth.has(row)) found += 1;
      }
      expect(found / (queries.length * 10)).toBeGreaterThanOrEqual(recall);
    });

    test("answers no more than it has, and nothing when nothing is asked", () => {
      const small = build(new ExactIndex(exact.vectors.slice(0, 5 * dimension), dimension), metric);
      const query = queries[0] as Float32Array;
      expect([...small.search(query, 100).rows].sort()).toEqual([0, 1, 2, 3, 4]);
      expect(small.search(query, 0).rows.length).toBe(0);
    });

    test("a single row is found", () => {
      const single = build(new ExactIndex(exact.vectors.slice(0, dimension), dimension), metric);
      expect([...single.search(queries[0] as Float32Array, 3).rows]).toEqual([0]);
    });
  });
}

/** Rows by falling similarity, by sorting all of them. */
function bruteForce(exact: ExactIndex, query: Float32Array, count: number): number[] {
  const { vectors, dimension, size } = exact;
  const scored = Array.from({ length: size }, (_, row) => {
    let product = 0;
    for (let e = 0; e < dimension; e += 1) product += (vectors[row * dimension + e] as number) * (query[e] as number);
    return { row, product };
  });
  return scored
    .sort((a, b) => b.product - a.product || a.row - b.row)
    .slice(0, count)
    .map(({ row }) => row);
}
