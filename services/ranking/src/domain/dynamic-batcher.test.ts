import { describe, expect, test } from "@jest/globals";
import { isWeftError } from "@weft/errors";
import { type Batchable, type BatcherLimits, DynamicBatcher } from "./dynamic-batcher.ts";

interface Item extends Batchable {
  readonly id: number;
  readonly call: { deadlineMs: number; cancelled: "cancelled" | "deadline" | undefined };
}

/** Time, turns and timers that a test moves by hand; a runner that answers when told, or at once. */
function harness(limits: Partial<BatcherLimits> = {}, options: { later?: boolean } = {}) {
  let nowMs = 1_000;
  let turnEnds: (() => void)[] = [];
  let timers: { atMs: number; callback: () => void }[] = [];
  const batches: { items: readonly Item[]; rowCount: number; atMs: number }[] = [];
  const pending: ((error?: Error) => void)[] = [];
  const counts = { shed: 0, expired: 0, cancelled: 0, dispatched: 0, waiting: 0, waitedMs: 0 };
  let failure: Error | undefined;
  const batcher = new DynamicBatcher<Item, string>(
    { batchRowsMax: 8, queueRowsMax: 32, queueDelayMs: 0, ...limits },
    {
      nowMs: () => nowMs,
      atTurnEnd: (callback) => turnEnds.push(callback),
      setTimer(delayMs, callback) {
        const timer = { atMs: nowMs + delayMs, callback };
        timers.push(timer);
        return { cancel: () => (timers = timers.filter((other) => other !== timer)) };
      },
    },
    (items, rowCount) => {
      batches.push({ items, rowCount, atMs: nowMs });
      if (failure !== undefined) throw failure;
      const answers = items.map((item) => `answer ${item.id}`);
      if (options.later !== true) return answers;
      return new Promise((resolve, reject) => pending.push((error) => (error ? reject(error) : resolve(answers))));
    },
    {
      dispatched(_items, _rows, waitedMs) {
        counts.dispatched += 1;
        counts.waitedMs = waitedMs;
      },
      waiting: (rows) => (counts.waiting = rows),
      shed: () => (counts.shed += 1),
      expired: () => (counts.expired += 1),
      cancelled: () => (counts.cancelled += 1),
    },
  );
  let nextId = 0;
  return {
    batcher,
    batches,
    counts,
    pending,
    failWith: (error: Error | undefined) => {
      failure = error;
    },
    /** Submits and answers what became of it. */
    submit(rowCount: number, deadlineMs = Number.POSITIVE_INFINITY) {
      const item: Item = { id: nextId++, rowCount, call: { deadlineMs, cancelled: undefined } };
      const state: { outcome: string | undefined; item: Item } = { outcome: undefined, item };
      const done = batcher.submit(item).then(
        (answer) => (state.outcome = answer),
        (error: unknown) => (state.outcome = isWeftError(error) ? error.reason : String(error)),
      );
      return Object.assign(state, { done });
    },
    async endTurn() {
      const callbacks = turnEnds;
      turnEnds = [];
      for (const callback of callbacks) callback();
      await settled();
    },
    async advance(ms: number) {
      nowMs += ms;
      const due = timers.filter((timer) => timer.atMs <= nowMs);
      timers = timers.filter((timer) => timer.atMs > nowMs);
      for (const timer of due) timer.callback();
      await settled();
    },
    nowMs: () => nowMs,
    idle: () => turnEnds.length === 0 && timers.length === 0,
    rowCounts: () => batches.map((batch) => batch.rowCount),
  };
}

/** Lets promise callbacks run. */
async function settled(): Promise<void> {
  for (let i = 0; i < 8; i += 1) await Promise.resolve();
}

describe("DynamicBatcher", () => {
  test("one turn's items leave as one batch, in order of arrival", async () => {
    const t = harness();
    const submitted = [t.submit(1), t.submit(2), t.submit(3)];
    expect(t.batches).toHaveLength(0);
    await t.endTurn();
    expect(t.batches.map((batch) => batch.items.map((item) => item.id))).toEqual([[0, 1, 2]]);
    expect(t.rowCounts()).toEqual([6]);
    expect(submitted.map((item) => item.outcome)).toEqual(["answer 0", "answer 1", "answer 2"]);
    expect(t.idle()).toBe(true);
  });

  test("rows fill a batch, not items; a backlog leaves at one batch a turn", async () => {
    const t = harness({ batchRowsMax: 8 });
    for (const rows of [3, 3, 3, 4, 8, 1]) t.submit(rows);
    await t.endTurn();
    expect(t.rowCounts()).toEqual([6]);
    for (let i = 0; i < 4; i += 1) await t.endTurn();
    expect(t.rowCounts()).toEqual([6, 7, 8, 1]);
  });

  test("an item larger than a batch runs on its own, in its place", async () => {
    const t = harness({ batchRowsMax: 8, queueRowsMax: 40 });
    for (const rows of [2, 20, 2, 2]) t.submit(rows);
    for (let i = 0; i < 3; i += 1) await t.endTurn();
    expect(t.rowCounts()).toEqual([2, 20, 4]);
  });

  test("a full queue refuses at once with a retry hint, and takes items again when it has room", async () => {
    const t = harness({ batchRowsMax: 4, queueRowsMax: 8 });
    t.submit(4);
    t.submit(4);
    await expect(
      t.batcher.submit({ id: 9, rowCount: 1, call: { deadlineMs: 1e9, cancelled: undefined } }),
    ).rejects.toMatchObject({
      reason: "QUEUE_FULL",
      retryAfterMs: 50,
    });
    expect(t.counts.shed).toBe(1);
    await t.endTurn();
    const late = t.submit(4);
    await t.endTurn();
    await t.endTurn();
    expect(late.outcome).toBe("answer 2");
  });

  test("an item that could never wait is refused as too large", async () => {
    const t = harness({ queueRowsMax: 8 });
    const item = t.submit(9);
    await item.done;
    expect(item.outcome).toBe("REQUEST_TOO_LARGE");
    expect(t.counts.shed).toBe(0);
  });

  test("expired and cancelled items are dropped before execution", async () => {
    const t = harness();
    const expired = t.submit(1, 1_005);
    const cancelled = t.submit(1);
    const alive = t.submit(1, 1_011);
    const ended = t.submit(1);
    cancelled.item.call.cancelled = "cancelled";
    ended.item.call.cancelled = "deadline";
    await t.advance(10);
    await t.endTurn();
    expect(t.batches.map((batch) => batch.items.map((item) => item.id))).toEqual([[2]]);
    expect([expired, cancelled, alive, ended].map((item) => item.outcome)).toEqual([
      "DEADLINE_PASSED",
      "REQUEST_CANCELLED",
      "answer 2",
      "DEADLINE_PASSED",
    ]);
    expect(t.counts).toMatchObject({ expired: 2, cancelled: 1 });
  });

  test("dead items make room in a full queue", async () => {
    const t = harness({ queueRowsMax: 8 });
    const dead = t.submit(8);
    dead.item.call.cancelled = "cancelled";
    const alive = t.submit(8);
    await t.endTurn();
    expect([dead.outcome, alive.outcome]).toEqual(["REQUEST_CANCELLED", "answer 1"]);
    expect(t.counts.shed).toBe(0);
  });

  test("with a queue delay a batch waits for more, until it is full or its oldest item has waited", async () => {
    const t = harness({ batchRowsMax: 4, queueDelayMs: 5 });
    t.submit(1);
    await t.endTurn();
    await t.advance(4);
    t.submit(1);
    expect(t.batches).toHaveLength(0);
    await t.advance(1);
    expect(t.batches).toEqual([expect.objectContaining({ rowCount: 2, atMs: 1_005 })]);
    expect(t.counts.waitedMs).toBe(5);
    t.submit(3);
    t.submit(3);
    await t.endTurn();
    expect(t.rowCounts()).toEqual([2, 3]);
    await t.advance(5);
    expect(t.rowCounts()).toEqual([2, 3, 3]);
    expect(t.idle()).toBe(true);
  });

  test("a model that answers later gets one batch at a time, and what arrives meanwhile is the next", async () => {
    const t = harness({ batchRowsMax: 8 }, { later: true });
    const first = t.submit(2);
    await t.endTurn();
    t.submit(2);
    t.submit(3);
    await t.endTurn();
    expect(t.rowCounts()).toEqual([2]);
    t.pending[0]?.();
    await settled();
    await t.endTurn();
    expect(first.outcome).toBe("answer 0");
    expect(t.rowCounts()).toEqual([2, 5]);
  });

  test.each([false, true])("a model error fails only its batch (later: %s)", async (later) => {
    const t = harness({ batchRowsMax: 4 }, { later });
    const failed = [t.submit(2), t.submit(2)];
    const next = t.submit(2);
    if (!later) t.failWith(new Error("bad node"));
    await t.endTurn();
    if (later) t.pending[0]?.(new Error("bad node"));
    await settled();
    t.failWith(undefined);
    await t.endTurn();
    t.pending[1]?.();
    await settled();
    expect(failed.map((item) => item.outcome)).toEqual(["Error: bad node", "Error: bad node"]);
    expect(next.outcome).toBe("answer 2");
  });

  test("closing refuses what waits", async () => {
    const t = harness();
    const waiting = t.submit(1);
    t.batcher.close();
    await t.endTurn();
    const late = t.submit(1);
    await late.done;
    expect([waiting.outcome, late.outcome]).toEqual(["SHUTTING_DOWN", "SHUTTING_DOWN"]);
    expect(t.batches).toHaveLength(0);
  });

  test("property: no item is lost, order is kept, sizes are bounded, nothing dead is executed", async () => {
    for (let seed = 1; seed <= 150; seed += 1) {
      const random = mulberry32(seed);
      const pick = (n: number) => Math.floor(random() * n);
      const limits = { batchRowsMax: 1 + pick(16), queueRowsMax: 16 + pick(64), queueDelayMs: pick(2) * pick(6) };
      const later = random() < 0.5;
      const t = harness(limits, { later });
      const submitted: ReturnType<typeof t.submit>[] = [];
      for (let step = 0; step < 120; step += 1) {
        const action = pick(10);
        if (action < 5) submitted.push(t.submit(1 + pick(20), random() < 0.3 ? t.nowMs() + pick(8) : undefined));
        else if (action < 6) {
          const victim = submitted[pick(submitted.length)];
          if (victim !== undefined) victim.item.call.cancelled = random() < 0.5 ? "cancelled" : "deadline";
        } else if (action < 8) await t.endTurn();
        else if (action < 9) await t.advance(1 + pick(3));
        else t.pending.shift()?.(random() < 0.2 ? new Error("model") : undefined);
        expect(`seed ${seed}: ${t.batcher.waitingRowCount <= limits.queueRowsMax}`).toBe(`seed ${seed}: true`);
      }
      for (let i = 0; i < 400; i += 1) {
        await t.advance(1);
        await t.endTurn();
        t.pending.shift()?.();
        await settled();
      }
      const executed = t.batches.flatMap((batch) => batch.items.map((item) => item.id));
      const faults: string[] = [];
      if (submitted.some((item) => item.outcome === undefined)) faults.push("an item was lost");
      if (executed.some((id, i) => i > 0 && id <= (executed[i - 1] as number))) faults.push("order was not kept");
      for (const batch of t.batches) {
        const rows = batch.items.reduce((sum, item) => sum + item.rowCount, 0);
        if (rows !== batch.rowCount) faults.push("rows were miscounted");
        if (rows > limits.batchRowsMax && batch.items.length > 1) faults.push("a batch is too large");
        if (batch.items.some((item) => item.call.deadlineMs <= batch.atMs)) faults.push("an expired item was executed");
      }
      const answered = submitted.filter((item) => item.outcome?.startsWith("answer"));
      if (answered.some((item) => item.outcome !== `answer ${item.item.id}`)) faults.push("answers were mixed up");
      if (answered.some((item) => !executed.includes(item.item.id))) faults.push("an answer without execution");
      if (t.batcher.waitingRowCount !== 0 || !t.idle()) faults.push("the queue did not empty");
      expect({ seed, faults }).toEqual({ seed, faults: [] });
    }
  });
});

/** Small seeded generator of numbers in [0, 1). */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
