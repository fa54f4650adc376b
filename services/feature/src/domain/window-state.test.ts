import { describe, expect, test } from "@jest/globals";
import {
  type Aggregate,
  defineEntity,
  defineFeatureView,
  defineSource,
  type FeatureView,
  type Value,
  type ValueType,
} from "@weft/scenario";
import { seededRandom } from "@weft/testkit";
import { compileView } from "./compile-view.ts";
import { type SourceRow, Status } from "./view-state.ts";
import { slidesMax, windowSpec, windowStartUs } from "./window.ts";
import { defaultWindowBounds, type WindowBounds } from "./window-layout.ts";
import { WindowState } from "./window-state.ts";

const second = 1_000_000;
const card = defineEntity({ name: "card", key: "int64" });
const fields = {
  card: "int64",
  amount: "float64",
  ratio: "float32",
  item: "int64",
  shop: "string",
  online: "bool",
} as const satisfies Record<string, ValueType>;
const names = Object.keys(fields);

function viewOf(
  aggregates: Record<string, Aggregate>,
  options: { created?: boolean; ladder?: FeatureView["ladder"] } = {},
) {
  const source = defineSource({
    name: "events",
    file: "events.csv",
    eventTime: "time",
    ...(options.created === true ? { createdTime: "created" } : {}),
    fields,
  });
  return defineFeatureView({
    name: "windows",
    entities: [{ entity: card, field: "card" }],
    source,
    aggregates,
    ladder: options.ladder ?? [],
  });
}

function row(timeUs: number, values: Partial<Record<keyof typeof fields, Value>>, createdUs = timeUs): SourceRow {
  const all: Record<string, Value> = { card: 1n, ...values };
  return { eventTimeUs: timeUs, createdTimeUs: createdUs, values: names.map((name) => all[name] ?? null) };
}

/** The rule itself, over all rows, in exact arithmetic where order could matter. */
function bruteForce(
  view: FeatureView,
  name: string,
  aggregate: Aggregate,
  window: string,
  rows: readonly SourceRow[],
  t: number,
) {
  const spec = windowSpec(window, aggregate.slide);
  const left = windowStartUs(t, spec);
  const field = names.indexOf(aggregate.field ?? "");
  const condition = aggregate.where;
  const inside = rows.filter((r) => {
    if (r.eventTimeUs < left || r.eventTimeUs >= t || r.createdTimeUs > t) return false;
    return condition === undefined || r.values[names.indexOf(condition.field)] === condition.equals;
  });
  const values = inside
    .map((r) => ({ r, value: field < 0 ? null : (r.values[field] ?? null) }))
    .filter(({ value }) => value !== null && (typeof value !== "number" || Number.isFinite(value)))
    .map(({ r, value }) => ({ r, value: aggregate.field === "ratio" ? Math.fround(Number(value)) : value }));
  const numbers = values.map(({ value }) => Number(value));
  // Doubles below 2^20 with at most 60 binary places: scaled, they are whole.
  const exactSum = () => Number(numbers.reduce((sum, x) => sum + BigInt(x * 2 ** 70), 0n)) / 2 ** 70;
  const less = (a: Value, b: Value) => (String(a) === String(b) ? 0 : (a ?? 0) < (b ?? 0) ? -1 : 1);
  const newest = [...values].sort(
    (a, b) => b.r.eventTimeUs - a.r.eventTimeUs || b.r.createdTimeUs - a.r.createdTimeUs || less(a.value, b.value),
  );
  switch (aggregate.function) {
    case "count":
      return BigInt(aggregate.field === undefined ? inside.length : values.length);
    case "sum":
      return exactSum();
    case "mean":
      return numbers.length === 0 ? null : exactSum() / numbers.length;
    case "min":
      return numbers.length === 0 ? null : Math.min(...numbers);
    case "max":
      return numbers.length === 0 ? null : Math.max(...numbers);
    case "std": {
      if (numbers.length === 0) return null;
      const mean = exactSum() / numbers.length;
      return Math.sqrt(numbers.reduce((sum, x) => sum + (x - mean) ** 2, 0) / numbers.length);
    }
    case "last": {
      const ties = newest.filter(
        ({ r }) => r.eventTimeUs === newest[0]?.r.eventTimeUs && r.createdTimeUs === newest[0]?.r.createdTimeUs,
      );
      return ties.at(-1)?.value ?? null;
    }
    case "distinct":
      return BigInt(new Set(values.map(({ value }) => (value === 0 ? 0 : value))).size);
    case "recent":
      return [...new Set(newest.map(({ value }) => value))].slice(0, aggregate.limit ?? 100);
    case "top": {
      const counts = new Map<Value, number>();
      for (const { value } of values) counts.set(value, (counts.get(value) ?? 0) + 1);
      return [...counts]
        .sort(([a, x], [b, y]) => y - x || less(a, b))
        .map(([value]) => value)
        .slice(0, aggregate.limit ?? 100);
    }
    default:
      throw new Error(`${view.name} ${name}`);
  }
}

const windowChoices = ["1s", "10s", "1m", "5m", "30m", "1h", "6h", "24h", "7d", "90d"] as const;
const slideChoices = ["1s", "7s", "1m", "90s", "1h"] as const;

function randomAggregates(random: () => number): Record<string, Aggregate> {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const aggregates: Record<string, Aggregate> = {};
  const functions = ["count", "sum", "mean", "min", "max", "std", "last", "distinct", "recent", "top"] as const;
  const count = 1 + Math.floor(random() * 6);
  for (let i = 0; i < count; i++) {
    const name = pick(functions);
    const numeric = ["sum", "mean", "min", "max", "std"].includes(name);
    const keys = ["recent", "top"].includes(name);
    const field = numeric
      ? pick(["amount", "ratio", "online"])
      : keys
        ? pick(["item", "shop"])
        : pick(["amount", "item", "shop", "online", "ratio"]);
    const slide = random() < 0.25 ? pick(slideChoices) : undefined;
    const windows = [...new Set([pick(windowChoices), pick(windowChoices), pick(windowChoices)])].filter((window) => {
      if (slide === undefined) return true;
      const seconds = (text: string) =>
        Number.parseInt(text, 10) * { s: 1, m: 60, h: 3600, d: 86400 }[text.slice(-1) as "s"];
      const slides = seconds(window) / seconds(slide);
      return slides >= 1 && slides <= slidesMax;
    });
    if (windows.length === 0) continue;
    const where = [
      { field: "online", equals: true },
      { field: "shop", equals: "a" },
      { field: "item", equals: 3n },
    ][Math.floor(random() * 6)];
    aggregates[`f${i}`] = {
      function: name,
      ...(name === "count" && random() < 0.7 ? {} : { field }),
      windows,
      ...(slide === undefined ? {} : { slide }),
      ...(where === undefined ? {} : { where }),
      limit: 1 + Math.floor(random() * 5),
    };
  }
  return Object.keys(aggregates).length > 0 ? aggregates : { n: { function: "count", windows: ["1h"] } };
}

function randomRows(random: () => number, spanUs: number, count: number): SourceRow[] {
  const base = 1_700_000_000 * second + Math.floor(random() * 86_400) * second;
  const rows: SourceRow[] = [];
  for (let i = 0; i < count; i++) {
    const previous = rows[Math.floor(random() * rows.length)];
    // Some share a time, some are the same row again, some lie exactly on a slide.
    let time = Math.floor(base + random() * spanUs);
    if (random() < 0.2) time = Math.floor(time / (5 * second)) * 5 * second;
    if (previous !== undefined && random() < 0.1) time = previous.eventTimeUs;
    if (previous !== undefined && random() < 0.05) {
      rows.push(previous);
      continue;
    }
    const maybe = <T extends Value>(value: T): T | null => (random() < 0.1 ? null : value);
    rows.push(
      row(time, {
        amount: random() < 0.03 ? Number.NaN : maybe(Math.round(random() * 1e7 - 2e6) / 100),
        ratio: maybe(random() * 10),
        item: maybe(
          random() < 0.5 ? BigInt(Math.floor(random() * 6)) : 9_007_199_254_740_993n + BigInt(Math.floor(random() * 4)),
        ),
        shop: maybe(["a", "b", "ü", "Ω-long-name"][Math.floor(random() * 4)] ?? "a"),
        online: maybe(random() < 0.5),
      }),
    );
  }
  return rows;
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const list = [...items];
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [list[i], list[j]] = [list[j] as T, list[i] as T];
  }
  return list;
}

const seed = Number(process.env.TEST_SEED ?? 20_240_613);

describe("windows against brute force", () => {
  test.each([
    ["minutes", 600 * second, 1_500],
    ["hours", 6 * 3_600 * second, 1_500],
    ["weeks", 21 * 86_400 * second, 1_500],
    ["years", 900 * 86_400 * second, 500],
  ])("over %s, in any order of arrival", (_, spanUs, cases) => {
    for (let number = 0; number < cases; number++) {
      const caseSeed = seed + number * 7 + spanUs / second;
      const random = seededRandom(caseSeed);
      const bounds: WindowBounds = { ...defaultWindowBounds, rawMax: 2 + Math.floor(random() * 20) };
      const view = viewOf(randomAggregates(random));
      const compiled = compileView(view, bounds);
      const rows = randomRows(random, spanUs, Math.floor(random() * 90));
      const newest = Math.max(...rows.map((r) => r.eventTimeUs), 1_700_000_000 * second);

      const inOrder = compiled.emptyState();
      for (const r of [...rows].sort((a, b) => a.eventTimeUs - b.eventTimeUs)) inOrder.apply(r);
      let anyOrder = compiled.emptyState();
      for (const r of shuffled(rows, random)) {
        anyOrder.apply(r);
        if (random() < 0.1) anyOrder = compiled.decode(anyOrder.encode());
      }
      const reading = compiled.createReading();
      const other = compiled.createReading();
      // At the newest event's own time, just after, on slide edges, and ages later.
      const times = [
        newest,
        newest + 1,
        Math.ceil((newest + 1) / (5 * second)) * 5 * second,
        Math.ceil((newest + 1) / (3_600 * second)) * 3_600 * second,
        newest + Math.floor(random() * 100 * second),
        newest + Math.floor(random() * spanUs),
      ];
      for (const t of times) {
        if (rows.filter((r) => r.eventTimeUs >= t).length > bounds.rawMax >> 1) continue;
        compiled.read(inOrder, t, reading);
        compiled.read(compiled.decode(anyOrder.encode()), t, other);
        let position = 0;
        for (const [name, aggregate] of Object.entries(view.aggregates)) {
          for (const window of aggregate.windows) {
            const place = () =>
              `seed ${caseSeed}, ${name} ${JSON.stringify(aggregate, (_k, v) => (typeof v === "bigint" ? `${v}n` : v))} ${window}, t - newest = ${t - newest} us`;
            const expected = bruteForce(view, name, aggregate, window, rows, t);
            const value = reading.value(position);
            if (aggregate.function === "std" && typeof expected === "number" && typeof value === "number") {
              if (Math.abs(value - expected) > 1e-9 * Math.max(1, expected))
                expect({ place: place(), value }).toEqual({ place: place(), value: expected });
            } else if (!isEqual(value, expected))
              expect({ place: place(), value }).toEqual({ place: place(), value: expected });
            if (!isEqual(other.value(position), value))
              expect({ place: place(), other: other.value(position) }).toEqual({ place: place(), other: value });
            position++;
          }
        }
      }
    }
  });
});

function isEqual(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((value, i) => Object.is(value, b[i]));
  return Object.is(a, b) || (a === 0 && b === 0);
}

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
    ];
    for (const aggregate of bad) expect(() => compileView(viewOf({ a: aggregate }))).toThrow(RangeError);
  });
});
