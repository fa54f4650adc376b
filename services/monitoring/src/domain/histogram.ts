/**
 * Counts values of several columns by bin, in buckets of event time, so that any window of whole buckets is summed
 * without reading rows. Holds at most `bucketsMax` buckets, the newest ones; older values are not counted.
 * Memory: 4 bytes a slot, with (edges + 2) slots a column and bucket.
 */
export class BucketedHistogram {
  readonly #edges: Float64Array;
  /** First edge of each column, and the end. */
  readonly #edgeStarts: Uint32Array;
  /** First slot of each column, and the end; a column has its bins and one slot for missing values. */
  readonly #slotStarts: Uint32Array;
  readonly #buckets = new Map<number, Bucket>();
  readonly #bucketsMax: number;
  /** Greatest bucket that was let go; it and older ones are not counted. */
  #floor = Number.NEGATIVE_INFINITY;
  /** The bucket of the last value: rows mostly arrive in order. */
  #last: Bucket | undefined;
  #lastIndex = Number.NaN;

  constructor(columns: readonly (readonly number[])[], bucketsMax: number) {
    this.#edges = Float64Array.from(columns.flat());
    this.#edgeStarts = new Uint32Array(columns.length + 1);
    this.#slotStarts = new Uint32Array(columns.length + 1);
    columns.forEach((edges, column) => {
      this.#edgeStarts[column + 1] = (this.#edgeStarts[column] ?? 0) + edges.length;
      this.#slotStarts[column + 1] = (this.#slotStarts[column] ?? 0) + edges.length + 2;
    });
    this.#bucketsMax = bucketsMax;
  }

  get columnCount(): number {
    return this.#slotStarts.length - 1;
  }

  /** Adds (1) or takes back (-1) a row: from `start` on one value a column, NaN where it has none. */
  count(bucketIndex: number, values: ArrayLike<number>, start: number, by: 1 | -1): void {
    const bucket = bucketIndex === this.#lastIndex ? this.#last : this.#bucket(bucketIndex, by);
    if (bucket === undefined) {
      return;
    }
    const edges = this.#edges;
    const edgeStarts = this.#edgeStarts;
    const slotStarts = this.#slotStarts;
    const slots = bucket.slots;
    const columns = slotStarts.length - 1;
    for (let column = 0; column < columns; column++) {
      const value = values[start + column] as number;
      const firstEdge = edgeStarts[column] as number;
      const end = edgeStarts[column + 1] as number;
      let edge = firstEdge;
      while (edge < end && value > (edges[edge] as number)) {
        edge++;
      }
      // NaN is greater than no edge, so it needs its own test: its slot is the column's last.
      const isMissing = Number.isNaN(value);
      const slot = isMissing
        ? (slotStarts[column + 1] as number) - 1
        : (slotStarts[column] as number) + edge - firstEdge;
      slots[slot] = (slots[slot] as number) + by;
    }
    bucket.rows += by;
    if (bucket.rows === 0) {
      this.#buckets.delete(bucketIndex);
      this.#last = undefined;
      this.#lastIndex = Number.NaN;
    }
  }

  /** Rows and slots summed over the buckets first to last, both inclusive. */
  sum(first: number, last: number): HistogramSum {
    const slots = new Float64Array(this.#slotStarts[this.columnCount] ?? 0);
    let rows = 0;
    for (const [index, bucket] of this.#buckets) {
      if (index >= first && index <= last) {
        rows += bucket.rows;
        for (let slot = 0; slot < slots.length; slot++) {
          slots[slot] = (slots[slot] as number) + (bucket.slots[slot] as number);
        }
      }
    }
    return {
      rows,
      column: (column) => slots.subarray(this.#slotStarts[column], this.#slotStarts[column + 1]),
    };
  }

  #bucket(index: number, by: 1 | -1): Bucket | undefined {
    if (index <= this.#floor) {
      return undefined;
    }
    let bucket = this.#buckets.get(index);
    if (bucket === undefined) {
      if (by < 0) {
        return undefined;
      }
      bucket = { rows: 0, slots: new Uint32Array(this.#slotStarts[this.columnCount] ?? 0) };
      this.#buckets.set(index, bucket);
      if (this.#buckets.size > this.#bucketsMax) {
        const oldest = Math.min(...this.#buckets.keys());
        this.#buckets.delete(oldest);
        this.#floor = oldest;
        if (oldest === index) {
          return undefined;
        }
      }
    }
    this.#last = bucket;
    this.#lastIndex = index;
    return bucket;
  }
}

interface Bucket {
  rows: number;
  readonly slots: Uint32Array;
}

/** Counts of a window. */
export interface HistogramSum {
  readonly rows: number;
  /** Rows by bin of a column and, last, the rows without a value. */
  column(column: number): Float64Array;
}
