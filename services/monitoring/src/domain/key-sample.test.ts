import { expect, test } from "@jest/globals";
import { KeySample } from "./key-sample.ts";

const keys = Array.from({ length: 20_000 }, (_, index) => ({ user: String(1000 + index), item: `i${index % 7}` }));

test("a share holds about that share of the keys, and every key of a smaller share", () => {
  const shares = [0, 0.01, 0.1, 0.5, 1].map((share) => keys.filter((key) => new KeySample(share).has(key)));
  expect(shares.map(({ length }) => Math.round((100 * length) / keys.length))).toEqual([0, 1, 10, 50, 100]);
  for (const [index, smaller] of shares.slice(0, -1).entries()) {
    const greater = new Set(shares[index + 1]);
    expect(smaller.every((key) => greater.has(key))).toBe(true);
  }
});

test("the order in which entities stand does not matter, and all of them count", () => {
  const half = new KeySample(0.5);
  for (const { user, item } of keys.slice(0, 100)) expect(half.has({ item, user })).toBe(half.has({ user, item }));
  const ofOneUser = keys.slice(0, 100).map((_, index) => half.has({ user: "7", item: String(index) }));
  expect(new Set(ofOneUser).size).toBe(2);
});
