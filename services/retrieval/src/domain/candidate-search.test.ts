import { describe, expect, test } from "@jest/globals";
import { seededRandom } from "@weft/testkit";
import { clusteredVectors } from "../testing/clustered-vectors.ts";
import { type AllowedRows, searchCandidates } from "./candidate-search.ts";
import { ExactIndex } from "./exact-index.ts";
import type { VectorIndex } from "./vector-index.ts";

const dimension = 8;

function allow(mask: Uint8Array): AllowedRows {
  return { mask, rows: Uint32Array.from(mask.keys()).filter((row) => mask[row] === 1) };
}

/** A graph that cannot see some rows, and that now and then answers fewer than asked. */
function forgetful(
  exact: ExactIndex,
  random: () => number,
  missed: number,
  short: number,
): VectorIndex & { fetched: number[] } {
  const hidden = new Set(Array.from({ length: exact.size }, (_, row) => row).filter(() => random() < missed));
  const fetched: number[] = [];
  return {
    size: exact.size,
    dimension: exact.dimension,
    fetched,
    search(query, count) {
      fetched.push(count);
      const wanted = random() < short ? Math.floor(count / 2) : count;
      return exact.searchWhere(query, wanted, (row) => !hidden.has(row));
    },
  };
}

describe("searchCandidates", () => {
  test("property: k allowed rows while there are k, none excluded, in order; exact where the graph is", () => {
    const plans = new Map<string, number>();
    for (let seed = 1; seed <= 400; seed += 1) {
      const random = seededRandom(seed);
      const size = 1 + Math.floor(random() * 400);
      const exact = new ExactIndex(clusteredVectors(size, dimension, "inner_product", random), dimension);
      const perfect = random() < 0.5;
      const graph = perfect ? forgetful(exact, random, 0, 0) : forgetful(exact, random, random() * 0.3, 0.3);
      const share = random() ** 2;
      const nearOnly = random() < 0.3;
      const query = clusteredVectors(1, dimension, "inner_product", random);
      const order = exact.search(query, size).rows;
      const mask = new Uint8Array(size);
      // Correlated with the query at times: allowed are only the farthest rows, where over-fetching fares worst.
      for (let row = 0; row < size; row += 1) mask[row] = random() < share ? 1 : 0;
      if (nearOnly) for (let i = 0; i < size / 2; i += 1) mask[order[i] as number] = 0;
      const allowed = random() < 0.3 ? undefined : allow(mask);
      const excluded = new Set(Array.from(order).filter((_, rank) => random() < (rank < size / 3 ? 0.6 : 0.05)));
      const count = 1 + Math.floor(random() * 60);
      const asked = {
        query,
        count,
        allowed,
        excluded: random() < 0.3 ? new Set<number>() : excluded,
        exact: random() < 0.1,
      };
      const costs = { compareNs: 10 ** (random() * 6), fetchNs: 1_000, fetchMin: 1 };
      const found = searchCandidates(graph, exact, asked, costs);

      const permitted = Array.from(order).filter(
        (row) => (allowed === undefined || mask[row] === 1) && !asked.excluded.has(row),
      );
      const truth = permitted.slice(0, count);
      const rows = Array.from(found.rows);
      expect({ seed, length: rows.length }).toEqual({ seed, length: truth.length });
      expect({ seed, distinct: new Set(rows).size }).toEqual({ seed, distinct: rows.length });
      expect({ seed, forbidden: rows.filter((row) => !permitted.includes(row)) }).toEqual({ seed, forbidden: [] });
      const falling = found.similarities.every((value, i) => i === 0 || value <= (found.similarities[i - 1] as number));
      expect({ seed, falling }).toEqual({ seed, falling: true });
      if (perfect || found.plan !== "graph") expect({ seed, rows }).toEqual({ seed, rows: truth });
      if (asked.exact) expect(found.plan).toBe("exact");
      plans.set(found.plan, (plans.get(found.plan) ?? 0) + 1);
    }
    // Every way to answer was taken often enough to mean something.
    for (const plan of ["graph", "exact", "filtered_exact"]) expect(plans.get(plan) ?? 0).toBeGreaterThan(20);
  });

  test("chooses by cost: the graph for loose filters, comparing for tight ones and for small indexes", () => {
    const random = seededRandom(5);
    const exact = new ExactIndex(clusteredVectors(4_000, dimension, "cosine", random), dimension);
    const costs = { compareNs: 100, fetchNs: 1_000, fetchMin: 100 };
    const query = clusteredVectors(1, dimension, "cosine", random);
    const plan = (share: number, count: number, index = exact) => {
      const mask = new Uint8Array(index.size).map((_, row) => (row % Math.round(1 / share) === 0 ? 1 : 0));
      const allowed = share === 1 ? undefined : allow(mask);
      return searchCandidates(index, index, { query, count, allowed, excluded: new Set(), exact: false }, costs).plan;
    };
    expect(plan(1, 10)).toBe("graph");
    expect(plan(0.5, 10)).toBe("graph");
    expect(plan(0.01, 10)).toBe("filtered_exact");
    expect(plan(1, 10, new ExactIndex(exact.vectors.slice(0, 50 * dimension), dimension))).toBe("exact");
  });

  test("nothing allowed is nothing found", () => {
    const exact = new ExactIndex(Float32Array.of(1, 0, 0, 1), 2);
    const none = {
      query: Float32Array.of(1, 1),
      count: 5,
      allowed: allow(new Uint8Array(2)),
      excluded: new Set<number>(),
      exact: false,
    };
    expect(searchCandidates(exact, exact, none, { compareNs: 1, fetchNs: 1, fetchMin: 1 }).rows.length).toBe(0);
  });
});
