import {
  type Aggregate,
  type AggregateFunction,
  defineEntity,
  defineFeatureView,
  defineSource,
  type FeatureView,
  type Value,
  type ValueType,
} from "@weft/scenario";
import type { SourceRow } from "../views/view-state.ts";
import type { Distinguishable } from "./dictionary.ts";
import { DistinctSketch, distinctCode } from "./distinct-sketch.ts";
import { quantileRelativeError } from "./quantile-sketch.ts";
import { slidesMax, windowEndUs, windowSpec, windowStartUs } from "./window.ts";

export const second = 1_000_000;
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

/** A window view over events with a field of each kind. */
export function windowView(
  aggregates: Record<string, Aggregate>,
  options: { created?: boolean; ladder?: FeatureView["ladder"] } = {},
): FeatureView {
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

/** An event of that view's source. */
export function windowRow(
  timeUs: number,
  values: Partial<Record<keyof typeof fields, Value>>,
  createdUs = timeUs,
): SourceRow {
  const all: Record<string, Value> = { card: 1n, ...values };
  return { eventTimeUs: timeUs, createdTimeUs: createdUs, values: names.map((name) => all[name] ?? null) };
}

/** Events that an aggregate counts at t by the rule itself, over all rows: `rows` in any order. */
function inside(aggregate: Aggregate, window: string, rows: readonly SourceRow[], t: number): SourceRow[] {
  const spec = windowSpec(window, aggregate);
  const end = windowEndUs(t, spec);
  let start = windowStartUs(t, spec);
  const known = rows.filter((row) => row.createdTimeUs <= t && row.eventTimeUs < end);
  if (spec.kind === "session") {
    let first = t;
    for (const { eventTimeUs } of [...known].sort((a, b) => b.eventTimeUs - a.eventTimeUs)) {
      if (first - eventTimeUs > spec.gapUs) break;
      first = eventTimeUs;
    }
    start = Math.max(start, first);
  }
  const condition = aggregate.where;
  const field = condition === undefined ? -1 : names.indexOf(condition.field);
  return known.filter(
    (row) => row.eventTimeUs >= start && (condition === undefined || row.values[field] === condition.equals),
  );
}

const less = (a: Value, b: Value) => (String(a) === String(b) ? 0 : (a ?? 0) < (b ?? 0) ? -1 : 1);
// Doubles below 2^20 with at most 60 binary places: scaled, they are whole.
const exactSum = (numbers: readonly number[]) =>
  Number(numbers.reduce((sum, x) => sum + BigInt(x * 2 ** 70), 0n)) / 2 ** 70;

/** What an aggregate must answer at t, by brute force over all rows. */
export function expectedAnswer(aggregate: Aggregate, window: string, rows: readonly SourceRow[], t: number): Value {
  const counted = inside(aggregate, window, rows, t);
  const field = names.indexOf(aggregate.field ?? "");
  const values = counted
    .map((row) => ({ row, value: field < 0 ? null : (row.values[field] ?? null) }))
    .filter(({ value }) => value !== null && (typeof value !== "number" || Number.isFinite(value)))
    .map(({ row, value }) => ({ row, value: aggregate.field === "ratio" ? Math.fround(Number(value)) : value }));
  const numbers = () => values.map(({ value }) => Number(value));
  const newest = () =>
    [...values].sort(
      (a, b) =>
        b.row.eventTimeUs - a.row.eventTimeUs || b.row.createdTimeUs - a.row.createdTimeUs || less(a.value, b.value),
    );
  switch (aggregate.function) {
    case "count":
      return BigInt(aggregate.field === undefined ? counted.length : values.length);
    case "sum":
      return exactSum(numbers());
    case "mean":
      return values.length === 0 ? null : exactSum(numbers()) / values.length;
    case "min":
      return values.length === 0 ? null : Math.min(...numbers());
    case "max":
      return values.length === 0 ? null : Math.max(...numbers());
    case "std": {
      if (values.length === 0) return null;
      const mean = exactSum(numbers()) / values.length;
      return Math.sqrt(numbers().reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
    }
    case "last": {
      const sorted = newest();
      const ties = sorted.filter(
        ({ row }) =>
          row.eventTimeUs === sorted[0]?.row.eventTimeUs && row.createdTimeUs === sorted[0]?.row.createdTimeUs,
      );
      return ties.at(-1)?.value ?? null;
    }
    case "distinct":
      return BigInt(distinct(values.map(({ value }) => value)).size);
    case "approx_distinct": {
      const sketch = new DistinctSketch();
      for (const value of distinct(values.map(({ value }) => value))) sketch.add(distinctCode(value));
      return BigInt(sketch.estimate());
    }
    case "quantile": {
      const sorted = numbers().sort((a, b) => a - b);
      return sorted[Math.floor((aggregate.quantile ?? 0) * (sorted.length - 1))] ?? null;
    }
    case "recent":
      return [...distinct(newest().map(({ value }) => value))].filter(isKey).slice(0, aggregate.limit ?? 100);
    case "top": {
      const counts = new Map<Value, number>();
      for (const { value } of values) counts.set(value, (counts.get(value) ?? 0) + 1);
      return [...counts]
        .sort(([a, x], [b, y]) => y - x || less(a, b))
        .map(([value]) => value)
        .filter(isKey)
        .slice(0, aggregate.limit ?? 100);
    }
  }
}

function isKey(value: Value): value is bigint | string {
  return typeof value === "bigint" || typeof value === "string";
}

/** Different values; minus zero is zero. */
function distinct(values: readonly Value[]): Set<Distinguishable> {
  const found = new Set<Distinguishable>();
  for (const value of values)
    if (typeof value === "number") found.add(value + 0);
    else if (isKey(value) || typeof value === "boolean") found.add(value);
  return found;
}

/** Whether an answer is what brute force says: to the bit, but for std (1e-9) and quantile (its error bound). */
export function isExpected(aggregate: Aggregate, value: Value, expected: Value): boolean {
  if (typeof value === "number" && typeof expected === "number") {
    if (aggregate.function === "std") return Math.abs(value - expected) <= 1e-9 * Math.max(1, expected);
    if (aggregate.function === "quantile")
      return Math.abs(value - expected) <= quantileRelativeError * Math.abs(expected);
  }
  return isSameValue(value, expected);
}

/** Equal to the bit; lists element by element; minus zero is zero. */
export function isSameValue(a: Value, b: Value): boolean {
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((value, i) => Object.is(value, b[i]));
  return Object.is(a, b) || (a === 0 && b === 0);
}

const lengths = ["1s", "10s", "1m", "5m", "30m", "1h", "6h", "24h", "7d", "90d"] as const;
const slides = ["1s", "7s", "1m", "90s", "1h"] as const;
const gaps = ["1s", "7s", "1m", "17m", "1h", "6h", "36h"] as const;
const functions: readonly AggregateFunction[] = [
  "count",
  "sum",
  "mean",
  "min",
  "max",
  "std",
  "last",
  "distinct",
  "approx_distinct",
  "quantile",
  "recent",
  "top",
];
const numeric: readonly AggregateFunction[] = ["sum", "mean", "min", "max", "std", "quantile"];

/** One to six aggregates of any function, kind, window and condition. */
export function randomAggregates(random: () => number): Record<string, Aggregate> {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const aggregates: Record<string, Aggregate> = {};
  const count = 1 + Math.floor(random() * 6);
  for (let i = 0; i < count; i++) {
    const name = pick(functions);
    const field = numeric.includes(name)
      ? pick(["amount", "ratio", "online"])
      : name === "recent" || name === "top"
        ? pick(["item", "shop"])
        : pick(["amount", "item", "shop", "online", "ratio"]);
    const kind = pick(["sliding", "sliding", "tumbling", "session"] as const);
    const slide = kind === "sliding" && random() < 0.25 ? pick(slides) : undefined;
    const longest = kind === "session" && random() < 0.3 ? pick(["30m", "6h", "7d"] as const) : undefined;
    const choices = kind === "session" ? gaps : lengths;
    const windows = [...new Set([pick(choices), pick(choices), pick(choices)])].filter((window) =>
      isWindow(window, { kind, ...(slide && { slide }), ...(longest && { longest }) }),
    );
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
      ...(kind === "sliding" ? {} : { kind }),
      ...(slide === undefined ? {} : { slide }),
      ...(longest === undefined ? {} : { longest }),
      ...(where === undefined ? {} : { where }),
      ...(name === "quantile" ? { quantile: pick([0, 0.1, 0.5, 0.9, 0.99, 1]) } : {}),
      ...(name === "recent" || name === "top" ? { limit: 1 + Math.floor(random() * 5) } : {}),
    };
  }
  return Object.keys(aggregates).length > 0 ? aggregates : { n: { function: "count", windows: ["1h"] } };
}

function isWindow(window: string, declared: Parameters<typeof windowSpec>[1]): boolean {
  try {
    const spec = windowSpec(window, declared);
    return spec.windowUs / spec.slideUs <= slidesMax;
  } catch {
    return false;
  }
}

/**
 * Events over a span: some share a time, some are the same row again, some lie exactly on a slide, some come in bursts.
 * With `lateUs` they become known up to that much later.
 */
export function randomEvents(random: () => number, spanUs: number, count: number, lateUs = 0): SourceRow[] {
  const base = 1_700_000_000 * second + Math.floor(random() * 86_400) * second;
  const rows: SourceRow[] = [];
  for (let i = 0; i < count; i++) {
    const previous = rows[Math.floor(random() * rows.length)];
    let time = Math.floor(base + random() * spanUs);
    if (random() < 0.2) time = Math.floor(time / (5 * second)) * 5 * second;
    if (previous !== undefined && random() < 0.1) time = previous.eventTimeUs;
    if (previous !== undefined && random() < 0.2)
      // As far apart as a gap, or one microsecond more or less.
      time =
        previous.eventTimeUs +
        ([1, 7, 60, 1_020, 3_600][Math.floor(random() * 5)] ?? 1) * second +
        Math.floor(random() * 3) -
        1;
    if (previous !== undefined && random() < 0.05) {
      rows.push(previous);
      continue;
    }
    const maybe = <T extends Value>(value: T): T | null => (random() < 0.1 ? null : value);
    const created = lateUs > 0 && random() < 0.5 ? time + Math.floor(random() ** 3 * lateUs) : time;
    rows.push(
      windowRow(
        time,
        {
          amount: random() < 0.03 ? Number.NaN : maybe(Math.round(random() * 1e7 - 2e6) / 100),
          ratio: maybe(random() * 10),
          item: maybe(
            random() < 0.5
              ? BigInt(Math.floor(random() * 6))
              : 9_007_199_254_740_993n + BigInt(Math.floor(random() * 4)),
          ),
          shop: maybe(["a", "b", "ü", "Ω-long-name"][Math.floor(random() * 4)] ?? "a"),
          online: maybe(random() < 0.5),
        },
        created,
      ),
    );
  }
  return rows;
}

/** The same items in another order. */
export function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const list = [...items];
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [list[i], list[j]] = [list[j] as T, list[i] as T];
  }
  return list;
}

/** A case as a message shows it. */
export function describeCase(seed: number, name: string, aggregate: Aggregate, window: string, ageUs: number): string {
  const text = JSON.stringify(aggregate, (_key, value) => (typeof value === "bigint" ? `${value}n` : value));
  return `seed ${seed}, ${name} ${text} ${window}, t - newest = ${ageUs} us`;
}
