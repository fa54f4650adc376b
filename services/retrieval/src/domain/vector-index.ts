/** How close two vectors are; greater is closer. Vectors of a cosine index are of unit length. */
export type Metric = "inner_product" | "cosine";

/** Rows of an index by falling similarity, ties by rising row. */
export interface RankedRows {
  readonly rows: Uint32Array;
  /** Inner product of each row with the query, computed from float32. */
  readonly similarities: Float32Array;
}

/** Finds the rows most similar to a query. Exact, or approximate: then it may miss some and answer fewer than asked. */
export interface VectorIndex {
  /** Rows in the index, numbered from 0. */
  readonly size: number;
  /** Elements of a vector. */
  readonly dimension: number;
  /** The `count` most similar rows, at most `size` of them. `query` has `dimension` elements. */
  search(query: Float32Array, count: number): RankedRows;
}

/** Inner product of row `row` of a row-major matrix with a query. */
export function innerProduct(vectors: Float32Array, row: number, query: Float32Array): number {
  const dimension = query.length;
  const from = row * dimension;
  // Four sums, so that an addition need not wait for the one before it.
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  let i = 0;
  for (; i + 3 < dimension; i += 4) {
    a += (vectors[from + i] as number) * (query[i] as number);
    b += (vectors[from + i + 1] as number) * (query[i + 1] as number);
    c += (vectors[from + i + 2] as number) * (query[i + 2] as number);
    d += (vectors[from + i + 3] as number) * (query[i + 3] as number);
  }
  for (; i < dimension; i += 1) a += (vectors[from + i] as number) * (query[i] as number);
  return Math.fround(a + b + (c + d));
}

/** Scales a vector to unit length in place; answers false for one without a direction. */
export function normalize(vector: Float32Array): boolean {
  let sum = 0;
  for (let i = 0; i < vector.length; i += 1) sum += (vector[i] as number) ** 2;
  if (!(sum > 0) || !Number.isFinite(sum)) return false;
  const scale = 1 / Math.sqrt(sum);
  for (let i = 0; i < vector.length; i += 1) vector[i] = (vector[i] as number) * scale;
  return true;
}
