import { describe, expect, test } from "@jest/globals";
import { seededRandom } from "@weft/testkit";
import { decodeKey, type EntityKey, encodeKey, joinKeys } from "./entity-key.ts";

const seed = Number(process.env.TEST_SEED ?? 4_242);
const cases = 10_000;
const pieces = ["", "a", "b", "ab", "i1;", "1:", "2:a", ";", ":", "é", "日本", "🙂", "\u0000"];

function randomKey(random: () => number): EntityKey {
  const upTo = (count: number) => Math.floor(random() * count);
  if (random() < 0.5) {
    const edges = [0n, 1n, -1n, 2n ** 53n, 2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 63n - 1n, -(2n ** 63n)];
    return random() < 0.5 ? (edges[upTo(edges.length)] ?? 0n) : BigInt.asIntN(64, BigInt(upTo(2 ** 31)) ** 2n);
  }
  return Array.from({ length: 1 + upTo(3) }, () => pieces[upTo(pieces.length)] ?? "").join("") || "x";
}

describe(`entity keys, seed ${seed}`, () => {
  test(`come back from bytes as they were, and bytes are in key order, ${cases} pairs`, () => {
    const random = seededRandom(seed);
    for (let number = 0; number < cases; number++) {
      const [a, b] = [randomKey(random), randomKey(random)];
      const [aBytes, bBytes] = [encodeKey(a), encodeKey(b)];
      if (decodeKey(aBytes) !== a) expect({ number, key: decodeKey(aBytes) }).toEqual({ number, key: a });
      const order = Buffer.compare(aBytes, bBytes);
      if (typeof a === "bigint" && typeof b === "bigint") {
        const wanted = a < b ? -1 : a > b ? 1 : 0;
        if (order !== wanted) expect({ a, b, order }).toEqual({ a, b, order: wanted });
      } else if ((order === 0) !== (a === b)) expect({ a, b, order }).toEqual({ a, b, order: a === b ? 0 : 1 });
    }
  });

  test(`of several entities never collide, ${cases} pairs`, () => {
    const random = seededRandom(seed + 1);
    const seen = new Map<EntityKey, string>();
    for (let number = 0; number < cases; number++) {
      const parts = Array.from({ length: 2 + Math.floor(random() * 2) }, () => randomKey(random));
      const text = parts.map((part) => (typeof part === "bigint" ? `${part}n` : JSON.stringify(part))).join();
      const joined = joinKeys(parts);
      const known = seen.get(joined);
      if (known !== undefined && known !== text) expect({ joined, text }).toEqual({ joined, text: known });
      seen.set(joined, text);
    }
  });
});
