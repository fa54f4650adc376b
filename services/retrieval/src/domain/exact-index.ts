import { TopRows } from "./top-rows.ts";
import { innerProduct, type RankedRows, type VectorIndex } from "./vector-index.ts";

/** Compares the query with every row: the oracle of approximate indexes, and the answer where few rows are allowed. */
export class ExactIndex implements VectorIndex {
  readonly size: number;
  readonly dimension: number;
  /** float32[size, dimension], row-major. */
  readonly vectors: Float32Array;

  constructor(vectors: Float32Array, dimension: number) {
    this.vectors = vectors;
    this.dimension = dimension;
    this.size = vectors.length / dimension;
  }

  search(query: Float32Array, count: number): RankedRows {
    return this.searchWhere(query, count, () => true);
  }

  /** The `count` most similar of the rows that `allowed` accepts. */
  searchWhere(query: Float32Array, count: number, allowed: (row: number) => boolean): RankedRows {
    const { size, vectors } = this;
    const top = new TopRows(Math.min(count, size));
    for (let row = 0; row < size; row += 1) if (allowed(row)) top.offer(row, innerProduct(vectors, row, query));
    return top.take();
  }

  /** The `count` most similar of `rows` that `allowed` accepts. */
  searchAmong(query: Float32Array, count: number, rows: Uint32Array, allowed: (row: number) => boolean): RankedRows {
    const { vectors } = this;
    const top = new TopRows(Math.min(count, rows.length));
    for (let i = 0; i < rows.length; i += 1) {
      const row = rows[i] as number;
      if (allowed(row)) top.offer(row, innerProduct(vectors, row, query));
    }
    return top.take();
  }

  /** Ranks rows found otherwise by their exact similarity. */
  rank(query: Float32Array, rows: Uint32Array): RankedRows {
    return this.searchAmong(query, rows.length, rows, () => true);
  }
}
