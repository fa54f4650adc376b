import { describe, expect, test } from "@jest/globals";
import {
  type DurationText,
  defineEntity,
  defineFeatureView,
  defineSource,
  type FeatureView,
  type LadderStep,
  type Value,
  type ValueType,
} from "@weft/scenario";
import { seededRandom } from "@weft/testkit";
import { shuffled } from "../windows/window-fixture.ts";
import { compareValues, compileView } from "./compile-view.ts";
import { type SourceRow, Status, type ViewReading } from "./view-state.ts";

const seed = Number(process.env.TEST_SEED ?? 31_337);
const cases = 10_000;
const second = 1_000_000;
const fields = {
  key: "int64",
  price: "float64",
  rate: "float32",
  count: "int64",
  name: "string",
  place: { vector: 2 },
} as const satisfies Record<string, ValueType>;
const names = Object.keys(fields);
const defaults: Readonly<Record<string, number | bigint | string>> = {
  price: 7,
  count: 9_007_199_254_740_993n,
  name: "none",
};

function viewOf(ttl: DurationText, ladder: readonly LadderStep[]): FeatureView {
  return defineFeatureView({
    name: "newest",
    entities: [{ entity: defineEntity({ name: "key", key: "int64" }), field: "key" }],
    source: defineSource({ name: "rows", file: "rows.csv", eventTime: "time", createdTime: "created", fields }),
    ttl,
    ladder,
    features: Object.fromEntries(
      Object.entries(fields)
        .slice(1)
        .map(([name, type]) => {
          const value = defaults[name];
          return [name, value === undefined ? { type } : { type, default: value }];
        }),
    ),
  });
}

/** Rows in which event times, created times and whole rows tie often. */
function randomRows(random: () => number): SourceRow[] {
  const upTo = (count: number) => Math.floor(random() * count);
  const rows: SourceRow[] = [];
  for (let i = upTo(8); i > 0; i--) {
    const previous = rows[upTo(rows.length)];
    if (previous !== undefined && random() < 0.15) {
      rows.push(previous);
      continue;
    }
    const eventTimeUs = upTo(6) * 10 * second + (random() < 0.3 ? upTo(3) - 1 : 0);
    const maybe = <T extends Value>(value: T): T | null => (random() < 0.2 ? null : value);
    rows.push({
      eventTimeUs,
      createdTimeUs: eventTimeUs + (random() < 0.4 ? upTo(4) * 10 * second : 0),
      values: [
        1n,
        maybe(upTo(3) - 1),
        maybe(Math.fround(upTo(2) / 3)),
        maybe(9_007_199_254_740_992n + BigInt(upTo(3))),
        maybe(["a", "b", "ü"][upTo(3)] ?? "a"),
        maybe(Float32Array.of(upTo(2), upTo(2))),
      ],
    });
  }
  return rows;
}

/** The rule itself: of the rows known at t the greatest event time wins, then created time, then the greater values. */
function newestRow(rows: readonly SourceRow[], t: number): SourceRow | undefined {
  return rows
    .filter((row) => row.eventTimeUs <= t && row.createdTimeUs <= t)
    .sort((a, b) => {
      const order = b.eventTimeUs - a.eventTimeUs || b.createdTimeUs - a.createdTimeUs;
      if (order !== 0) return order;
      for (let i = 0; i < names.length; i++) {
        const by = compareValues(b.values[i] ?? null, a.values[i] ?? null);
        if (by !== 0) return by;
      }
      return 0;
    })[0];
}

function expected(view: FeatureView, ttlUs: number, row: SourceRow | undefined, t: number) {
  const isStale = row !== undefined && ttlUs > 0 && row.eventTimeUs < t - ttlUs;
  return names.slice(1).map((name, index): { status: number; value: Value } => {
    const value = row?.values[index + 1] ?? null;
    if (value !== null && (!isStale || view.ladder.includes("stale")))
      return { status: isStale ? Status.OutsideMaxAge : Status.Present, value };
    const fallback = view.ladder.includes("default") ? defaults[name] : undefined;
    if (fallback !== undefined) return { status: Status.Defaulted, value: fallback };
    const status = row === undefined ? Status.NotFound : isStale ? Status.OutsideMaxAge : Status.Null;
    return { status, value: null };
  });
}

function check(reading: ViewReading, wanted: ReturnType<typeof expected>, place: string): void {
  wanted.forEach(({ status, value }, index) => {
    const found = { place, status: reading.statuses[index], value: reading.value(index) };
    if (found.status !== status || compareValues(found.value, value) !== 0)
      expect(found).toEqual({ place, status, value });
    const number = typeof value === "object" || typeof value === "string" ? Number.NaN : Number(value);
    if (!Object.is(reading.numbers[index], number) && !(reading.numbers[index] === 0 && number === 0))
      expect({ place, number: reading.numbers[index] }).toEqual({ place, number });
  });
}

const ladders: readonly (readonly LadderStep[])[] = [[], ["stale"], ["default"], ["stale", "default"]];
const ttls = { "0s": 0, "10s": 10 * second, "25s": 25 * second, "1000s": 1_000 * second } as const;

describe(`field views against brute force, seed ${seed}`, () => {
  test(`as known at each time, while rows come in late, twice and in any order, ${cases} histories`, () => {
    for (let number = 0; number < cases; number++) {
      const random = seededRandom(seed + number);
      const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
      const ttl = pick(Object.keys(ttls) as (keyof typeof ttls)[]);
      const view = viewOf(ttl, pick(ladders));
      const compiled = compileView(view);
      const rows = randomRows(random);
      // Of equal created times the order of arrival is any.
      const arrivals = shuffled(rows, random).sort((a, b) => a.createdTimeUs - b.createdTimeUs);
      const edges = rows.flatMap(({ eventTimeUs: at, createdTimeUs }) => [at, createdTimeUs, at + ttls[ttl]]);
      const times = [
        -second,
        ...edges.flatMap((edge) => [edge - 1, edge, edge + 1]).filter(() => random() < 0.3),
        200 * second,
      ];
      const reading = compiled.createReading();
      let state = compiled.emptyState();
      let applied = 0;
      for (const t of [...new Set(times)].sort((a, b) => a - b)) {
        for (; (arrivals[applied]?.createdTimeUs ?? Number.POSITIVE_INFINITY) <= t; applied++) {
          const row = arrivals[applied];
          if (row !== undefined) state.apply(row);
        }
        if (applied > 0 && random() < 0.2) state = compiled.decode(state.encode());
        const place = `seed ${seed + number}, ttl ${ttl}, ladder ${view.ladder.join()}, t ${t}`;
        const row = newestRow(rows, t);
        compiled.read(applied === 0 ? undefined : state, t, reading);
        check(reading, expected(view, ttls[ttl], row, t), place);
        // A budget of a request is a TTL of its own, where the view's is not shorter.
        const budgetUs = Math.floor(random() * 40) * second + 1;
        compiled.read(applied === 0 ? undefined : state, t, reading, budgetUs);
        const limitUs = ttls[ttl] > 0 ? Math.min(ttls[ttl], budgetUs) : budgetUs;
        check(reading, expected(view, limitUs, row, t), `${place}, budget ${budgetUs}`);
      }
    }
  });

  test(`the same bytes whatever the order of arrival, ${cases} histories`, () => {
    const compiled = compileView(viewOf("0s", []));
    for (let number = 0; number < cases; number++) {
      const random = seededRandom(seed + number);
      const rows = randomRows(random);
      if (rows.length === 0) continue;
      const states = [rows, shuffled(rows, random), shuffled([...rows, ...rows], random)].map((order) => {
        let state = compiled.emptyState();
        for (const row of order) {
          state.apply(row);
          if (random() < 0.1) state = compiled.decode(state.encode());
        }
        return Buffer.from(state.encode()).toString("hex");
      });
      if (states[0] !== states[1] || states[0] !== states[2])
        expect({ seed: seed + number, states }).toEqual({ seed: seed + number, states: states.fill(states[0] ?? "") });
    }
  });
});
