import { errors } from "../errors.ts";
import type { AttributeColumn, AttributeCondition } from "./attribute-column.ts";
import { type AllowedRows, type CandidateResult, type SearchCosts, searchCandidates } from "./candidate-search.ts";
import type { ExactIndex } from "./exact-index.ts";
import type { ItemKeyColumn, KeyList } from "./item-keys.ts";
import { type Metric, normalize, type VectorIndex } from "./vector-index.ts";

/** What a generation is made of. */
export interface GenerationParts {
  readonly metric: Metric;
  readonly keys: ItemKeyColumn;
  readonly columns: readonly AttributeColumn[];
  readonly exact: ExactIndex;
  readonly graph: VectorIndex;
  readonly costs: SearchCosts;
}

/** What one search asks, the same for all its queries. */
export interface SearchTerms {
  /** Neighbor count (k). */
  readonly count: number;
  readonly conditions: readonly AttributeCondition[];
  readonly excluded: KeyList | undefined;
  readonly exact: boolean;
}

/** Filters whose rows are remembered. */
const rememberedFiltersMax = 64;

/** One generation of an index, in memory. */
export class Generation {
  readonly parts: GenerationParts;
  private readonly columns: ReadonlyMap<string, AttributeColumn>;
  private readonly remembered = new Map<string, AllowedRows>();

  constructor(parts: GenerationParts) {
    this.parts = parts;
    this.columns = new Map(parts.columns.map((column) => [column.name, column]));
  }

  get size(): number {
    return this.parts.exact.size;
  }

  get dimension(): number {
    return this.parts.exact.dimension;
  }

  /**
   * Prepares a search: answers a function of the query. Throws ATTRIBUTE_UNKNOWN, FILTER_INVALID, and REQUEST_INVALID
   * for excluded keys of the wrong type; the function throws REQUEST_INVALID for a query that is not finite, or has no
   * direction where the metric needs one.
   */
  prepare(terms: SearchTerms): (query: Float32Array) => CandidateResult {
    const { metric, keys, exact, graph, costs } = this.parts;
    const { count, conditions } = terms;
    const allowed = conditions.length === 0 ? undefined : this.allowed(conditions);
    if (terms.excluded !== undefined && terms.excluded.values.length > 0 && terms.excluded.type !== keys.type) {
      throw errors.REQUEST_INVALID({ field: "excluded", problem: `the keys of this index are ${keys.type}` });
    }
    const excluded = terms.excluded === undefined ? new Set<number>() : keys.rowsOf(terms.excluded);
    return (query) => {
      for (let i = 0; i < query.length; i += 1) {
        if (!Number.isFinite(query[i])) {
          throw errors.REQUEST_INVALID({ field: "queries", problem: `element ${i} of a query is not finite` });
        }
      }
      if (metric === "cosine" && !normalize(query)) {
        throw errors.REQUEST_INVALID({ field: "queries", problem: "a query of zeros has no direction" });
      }
      return searchCandidates(graph, exact, { query, count, allowed, excluded, exact: terms.exact }, costs);
    };
  }

  /** Rows that meet all conditions; remembered, because pipelines send the same few filters again and again. */
  private allowed(conditions: readonly AttributeCondition[]): AllowedRows {
    const name = JSON.stringify(conditions, (_key, value) =>
      typeof value === "bigint" ? { integer: String(value) } : value,
    );
    const known = this.remembered.get(name);
    if (known !== undefined) {
      this.remembered.delete(name);
      this.remembered.set(name, known);
      return known;
    }
    const mask = new Uint8Array(this.size).fill(1);
    for (const condition of conditions) {
      const column = this.columns.get(condition.attribute);
      if (column === undefined) {
        const known = [...this.columns.keys()].map((name) => `"${name}"`).join(", ");
        throw errors.ATTRIBUTE_UNKNOWN({ attribute: condition.attribute, known });
      }
      const matches = column.matches(condition);
      const { codes } = column;
      for (let row = 0; row < mask.length; row += 1)
        mask[row] = (mask[row] as number) & (matches[codes[row] as number] as number);
    }
    let count = 0;
    for (let row = 0; row < mask.length; row += 1) count += mask[row] as number;
    const rows = new Uint32Array(count);
    for (let row = 0, at = 0; at < count; row += 1) if (mask[row] === 1) rows[at++] = row;
    const allowed = { mask, rows };
    this.remembered.set(name, allowed);
    if (this.remembered.size > rememberedFiltersMax) {
      for (const oldest of this.remembered.keys()) {
        this.remembered.delete(oldest);
        break;
      }
    }
    return allowed;
  }
}
