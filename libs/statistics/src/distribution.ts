/** Bins of a number in the rows that others are compared with. */
export interface ReferenceDistribution {
  /** Inner upper edges, strictly ascending; a value v falls in the first bin with v <= edge, else in the last. */
  readonly edges: readonly number[];
  /** Share of the values present in each bin: edges + 1 numbers that sum to 1 (all 0 where every value is missing). */
  readonly shares: readonly number[];
  /** Share of rows without a value, 0 to 1. */
  readonly missingRatio: number;
}
