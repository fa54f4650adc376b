import { describe, expect, test } from "@jest/globals";
import type { FeatureView } from "@weft/scenario";
import { seededRandom } from "@weft/testkit";
import { compileView } from "../views/compile-view.ts";
import type { SourceRow, ViewReading } from "../views/view-state.ts";
import {
  describeCase,
  expectedAnswer,
  isExpected,
  isSameValue,
  randomAggregates,
  randomEvents,
  second,
  shuffled,
  windowView,
} from "./window-fixture.ts";
import { defaultWindowBounds } from "./window-layout.ts";

const seed = Number(process.env.TEST_SEED ?? 20_240_613);
const spans = [
  ["minutes", 600 * second],
  ["hours", 6 * 3_600 * second],
  ["weeks", 21 * 86_400 * second],
  ["years", 900 * 86_400 * second],
] as const;
/** Compares a reading with brute force over `rows`, and with another reading of the same time, to the bit. */
function check(
  view: FeatureView,
  rows: readonly SourceRow[],
  t: number,
  reading: ViewReading,
  place: (name: string, window: string) => string,
  other?: ViewReading,
): void {
  let position = 0;
  for (const [name, aggregate] of Object.entries(view.aggregates))
    for (const window of aggregate.windows) {
      const value = reading.value(position);
      const expected = expectedAnswer(aggregate, window, rows, t);
      if (!isExpected(aggregate, value, expected))
        expect({ place: place(name, window), value }).toEqual({ place: place(name, window), value: expected });
      const second = other?.value(position);
      if (second !== undefined && !isSameValue(second, value))
        expect({ place: place(name, window), other: second }).toEqual({ place: place(name, window), other: value });
      position++;
    }
}

function describedBy(view: FeatureView, caseSeed: number, ageUs: number) {
  return (name: string, window: string) => {
    const aggregate = view.aggregates[name];
    return aggregate === undefined ? name : describeCase(caseSeed, name, aggregate, window, ageUs);
  };
}

/** Windows of every function and kind against brute force: so many random histories for each of four spans of time. */
export function windowProperties(casesPerSpan: number): void {
  describe(`windows against brute force, seed ${seed}`, () => {
    test.each(spans)(`over %s, in any order of arrival, ${casesPerSpan} histories`, (_, spanUs) => {
      for (let number = 0; number < casesPerSpan; number++) {
        const caseSeed = seed + number * 7 + spanUs / second;
        const random = seededRandom(caseSeed);
        const bounds = { ...defaultWindowBounds, rawMax: 2 + Math.floor(random() * 20) };
        const view = windowView(randomAggregates(random));
        const compiled = compileView(view, bounds);
        const rows = randomEvents(random, spanUs, Math.floor(random() * 90));
        const newest = Math.max(...rows.map((row) => row.eventTimeUs), 1_700_000_000 * second);

        const inOrder = compiled.emptyState();
        for (const row of [...rows].sort((a, b) => a.eventTimeUs - b.eventTimeUs)) inOrder.apply(row);
        let anyOrder = compiled.emptyState();
        for (const row of shuffled(rows, random)) {
          anyOrder.apply(row);
          if (random() < 0.1) anyOrder = compiled.decode(anyOrder.encode());
        }
        const reading = compiled.createReading();
        const other = compiled.createReading();
        // At the newest event's own time, just after, on slide edges, when a session's gap ends, and ages later.
        const times = [
          newest,
          newest + 1,
          Math.ceil((newest + 1) / (5 * second)) * 5 * second,
          Math.ceil((newest + 1) / (3_600 * second)) * 3_600 * second,
          newest + 60 * second + (number % 3) - 1,
          // Before the newest event, as far as a state answers for.
          newest - Math.floor(random() * Math.min(bounds.hindsightUs, spanUs)),
          newest + Math.floor(random() * spanUs),
        ];
        for (const t of times) {
          if (rows.filter((row) => row.eventTimeUs >= t).length > bounds.rawMax >> 1) continue;
          compiled.read(inOrder, t, reading);
          compiled.read(compiled.decode(anyOrder.encode()), t, other);
          check(view, rows, t, reading, describedBy(view, caseSeed, t - newest), other);
        }
      }
    });

    test.each(spans)(
      `over %s, as known at each time while late rows come in, ${casesPerSpan} histories`,
      (_, spanUs) => {
        for (let number = 0; number < casesPerSpan; number++) {
          const caseSeed = seed + number * 11 + spanUs / second + 1;
          const random = seededRandom(caseSeed);
          const bounds = { ...defaultWindowBounds, rawMax: 2 + Math.floor(random() * 20) };
          const view = windowView(randomAggregates(random), { created: true });
          const compiled = compileView(view, bounds);
          const rows = randomEvents(random, spanUs, Math.floor(random() * 60), spanUs / 2);
          const byKnown = [...rows].sort((a, b) => a.createdTimeUs - b.createdTimeUs);
          const last = byKnown.at(-1)?.createdTimeUs ?? 1_700_000_000 * second;
          const first = byKnown[0]?.createdTimeUs ?? last;
          const times = Array.from({ length: 6 }, () => first + Math.floor(random() * 1.1 * (last - first + 2)));
          times.push(
            ...byKnown.filter(() => random() < 0.1).map((row) => row.createdTimeUs + Math.floor(random() * 2)),
          );
          let state = compiled.emptyState();
          const reading = compiled.createReading();
          let applied = 0;
          for (const t of times.sort((a, b) => a - b)) {
            for (; (byKnown[applied]?.createdTimeUs ?? Number.POSITIVE_INFINITY) <= t; applied++) {
              const row = byKnown[applied];
              if (row !== undefined) state.apply(row);
            }
            if (random() < 0.2) state = applied === 0 ? state : compiled.decode(state.encode());
            compiled.read(state, t, reading);
            check(view, rows, t, reading, describedBy(view, caseSeed, t - last));
          }
        }
      },
    );
  });
}
