import usearch, { type Index, MetricKind, ScalarKind } from "usearch";
import type { SearchCosts } from "../domain/candidate-search.ts";
import type { ExactIndex } from "../domain/exact-index.ts";
import type { Metric, RankedRows, VectorIndex } from "../domain/vector-index.ts";

/** How a graph is built and walked. */
export interface GraphOptions {
  readonly quantization: "f32" | "i8";
  /** Edges of a node. */
  readonly connectivity: number;
  /** Candidates kept while a node is linked. */
  readonly buildExpansion: number;
  /** Least number of candidates kept while the graph is walked. */
  readonly searchExpansion: number;
}

/** Candidates that a walk keeps for each row it is asked for: with fewer the last of the rows are often not the true ones. */
const walkFactor = 2;

/**
 * Costs of the ways to search, measured on one core of a 2-core machine at 64 elements: 45 to 60 ns to compare with a
 * row, 1.3 to 1.8 ms to walk to 1,000 candidates among 100,000 rows.
 */
export function searchCosts({ searchExpansion }: GraphOptions): SearchCosts {
  return { compareNs: 0.8, fetchNs: 1_500 * walkFactor, fetchMin: searchExpansion / walkFactor };
}

/** Vectors handed to the native index at once: some 10 ms of linking, so that a cancelled build ends soon. */
const chunkRows = 256;

function emptyIndex(dimension: number, metric: Metric, options: GraphOptions): Index {
  // Eight bits hold a direction but no length.
  const quantized = options.quantization === "i8" && metric === "cosine";
  return new usearch.Index({
    dimensions: dimension,
    // Vectors of a cosine index are of unit length: their inner product is the cosine, and a quarter cheaper.
    metric: quantized ? MetricKind.Cos : MetricKind.IP,
    quantization: quantized ? ScalarKind.I8 : ScalarKind.F32,
    connectivity: options.connectivity,
    expansion_add: options.buildExpansion,
    expansion_search: options.searchExpansion,
    multi: false,
  });
}

/**
 * A graph of usearch (HNSW) over the rows of an exact index. Its labels are row numbers; what it finds is ranked again
 * by the exact similarity, so quantisation costs recall and never the order or the numbers. Search blocks its thread.
 */
export class UsearchIndex implements VectorIndex {
  readonly dimension: number;
  private readonly native: Index;
  private readonly exact: ExactIndex;
  private readonly searchExpansion: number;

  private constructor(native: Index, exact: ExactIndex, options: GraphOptions) {
    this.native = native;
    this.exact = exact;
    this.dimension = exact.dimension;
    this.searchExpansion = options.searchExpansion;
  }

  /** Links every row of an exact index. Blocks for about 0.2 ms a row. `progress` hears of rows done; may throw to stop. */
  static build(
    exact: ExactIndex,
    metric: Metric,
    options: GraphOptions,
    threadCount: number,
    progress: (rows: number) => void = () => {},
  ): UsearchIndex {
    const { size, dimension, vectors } = exact;
    const native = emptyIndex(dimension, metric, options);
    for (let from = 0; from < size; from += chunkRows * threadCount) {
      const to = Math.min(size, from + chunkRows * threadCount);
      const labels = new BigUint64Array(to - from);
      for (let i = 0; i < labels.length; i += 1) labels[i] = BigInt(from + i);
      native.add(labels, vectors.subarray(from * dimension, to * dimension), threadCount);
      progress(to);
    }
    return new UsearchIndex(native, exact, options);
  }

  /**
   * Reads a graph from a file. Throws where it is no graph of these rows. The file must be one that was checked: the
   * native reader believes whatever sizes a damaged file claims, and takes minutes or the process over them.
   */
  static load(path: string, exact: ExactIndex, metric: Metric, options: GraphOptions): UsearchIndex {
    const native = emptyIndex(exact.dimension, metric, options);
    native.load(path);
    if (Number(native.size()) !== exact.size || Number(native.dimensions()) !== exact.dimension) {
      throw new Error(
        `the graph has ${native.size()} x ${native.dimensions()} for vectors of ${exact.size} x ${exact.dimension}`,
      );
    }
    return new UsearchIndex(native, exact, options);
  }

  get size(): number {
    return this.exact.size;
  }

  search(query: Float32Array, count: number): RankedRows {
    const wanted = Math.min(count, this.size);
    if (wanted === 0) return { rows: new Uint32Array(0), similarities: new Float32Array(0) };
    // Asking for more widens the walk; ranking again by float32 then picks the best of them.
    const found = this.native.search(
      query,
      Math.min(this.size, Math.max(wanted * walkFactor, this.searchExpansion)),
      1,
    );
    const labels = new Uint32Array(found.keys.buffer, found.keys.byteOffset, found.keys.length * 2);
    const rows = new Uint32Array(found.keys.length);
    let known = 0;
    for (let i = 0; i < rows.length; i += 1) {
      const row = labels[2 * i] as number;
      if (row < this.size) rows[known++] = row;
    }
    const ranked = this.exact.rank(query, rows.subarray(0, known));
    return {
      rows: ranked.rows.subarray(0, wanted),
      similarities: ranked.similarities.subarray(0, wanted),
    };
  }

  /** Writes the graph with its own copy of the vectors, as it quantises them. */
  save(path: string): void {
    this.native.save(path);
  }
}
