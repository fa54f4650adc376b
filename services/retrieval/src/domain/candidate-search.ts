import type { ExactIndex } from "./exact-index.ts";
import type { RankedRows, VectorIndex } from "./vector-index.ts";

/** How a query was answered: by the graph, by comparing with every row, or with every row that the filters allow. */
export type SearchPlan = "graph" | "exact" | "filtered_exact";

/** Rows that the filters of a request allow. */
export interface AllowedRows {
  /** 1 for each allowed row. */
  readonly mask: Uint8Array;
  /** The allowed rows, rising. */
  readonly rows: Uint32Array;
}

/** What is asked for. */
export interface CandidateQuery {
  readonly query: Float32Array;
  /** Rows wanted (k). */
  readonly count: number;
  /** Absent: all rows. */
  readonly allowed: AllowedRows | undefined;
  /** Rows never to answer. */
  readonly excluded: ReadonlySet<number>;
  /** Compare with every allowed row. */
  readonly exact: boolean;
}

/** The rows found, and how. */
export interface CandidateResult extends RankedRows {
  readonly plan: SearchPlan;
}

/** What the ways to answer cost; decides between them. */
export interface SearchCosts {
  /** Nanoseconds that comparing with one row takes, an element of the vector. */
  readonly compareNs: number;
  /** Nanoseconds that walking the graph takes, a row fetched. */
  readonly fetchNs: number;
  /** Rows that every walk of the graph fetches at least. */
  readonly fetchMin: number;
}

/** Share above the expected number of rows to fetch: the allowed rows are seldom spread evenly. */
const fetchMargin = 1.25;

/**
 * Answers min(count, allowed rows that are not excluded) rows, whatever the filters. The graph knows no filters, so it
 * is asked for more rows than wanted, and for still more while too few of them are allowed; where comparing with every
 * allowed row costs less than that, or the graph cannot deliver, every allowed row is compared.
 */
export function searchCandidates(
  graph: VectorIndex,
  exact: ExactIndex,
  asked: CandidateQuery,
  costs: SearchCosts,
): CandidateResult {
  const { query, count, allowed, excluded } = asked;
  const mask = allowed?.mask;
  let excludedCount = excluded.size;
  if (mask !== undefined) {
    excludedCount = 0;
    for (const row of excluded) excludedCount += mask[row] as number;
  }
  const allowedCount = allowed?.rows.length ?? exact.size;
  const wanted = Math.min(count, allowedCount - excludedCount);
  const isAllowed = (row: number): boolean => (mask === undefined || mask[row] === 1) && !excluded.has(row);
  const compare = (): CandidateResult => {
    const found =
      allowed === undefined
        ? exact.searchWhere(query, wanted, isAllowed)
        : exact.searchAmong(query, wanted, allowed.rows, isAllowed);
    return {
      ...found,
      plan: asked.exact ? "exact" : allowed === undefined && excludedCount === 0 ? "exact" : "filtered_exact",
    };
  };
  if (asked.exact || wanted <= 0) return compare();

  const compareCostNs = allowedCount * exact.dimension * costs.compareNs;
  const cheaper = (rows: number): boolean => Math.max(rows, costs.fetchMin) * costs.fetchNs <= compareCostNs;
  let fetch = count + excludedCount;
  if (mask !== undefined) fetch = Math.ceil((fetch * exact.size * fetchMargin) / allowedCount);
  fetch = Math.min(fetch, exact.size);
  while (cheaper(fetch)) {
    const found = graph.search(query, fetch);
    const kept = keep(found, wanted, isAllowed);
    if (kept.rows.length === wanted) return { ...kept, plan: "graph" };
    if (found.rows.length < fetch || fetch === exact.size) break;
    fetch = Math.min(fetch * 2, exact.size);
  }
  return compare();
}

function keep(found: RankedRows, wanted: number, isAllowed: (row: number) => boolean): RankedRows {
  const rows = new Uint32Array(wanted);
  const similarities = new Float32Array(wanted);
  let count = 0;
  for (let i = 0; i < found.rows.length && count < wanted; i += 1) {
    const row = found.rows[i] as number;
    if (!isAllowed(row)) continue;
    rows[count] = row;
    similarities[count] = found.similarities[i] as number;
    count += 1;
  }
  return { rows: rows.subarray(0, count), similarities: similarities.subarray(0, count) };
}
