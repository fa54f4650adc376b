/**
 * A bounded summary of many values. Its state is a function of the values alone, neither of their order nor of how they
 * were spread over sketches that were merged, so that stream and batch give the same bits.
 */
export interface Sketch {
  /** Forgets everything. */
  clear(): void;
  /** Adds one value by its code; NaN adds nothing. */
  add(code: number): void;
  /** Adds a packed sketch of the same kind; answers the word after it. */
  addPacked(words: Float64Array, from: number): number;
  /** Words that `pack` writes. */
  packedWords(): number;
  /** Packs it; answers the word after it. */
  pack(words: Float64Array, to: number): number;
}

/** Words of a packed sketch, whatever its kind: the first word tells. */
export function packedSketchWords(words: Float64Array, from: number): number {
  return 1 + (words[from] ?? 0);
}
