import { expect, test } from "@jest/globals";
import { Code } from "@weft/errors";
import { FakeClock, seededRandom } from "@weft/repeatable";
import { type EjectionOptions, type EjectionRecord, OutlierEjection } from "./ejection.ts";

const options: EjectionOptions = { failures: 3, baseMs: 1_000, maxMs: 4_000, percentMax: 50 };

function setUp(count: number, changes: Partial<EjectionOptions> = {}) {
  const timers = new FakeClock(0);
  const events: boolean[] = [];
  const ejection = new OutlierEjection({ ...options, ...changes }, timers, seededRandom(7), (isEjected) =>
    events.push(isEjected),
  );
  const records = Array.from({ length: count }, () => ejection.add());
  const fail = (index: number, code: Code = Code.Unavailable, times = 3) => {
    for (let time = 0; time < times; time++) ejection.report(records[index] as EjectionRecord, code);
  };
  return { timers, events, ejection, records, fail, ejected: () => records.map(({ isEjected }) => isEjected) };
}

test.each([Code.Unavailable, Code.Internal, Code.Unknown, Code.DeadlineExceeded, Code.DataLoss])(
  "failures in a row with code %d leave an address alone, and it comes back",
  async (code) => {
    const { timers, events, fail, ejected } = setUp(2);
    fail(0, code, 2);
    expect(ejected()).toEqual([false, false]);
    fail(0, code, 1);
    expect(ejected()).toEqual([true, false]);
    await timers.advance(790);
    expect(ejected()).toEqual([true, false]);
    await timers.advance(210);
    expect(ejected()).toEqual([false, false]);
    expect(events).toEqual([true, false]);
    expect(timers.dueMs()).toEqual([]);
  },
);

test("shedding and cancelled calls say nothing, and a good answer ends the row", () => {
  const { fail, ejected } = setUp(2);
  fail(0, Code.ResourceExhausted, 1_000);
  fail(0, Code.Cancelled, 1_000);
  expect(ejected()).toEqual([false, false]);
  fail(0, Code.Unavailable, 2);
  fail(0, Code.ResourceExhausted, 5);
  fail(0, Code.Ok, 1);
  fail(0, Code.Unavailable, 2);
  fail(0, Code.NotFound, 1);
  fail(0, Code.Unavailable, 2);
  expect(ejected()).toEqual([false, false]);
});

test("each time is longer than the one before, up to the most; good behaviour makes up for it", async () => {
  const { timers, fail, ejected } = setUp(2);
  for (const times of [1, 2, 3, 4, 4, 4]) {
    fail(0);
    const longest = Math.min(options.maxMs, options.baseMs * times);
    const left = (timers.dueMs()[0] ?? 0) - timers.nowMs();
    expect(left).toBeLessThanOrEqual(longest);
    expect(left).toBeGreaterThanOrEqual(longest * 0.8);
    await timers.advance(longest);
    expect(ejected()).toEqual([false, false]);
  }
  await timers.advance(60_000);
  fail(0);
  expect((timers.dueMs()[0] ?? 0) - timers.nowMs()).toBeLessThanOrEqual(options.baseMs);
});

test("never more than the share that may be", () => {
  for (const [count, percentMax, most] of [
    [1, 50, 0],
    [2, 50, 1],
    [3, 50, 1],
    [10, 30, 3],
    [4, 100, 4],
    [1, 100, 1],
    [5, 0, 0],
  ] as const) {
    const { fail, ejection } = setUp(count, { percentMax });
    for (let index = 0; index < count; index++) fail(index);
    expect(ejection.ejectedCount).toBe(most);
  }
});

test("can be turned off; an address that is gone is neither counted nor left alone", () => {
  const off = setUp(4, { failures: 0 });
  off.fail(0, Code.Unavailable, 1_000);
  expect(off.ejection.ejectedCount).toBe(0);
  const { timers, ejection, records, fail } = setUp(2);
  fail(0);
  ejection.remove(records[0] as EjectionRecord);
  expect(ejection.ejectedCount).toBe(0);
  fail(0);
  expect([ejection.ejectedCount, timers.dueMs()]).toEqual([0, []]);
});
