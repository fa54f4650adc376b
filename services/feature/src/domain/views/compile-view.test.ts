import { describe, expect, test } from "@jest/globals";
import { defineEntity, defineFeatureView, defineSource, type FeatureView, type Value } from "@weft/scenario";
import { seededRandom } from "@weft/testkit";
import { compileView } from "./compile-view.ts";
import { decodeKey, encodeKey, joinKeys } from "./entity-key.ts";
import { type SourceRow, Status, sourceFields } from "./view-state.ts";

const second = 1_000_000;
const user = defineEntity({ name: "user", key: "int64" });
const shop = defineEntity({ name: "shop", key: "string" });
const fields = {
  user: "int64",
  shop: "string",
  age: "float32",
  balance: "float64",
  id: "int64",
  active: "bool",
  city: "string",
  raw: "bytes",
  taste: { vector: 3 },
  seen: { keys: "int64" },
  tags: { keys: "string" },
} as const;

function viewOf(options: Partial<Pick<FeatureView, "ttl" | "ladder" | "entities" | "features">> = {}): FeatureView {
  const source = defineSource({ name: "users", file: "users.csv", eventTime: "time", createdTime: "created", fields });
  const { user: _user, shop: _shop, ...own } = fields;
  return defineFeatureView({
    name: "profile",
    entities: [{ entity: user, field: "user" }],
    source,
    features: Object.fromEntries(Object.entries(own).map(([name, type]) => [name, { type }])),
    ...options,
  });
}

const names = sourceFields(viewOf().source).map(({ name }) => name);
function row(eventTimeUs: number, values: Record<string, Value>, createdTimeUs = eventTimeUs): SourceRow {
  return { eventTimeUs, createdTimeUs, values: names.map((name) => values[name] ?? null) };
}

const full: Record<string, Value> = {
  user: 1n,
  shop: "s",
  age: 41.5,
  balance: 0.1,
  id: -9_007_199_254_740_993n,
  active: true,
  city: "Zürich",
  raw: Uint8Array.of(0, 255),
  taste: Float32Array.of(1, -2, 0.5),
  seen: [1n, 9_223_372_036_854_775_807n],
  tags: ["", "é"],
};

describe("a field view", () => {
  test("packs every type and reads back the same values, also through bytes that are not aligned", () => {
    const compiled = compileView(viewOf());
    const state = compiled.emptyState();
    state.apply(row(5 * second, full));
    const bytes = state.encode();
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    for (const packed of [bytes, shifted.subarray(3)]) {
      const reading = compiled.createReading();
      compiled.read(compiled.decode(packed), 6 * second, reading);
      const read = Object.fromEntries(reading.features.map(({ name }, index) => [name, reading.value(index)]));
      const { user: _user, shop: _shop, ...expected } = full;
      expect(read).toEqual(expected);
      expect(reading.eventTimeUs).toBe(5 * second);
      expect([...reading.statuses].every((status) => status === Status.Present)).toBe(true);
      expect([...reading.numbers.slice(0, 4)]).toEqual([41.5, 0.1, -9_007_199_254_740_992, 1]);
    }
  });

  test("reads null as null, a number that is not finite too", () => {
    const compiled = compileView(viewOf());
    const state = compiled.emptyState();
    state.apply(row(0, { user: 1n, balance: Number.NaN }));
    const reading = compiled.createReading();
    compiled.read(compiled.decode(state.encode()), 0, reading);
    expect(reading.features.map((_, index) => reading.value(index))).toEqual(reading.features.map(() => null));
    expect([...new Set(reading.statuses)]).toEqual([Status.Null]);
  });

  test("the greatest (event time, created time) wins, whatever the order of arrival; equal times: the greater values", () => {
    const compiled = compileView(viewOf());
    for (let seed = 0; seed < 500; seed++) {
      const random = seededRandom(seed);
      const small = () => Math.floor(random() * 3);
      const rows = Array.from({ length: 8 }, () =>
        row(
          small() * second,
          { age: random() < 0.2 ? null : small(), city: ["a", "b"][small()] ?? null },
          small() * second,
        ),
      );
      const packed = [rows, [...rows].reverse(), [...rows].sort(() => random() - 0.5)].map((order) => {
        let state = compiled.emptyState();
        for (const r of order) {
          state.apply(r);
          state = compiled.decode(state.encode());
        }
        expect(state.apply(order[0] as SourceRow)).toBe(false);
        return Buffer.from(state.encode()).toString("hex");
      });
      expect({ seed, states: new Set(packed).size }).toEqual({ seed, states: 1 });
      const newest = Math.max(...rows.map((r) => r.eventTimeUs * 10 + r.createdTimeUs));
      const reading = compiled.createReading(["age"]);
      const state = compiled.decode(Buffer.from(packed[0] ?? "", "hex"));
      compiled.read(state, 10 * second, reading);
      expect(reading.eventTimeUs).toBe(rows.find((r) => r.eventTimeUs * 10 + r.createdTimeUs === newest)?.eventTimeUs);
    }
  });

  test("as of t: event time and created time at most t, event time at least t - ttl, all inclusive", () => {
    const compiled = compileView(viewOf({ ttl: "10s" }));
    const state = compiled.emptyState();
    state.apply(row(100 * second, { age: 1 }, 103 * second));
    const reading = compiled.createReading(["age"]);
    const statusAt = (t: number) => {
      compiled.read(state, t, reading);
      return [reading.statuses[0], reading.value(0)];
    };
    expect(statusAt(103 * second - 1)).toEqual([Status.NotFound, null]);
    expect(statusAt(103 * second)).toEqual([Status.Present, 1]);
    expect(statusAt(110 * second)).toEqual([Status.Present, 1]);
    expect(statusAt(110 * second + 1)).toEqual([Status.OutsideMaxAge, null]);
  });

  test("goes down its ladder, and only that far", () => {
    const features = { age: { type: "float32", default: 30 }, city: { type: "string", default: "none" } } as const;
    const read = (ladder: FeatureView["ladder"], t: number, values?: Record<string, Value>) => {
      const compiled = compileView(viewOf({ ttl: "10s", ladder, features }));
      const state = compiled.emptyState();
      if (values !== undefined) state.apply(row(0, values));
      const reading = compiled.createReading();
      compiled.read(values === undefined ? undefined : state, t, reading);
      return [reading.value(0), reading.value(1), ...reading.statuses];
    };
    const { NotFound, Defaulted, OutsideMaxAge, Null, Present } = Status;
    const some = { age: 5, city: null };
    expect(read([], 0, some)).toEqual([5, null, Present, Null]);
    expect(read(["default"], 0, some)).toEqual([5, "none", Present, Defaulted]);
    expect(read([], 60 * second, some)).toEqual([null, null, OutsideMaxAge, OutsideMaxAge]);
    expect(read(["stale"], 60 * second, some)).toEqual([5, null, OutsideMaxAge, OutsideMaxAge]);
    expect(read(["stale", "default"], 60 * second, some)).toEqual([5, "none", OutsideMaxAge, Defaulted]);
    expect(read(["default"], 60 * second, some)).toEqual([30, "none", Defaulted, Defaulted]);
    expect(read([], 0)).toEqual([null, null, NotFound, NotFound]);
    expect(read(["default"], 0)).toEqual([30, "none", Defaulted, Defaulted]);
  });

  test("refuses bytes of another definition, and bytes cut short", () => {
    const compiled = compileView(viewOf());
    const state = compiled.emptyState();
    state.apply(row(0, full));
    const other = compileView(viewOf({ features: { age: { type: "float32" } } }));
    expect(() => other.decode(state.encode())).toThrow(RangeError);
    expect(() => compiled.decode(state.encode().slice(0, 30))).toThrow(RangeError);
    const cut = compiled.createReading(["tags"]);
    compiled.read(compiled.decode(state.encode().slice(0, -1)), second, cut);
    expect(() => cut.value(0)).toThrow(RangeError);
  });

  test("the digest leaves out what only decides how a value is read", () => {
    const base = compileView(viewOf()).digest;
    expect(compileView(viewOf({ ttl: "5d", ladder: ["stale"] })).digest).toBe(base);
    expect(compileView(viewOf({ features: { age: { type: "float32" } } })).digest).not.toBe(base);
  });
});

describe("keys", () => {
  test("of a row: its field, both fields as one, none", () => {
    const single = compileView(viewOf());
    expect(single.keyOf(row(0, full))).toBe(1n);
    expect(single.keyOf(row(0, {}))).toBeUndefined();
    const both = compileView(
      viewOf({
        entities: [
          { entity: user, field: "user" },
          { entity: shop, field: "shop" },
        ],
      }),
    );
    expect(both.keyOf(row(0, full))).toBe(joinKeys([1n, "s"]));
    expect(both.keyOf(row(0, { user: 1n }))).toBeUndefined();
    expect(compileView(viewOf({ entities: [] })).keyOf(row(0, {}))).toBe("");
  });

  test("different lists of keys join to different keys", () => {
    const lists = [
      ["a", "b"],
      ["a1:b", ""],
      ["", "ab"],
      [1n, "1"],
      ["1", 1n],
      [1n, 1n],
      ["i1;", "x"],
    ];
    expect(new Set(lists.map(joinKeys)).size).toBe(lists.length);
  });

  test("encode in order, and back", () => {
    const integers = [-(2n ** 63n), -256n, -1n, 0n, 1n, 255n, 256n, 2n ** 53n + 1n, 2n ** 63n - 1n];
    const packed = integers.map(encodeKey);
    expect([...packed].sort(Buffer.compare)).toEqual(packed);
    for (const key of [...integers, "", "ü", "𝄞"]) expect(decodeKey(encodeKey(key))).toBe(key);
  });
});
