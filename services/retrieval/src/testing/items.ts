import type { ItemBatch } from "../domain/generation-builder.ts";
import type { KeyList } from "../domain/item-keys.ts";
import { clusteredVectors } from "./clustered-vectors.ts";

/** Batches of random items, 100 each, with a text and an integer attribute; keys are "item-0", "item-1", … */
export async function* randomItems(count: number, dimension: number, random: () => number): AsyncIterable<ItemBatch> {
  for (let from = 0; from < count; from += 100) {
    const rows = Array.from({ length: Math.min(100, count - from) }, (_, i) => from + i);
    const keys: KeyList = { type: "text", values: rows.map((row) => `item-${row}`) };
    yield {
      keys,
      vectors: new Uint8Array(clusteredVectors(rows.length, dimension, "cosine", random).buffer),
      attributes: [
        { name: "genre", values: rows.map((row) => (row % 7 === 0 ? null : `g${row % 3}`)) },
        { name: "year", values: rows.map((row) => BigInt(1990 + (row % 30))) },
      ],
    };
  }
}
