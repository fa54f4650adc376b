import type { ColumnBatch } from "./offline-store.ts";

/** Goes over a query's rows one by one, so that most steps need no promise. */
export class RowCursor {
  batch: ColumnBatch = { count: 0, columns: [] };
  row = 0;
  /** True once there is no row left. */
  ended = false;
  readonly #batches: AsyncIterator<ColumnBatch>;

  constructor(batches: AsyncIterable<ColumnBatch>) {
    this.#batches = batches[Symbol.asyncIterator]();
  }

  /** Goes to the next row of the part at hand; false where `next` must be asked. */
  step(): boolean {
    this.row++;
    return this.row < this.batch.count;
  }

  /** Fetches the next part; false at the end. */
  async next(): Promise<boolean> {
    const { value, done } = await this.#batches.next();
    if (done === true) {
      this.ended = true;
      return false;
    }
    this.batch = value;
    this.row = 0;
    return true;
  }

  number(column: number): number {
    return this.batch.columns[column]?.[this.row] as number;
  }

  async close(): Promise<void> {
    await this.#batches.return?.();
  }
}
