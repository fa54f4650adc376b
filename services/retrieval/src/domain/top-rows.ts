import type { RankedRows } from "./vector-index.ts";

/** Keeps the `count` most similar rows of those offered, ties by smaller row: a heap whose root is the worst kept. */
export class TopRows {
  private readonly count: number;
  private readonly rows: Uint32Array;
  private readonly similarities: Float32Array;
  private size = 0;

  constructor(count: number) {
    this.count = count;
    this.rows = new Uint32Array(count);
    this.similarities = new Float32Array(count);
  }

  offer(row: number, similarity: number): void {
    if (this.size < this.count) {
      this.size += 1;
      this.raise(this.size - 1, row, similarity);
    } else if (this.count > 0 && worse(this.similarities[0] as number, this.rows[0] as number, similarity, row)) {
      this.sink(row, similarity, this.size);
    }
  }

  /** Empties the heap into falling order. */
  take(): RankedRows {
    const { rows, similarities } = this;
    const count = this.size;
    for (let last = count - 1; last > 0; last -= 1) {
      const row = rows[last] as number;
      const similarity = similarities[last] as number;
      rows[last] = rows[0] as number;
      similarities[last] = similarities[0] as number;
      this.sink(row, similarity, last);
    }
    this.size = 0;
    return { rows: rows.subarray(0, count), similarities: similarities.subarray(0, count) };
  }

  /** Puts an entry at a free leaf and moves it towards the root while its parent is better. */
  private raise(leaf: number, row: number, similarity: number): void {
    let at = leaf;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!worse(similarity, row, this.similarities[parent] as number, this.rows[parent] as number)) break;
      this.move(parent, at);
      at = parent;
    }
    this.rows[at] = row;
    this.similarities[at] = similarity;
  }

  /** Replaces the root and moves the entry down while a child is worse. */
  private sink(row: number, similarity: number, size: number): void {
    const { rows, similarities } = this;
    let at = 0;
    while (true) {
      let child = 2 * at + 1;
      if (child >= size) break;
      const right = child + 1;
      if (
        right < size &&
        worse(
          similarities[right] as number,
          rows[right] as number,
          similarities[child] as number,
          rows[child] as number,
        )
      ) {
        child = right;
      }
      if (!worse(similarities[child] as number, rows[child] as number, similarity, row)) break;
      this.move(child, at);
      at = child;
    }
    rows[at] = row;
    similarities[at] = similarity;
  }

  private move(from: number, to: number): void {
    this.rows[to] = this.rows[from] as number;
    this.similarities[to] = this.similarities[from] as number;
  }
}

/** Whether entry a ranks behind entry b. */
function worse(similarityA: number, rowA: number, similarityB: number, rowB: number): boolean {
  return similarityA < similarityB || (similarityA === similarityB && rowA > rowB);
}
