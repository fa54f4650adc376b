import { expect, test } from "@jest/globals";
import { seededBelow } from "@weft/repeatable";
import type { Stream } from "./stream.ts";
import { StreamTable } from "./stream-table.ts";

test("holds what a Map would hold", () => {
  const seed = Date.now();
  const random = seededBelow(seed);
  for (let round = 0; round < 20; round++) {
    const table = new StreamTable();
    const map = new Map<number, Stream>();
    const spread = 1 + random(400);
    for (let step = 0; step < 3_000; step++) {
      const id = random(spread) * 2 + 1;
      if (random(2) === 0) {
        table.delete(id);
        map.delete(id);
      } else if (!map.has(id)) {
        const stream = { id } as Stream;
        table.add(stream);
        map.set(id, stream);
      }
      const asked = random(spread) * 2 + 1;
      if (table.get(asked) !== map.get(asked) || table.size !== map.size)
        throw new Error(`seed ${seed}: differs at ${step}`);
    }
    expect(new Set(table.values())).toEqual(new Set(map.values()));
  }
});
