import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { EventLog, PushedEvents } from "./event-log.ts";

const push = (requestId: string, source = "a", size = 1): PushedEvents => ({
  scenario: "s",
  source,
  requestId,
  receivedUs: 7,
  fields: ["key", "text", "number", "flag", "nothing", "list", "texts", "bytes", "vector"],
  rows: Array.from({ length: size }, (_, index) => ({
    eventTimeUs: 1_700_000_000_123_456 + index,
    createdTimeUs: -5,
    values: [
      9_007_199_254_740_993n,
      "ü\u0000",
      0.1,
      false,
      null,
      [1n, 2n],
      ["x"],
      Uint8Array.of(1, 2),
      Float32Array.of(0.5),
    ],
  })),
});

/** What every event log must do. `open` gives an empty log; `reopen` opens the same log again. */
export function eventLogContract(
  name: string,
  open: () => Promise<EventLog>,
  reopen: (log: EventLog) => Promise<EventLog>,
): void {
  describe(`${name} event log`, () => {
    let log: EventLog;
    beforeEach(async () => {
      log = await open();
    });
    afterEach(async () => {
      await log.close();
    });
    const offsetsOf = async (source: string, after = 0, limit = 100) =>
      (await log.read("s", source, after, limit)).map(({ offset }) => offset);

    test("keeps pushes in order by source, across a restart, with every value as it was", async () => {
      expect(await log.endOffset()).toBe(0);
      expect(await log.append([push("1"), push("2", "b"), push("3", "a", 2)])).toEqual([
        { offset: 1, duplicate: false },
        { offset: 2, duplicate: false },
        { offset: 3, duplicate: false },
      ]);
      log = await reopen(log);
      expect(await log.endOffset()).toBe(3);
      expect(await log.read("s", "a", 0, 10)).toEqual([
        { ...push("1"), offset: 1 },
        { ...push("3", "a", 2), offset: 3 },
      ]);
      expect([await offsetsOf("a", 1), await offsetsOf("a", 0, 1), await offsetsOf("a", 3)]).toEqual([[3], [1], []]);
      expect(await log.read("other", "a", 0, 10)).toEqual([]);
    });

    test("appends a request id once a source, also across a restart", async () => {
      await log.append([push("x")]);
      log = await reopen(log);
      expect(await log.append([push("x"), push("x", "b"), push("y"), push("y")])).toMatchObject([
        { offset: 1, duplicate: true },
        { duplicate: false },
        { duplicate: false },
        { duplicate: true },
      ]);
      expect((await log.read("s", "a", 0, 10)).map(({ requestId }) => requestId)).toEqual(["x", "y"]);
    });

    test("equal rows of one push are so many events", async () => {
      const [row] = push("1").rows;
      if (row === undefined) throw new Error("no row");
      await log.append([{ ...push("1"), rows: [row, row, row] }]);
      expect((await log.read("s", "a", 0, 10))[0]?.rows).toEqual([row, row, row]);
    });

    test("forgets old pushes, and goes on counting where it was", async () => {
      await log.append([{ ...push("old"), receivedUs: 10 }]);
      await log.append([{ ...push("young"), receivedUs: 30 }]);
      await log.append([{ ...push("late"), receivedUs: 10 }]);
      const [, , late] = await offsetsOf("a");
      expect(await log.trim((late ?? 0) - 1, 20)).toBe(1);
      expect((await log.read("s", "a", 0, 10)).map(({ requestId }) => requestId)).toEqual(["young", "late"]);
      expect(await log.trim(late ?? 0, 100)).toBe(2);
      log = await reopen(log);
      expect(await log.endOffset()).toBe(late);
      const [again] = await log.append([push("old")]);
      expect(again?.duplicate).toBe(false);
      expect(again?.offset).toBeGreaterThan(late ?? 0);
    });
  });
}
