import { describe, expect, test } from "@jest/globals";
import type { Aggregate } from "@weft/scenario";
import { compileView } from "../views/compile-view.ts";
import { Status } from "../views/view-state.ts";
import { windowRow as row, second, windowView as viewOf } from "./window-fixture.ts";
import { defaultWindowBounds } from "./window-layout.ts";
import { WindowState } from "./window-state.ts";

describe("a window's state", () => {
  const aggregates: Record<string, Aggregate> = {
    n: { function: "count", windows: ["1m", "1h"] },
    total: { function: "sum", field: "amount", windows: ["1h"] },
    spread: { function: "std", field: "amount", windows: ["1h"] },
    shops: { function: "recent", field: "shop", windows: ["90d"], limit: 3 },
  };
  const t0 = 1_700_000_000 * second;

  test("the left edge is aligned to the slide, the right edge is the read time itself", () => {
    const compiled = compileView(viewOf({ n: { function: "count", windows: ["1m"] } }));
    const reading = compiled.createReading();
    const state = compiled.emptyState();
    const t = t0 + 3 * second;
    // floor(t - 60 s, 5 s) = t0 - 60 s, as t0 is a multiple of 5 s.
    for (const time of [t0 - 60 * second - 1, t0 - 60 * second, t - 1, t]) state.apply(row(time, {}));
    compiled.read(state, t, reading);
    expect(reading.value(0)).toBe(2n);
    compiled.read(state, t + 1, reading);
    expect(reading.value(0)).toBe(3n);
  });

  test("a read at the newest time leaves out everything of that time, however much it is", () => {
    const compiled = compileView(viewOf({ n: { function: "count", windows: ["1h"] } }));
    const state = compiled.emptyState();
    state.apply(row(t0 - second, {}));
    for (let i = 0; i < 500; i++) state.apply(row(t0, {}));
    const reading = compiled.createReading();
    const packed = compiled.decode(state.encode());
    compiled.read(packed, t0, reading);
    expect(reading.value(0)).toBe(1n);
    compiled.read(packed, t0 + 1, reading);
    expect(reading.value(0)).toBe(501n);
    state.apply(row(t0 + 1, {}));
    for (let i = 0; i < 100; i++) state.apply(row(t0 + 2, {}));
    compiled.read(state, t0 + 2, reading);
    expect(reading.value(0)).toBe(502n);
  });

  test("a tumbling window is the newest one that is over", () => {
    const compiled = compileView(viewOf({ n: { function: "count", kind: "tumbling", windows: ["1h"] } }));
    const hour = 3_600 * second;
    const start = Math.floor(t0 / hour) * hour;
    const state = compiled.emptyState();
    for (const time of [start - 1, start, start + hour - 1, start + hour]) state.apply(row(time, {}));
    const reading = compiled.createReading();
    const countAt = (t: number) => {
      compiled.read(state, t, reading);
      return reading.value(0);
    };
    expect(countAt(start + hour - 1)).toBe(1n);
    expect(countAt(start + hour)).toBe(2n);
    expect(countAt(start + 2 * hour - 1)).toBe(2n);
    expect(countAt(start + 2 * hour)).toBe(1n);
    expect(countAt(start + 3 * hour)).toBe(0n);
  });

  test("a session goes on while events are at most its gap apart, and is empty once it is over", () => {
    const compiled = compileView(
      viewOf({
        clicks: { function: "count", kind: "session", windows: ["10m"] },
        items: { function: "recent", field: "item", kind: "session", windows: ["10m"], limit: 2 },
        bought: { function: "count", kind: "session", windows: ["10m"], where: { field: "online", equals: true } },
        spent: { function: "sum", field: "amount", kind: "session", windows: ["10m"], longest: "15m" },
      }),
    );
    expect(compiled.features.map(({ name }) => name)).toEqual(["clicks_10m", "items_10m", "bought_10m", "spent_10m"]);
    const gap = 600 * second;
    const state = compiled.emptyState();
    const reading = compiled.createReading();
    const at = (t: number) => {
      compiled.read(state, t, reading);
      return [0, 1, 2, 3].map((i) => reading.value(i));
    };
    state.apply(row(t0, { item: 1n, amount: 1 }));
    state.apply(row(t0 + gap, { item: 2n, amount: 2, online: true }));
    // The session began at t0; its newest event was at t0 + gap.
    expect(at(t0 + gap + 1)).toEqual([2n, [2n, 1n], 1n, 3]);
    expect(at(t0 + 2 * gap)[0]).toBe(2n);
    expect(at(t0 + 2 * gap + 1)).toEqual([0n, [], 0n, 0]);
    // One microsecond more than the gap begins another session.
    state.apply(row(t0 + 2 * gap + 1, { item: 3n, amount: 4 }));
    expect(at(t0 + 2 * gap + 2)).toEqual([1n, [3n], 0n, 4]);
    // A late event between two sessions joins them. Of more than 15 minutes, spent counts the newest.
    state.apply(row(t0 + 2 * gap - second, { item: 4n, amount: 8 }));
    expect(at(t0 + 2 * gap + 2)).toEqual([4n, [3n, 4n], 1n, 14]);
  });

  test("a session's state stays small however long the history is", () => {
    const compiled = compileView(
      viewOf({ clicks: { function: "count", kind: "session", windows: ["30m"], longest: "6h" } }),
    );
    const state = compiled.emptyState();
    if (!(state instanceof WindowState)) throw new Error("not a window state");
    for (let i = 0; i < 50_000; i++) state.apply(row(t0 + i * 60 * second, {}));
    expect(state.tileCount).toBeLessThan(80);
    const reading = compiled.createReading();
    compiled.read(state, t0 + 50_000 * 60 * second, reading);
    // 6 hours back, aligned to the slide of 5 minutes.
    expect(Number(reading.value(0))).toBeGreaterThanOrEqual(360);
    expect(Number(reading.value(0))).toBeLessThan(366);
  });

  test("sketches stay small, and answer within their bounds", () => {
    const compiled = compileView(
      viewOf({
        shops: { function: "approx_distinct", field: "shop", windows: ["24h"] },
        high: { function: "quantile", field: "amount", quantile: 0.9, windows: ["24h"] },
      }),
    );
    const state = compiled.emptyState();
    for (let i = 0; i < 40_000; i++)
      state.apply(row(t0 + i * second, { shop: `shop ${i % 20_000}`, amount: i % 1_000 }));
    const reading = compiled.createReading();
    compiled.read(compiled.decode(state.encode()), t0 + 40_000 * second, reading);
    expect(Math.abs(Number(reading.value(0)) / 20_000 - 1)).toBeLessThan(0.05);
    expect(Math.abs(Number(reading.value(1)) / 899 - 1)).toBeLessThan(1 / 128);
    expect(state.encode().length).toBeLessThan(25 * 1024 * 16);
  });

  test("hides what was not known at the read time", () => {
    const compiled = compileView(viewOf({ n: { function: "count", windows: ["1h"] } }, { created: true }));
    const reading = compiled.createReading();
    const state = compiled.emptyState();
    state.apply(row(t0, {}, t0 + 10 * second));
    compiled.read(state, t0 + 9 * second, reading);
    expect(reading.value(0)).toBe(0n);
    compiled.read(state, t0 + 10 * second, reading);
    expect(reading.value(0)).toBe(1n);
  });

  test("without events counts are 0, lists empty and the rest absent", () => {
    const compiled = compileView(viewOf(aggregates));
    const reading = compiled.createReading();
    compiled.read(undefined, t0, reading);
    expect(reading.features.map((_, i) => reading.value(i))).toEqual([0n, 0n, 0, null, []]);
    expect([...reading.statuses]).toEqual([
      Status.Present,
      Status.Present,
      Status.Present,
      Status.NotFound,
      Status.Present,
    ]);
    compiled.read(compiled.emptyState(), t0, reading);
    expect(reading.statuses[3]).toBe(Status.Null);
  });

  test("a default stands in only where the ladder has it", () => {
    const mean: Record<string, Aggregate> = { m: { function: "mean", field: "amount", windows: ["1h"], default: 7 } };
    for (const [ladder, value, status] of [
      [[], null, Status.NotFound],
      [["default"], 7, Status.Defaulted],
    ] as const) {
      const compiled = compileView(viewOf(mean, { ladder }));
      const reading = compiled.createReading();
      compiled.read(undefined, t0, reading);
      expect(reading.value(0)).toBe(value);
      expect(reading.statuses[0]).toBe(status);
    }
  });

  test("tiles stay few over a long, dense history, and go when no window can see them", () => {
    const compiled = compileView(viewOf({ n: { function: "count", windows: ["1m", "1h", "24h"] } }));
    const state = compiled.emptyState();
    if (!(state instanceof WindowState)) throw new Error("not a window state");
    for (let i = 0; i < 100_000; i++) state.apply(row(t0 + i * 10 * second, {}));
    expect(state.tileCount).toBeLessThan(150);
    expect(state.encode().length).toBeLessThan(16_384);
    state.apply(row(t0 + 100 * 86_400 * second, {}));
    for (let i = 0; i < 64; i++) state.apply(row(t0 + 100 * 86_400 * second + i, {}));
    expect(state.tileCount).toBeLessThan(3);
  });

  test("recent keeps the newest values of a key field without bound on how many came before", () => {
    const compiled = compileView(viewOf(aggregates), { ...defaultWindowBounds, valuesMax: 500 });
    const state = compiled.emptyState();
    for (let i = 0; i < 5_000; i++) state.apply(row(t0 + i * 60 * second, { shop: `shop ${i}` }));
    const reading = compiled.createReading(["shops_90d"]);
    compiled.read(state, t0 + 6_000 * 60 * second, reading);
    expect(reading.value(0)).toEqual(["shop 4999", "shop 4998", "shop 4997"]);
  });

  test("distinct is exact up to its bound, and says how much it left out", () => {
    const compiled = compileView(viewOf({ d: { function: "distinct", field: "item", windows: ["24h"] } }), {
      ...defaultWindowBounds,
      valuesMax: 100,
    });
    const reading = compiled.createReading();
    const state = compiled.emptyState();
    if (!(state instanceof WindowState)) throw new Error("not a window state");
    for (let i = 0; i < 100; i++) state.apply(row(t0 + i, { item: BigInt(i) }));
    compiled.read(state, t0 + second, reading);
    expect(reading.value(0)).toBe(100n);
    expect(state.overflowCount).toBe(0);
    for (let i = 0; i < 50; i++) state.apply(row(t0 + 200 + i, { item: BigInt(1_000 + i) }));
    compiled.read(state, t0 + second, reading);
    expect(reading.value(0)).toBe(100n);
    expect(state.overflowCount).toBe(50);
  });

  test("std of equal values is 0, and survives a large mean", () => {
    const compiled = compileView(viewOf({ s: { function: "std", field: "amount", windows: ["1h"] } }));
    const reading = compiled.createReading();
    const equal = compiled.emptyState();
    for (let i = 0; i < 200; i++) equal.apply(row(t0 + i, { amount: 0.1 }));
    compiled.read(equal, t0 + second, reading);
    expect(reading.value(0)).toBe(0);
    const large = compiled.emptyState();
    for (let i = 0; i < 200; i++) large.apply(row(t0 + i, { amount: 1e9 + (i % 2) }));
    compiled.read(large, t0 + second, reading);
    expect(reading.value(0)).toBe(0.5);
  });

  test("refuses bytes of another definition, and bytes cut short", () => {
    const compiled = compileView(viewOf(aggregates));
    const other = compileView(viewOf({ n: { function: "count", windows: ["1m"] } }));
    const state = compiled.emptyState();
    state.apply(row(t0, { shop: "a" }));
    expect(() => other.decode(state.encode())).toThrow(RangeError);
    expect(() => compiled.decode(state.encode().slice(0, 50))).toThrow(RangeError);
  });

  test("refuses definitions that make no sense", () => {
    const bad: Aggregate[] = [
      { function: "sum", windows: ["1h"] },
      { function: "sum", field: "shop", windows: ["1h"] },
      { function: "recent", field: "amount", windows: ["1h"] },
      { function: "count", windows: [] },
      { function: "count", windows: ["1h"], slide: "2h" },
      { function: "count", windows: ["90d"], slide: "1s" },
      { function: "recent", field: "shop", windows: ["1h"], limit: 0 },
      { function: "count", windows: ["1h"], where: { field: "nowhere", equals: 1 } },
      { function: "quantile", field: "amount", windows: ["1h"] },
      { function: "quantile", field: "amount", quantile: 1.5, windows: ["1h"] },
      { function: "quantile", field: "shop", quantile: 0.5, windows: ["1h"] },
      { function: "count", kind: "tumbling", windows: ["1h"], slide: "5m" },
      { function: "count", kind: "session", windows: ["1h"], longest: "30m" },
      { function: "count", kind: "session", windows: ["1s"], longest: "24h" },
      { function: "count", windows: ["1h"], longest: "24h" },
    ];
    for (const aggregate of bad) expect(() => compileView(viewOf({ a: aggregate }))).toThrow(RangeError);
  });
});
