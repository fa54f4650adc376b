import { describe, expect, test } from "@jest/globals";
import { FakeClock, settle } from "@weft/testkit";
import { BatchQueue } from "./batch-queue.ts";

function createQueue(options: { queueMax?: number; weightMax?: number; hold?: boolean } = {}) {
  const clock = new FakeClock();
  const batches: number[][] = [];
  const releases: (() => void)[] = [];
  const queue = new BatchQueue<number>({
    queueMax: options.queueMax ?? 100,
    weightMax: options.weightMax ?? Number.POSITIVE_INFINITY,
    weigh: (item) => item,
    batchMax: 3,
    delayMs: 100,
    timers: clock,
    run: (batch) => {
      batches.push([...batch]);
      return options.hold === true ? new Promise((resolve) => releases.push(resolve)) : Promise.resolve();
    },
  });
  return { clock, queue, batches, releases };
}

describe("batch queue", () => {
  test("a batch starts when it is full, or when its first item has waited", async () => {
    const { clock, queue, batches } = createQueue();
    for (const item of [1, 2, 3, 4]) queue.push(item);
    await settle();
    expect(batches).toEqual([[1, 2, 3]]);
    await clock.advance(99);
    expect(batches).toHaveLength(1);
    await clock.advance(1);
    expect(batches).toEqual([[1, 2, 3], [4]]);
    expect(clock.pending()).toBe(0);
  });

  test("one batch at a time; what comes meanwhile waits, up to the bounds", async () => {
    const { queue, batches, releases } = createQueue({ queueMax: 4, hold: true });
    expect([1, 2, 3, 4, 5, 6, 7, 8].map((item) => queue.push(item))).toEqual([
      true,
      true,
      true,
      true,
      true,
      true,
      true,
      false,
    ]);
    expect(batches).toHaveLength(1);
    releases[0]?.();
    await settle();
    expect(batches).toEqual([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(queue.push(9)).toBe(true);
  });

  test("weight is bounded too, and given back when a batch is taken", async () => {
    const { queue } = createQueue({ weightMax: 10 });
    expect(queue.push(8)).toBe(true);
    expect(queue.push(3)).toBe(false);
    expect(queue.push(1)).toBe(true);
    expect(queue.push(1)).toBe(true);
    await settle();
    expect(queue.push(10)).toBe(true);
  });

  test("closing works off what waits, and gives up when told to", async () => {
    const drained = createQueue();
    for (const item of [1, 2, 3, 4, 5]) drained.queue.push(item);
    await drained.queue.close(new Promise(() => {}));
    expect(drained.batches.flat()).toEqual([1, 2, 3, 4, 5]);
    expect(drained.queue.push(6)).toBe(false);

    const stuck = createQueue({ hold: true });
    for (const item of [1, 2, 3, 4]) stuck.queue.push(item);
    await stuck.queue.close(Promise.resolve());
    expect(stuck.queue.length).toBe(1);
  });
});
