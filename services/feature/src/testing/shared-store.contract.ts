import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "@jest/globals";
import type { SharedStoreOptions } from "../adapters/shared-online-store.ts";
import { SharedOnlineStore } from "../adapters/shared-online-store.ts";
import { type OnlineStore, ReadBatch, type ViewHandle } from "../domain/online/online-store.ts";
import type { StateBackend } from "../domain/online/state-backend.ts";
import { openBackend, openShared, type SharedEngine } from "./shared-stores.ts";

const execute = promisify(execFile);

async function counted(store: OnlineStore, view: ViewHandle, keys: number): Promise<number[]> {
  const batch = new ReadBatch();
  for (let key = 0; key < keys; key++) batch.add(view, BigInt(key));
  await store.get(batch);
  return batch.values
    .slice(0, keys)
    .map((value) => (value === undefined ? 0 : Buffer.from(value.bytes).readDoubleLE(0)));
}

/** Adds one for each offset that is not in the state yet, as ingestion does. */
function adding(view: ViewHandle, key: bigint, offsets: readonly number[]) {
  return {
    view,
    key,
    merge(current: Uint8Array | undefined, applied: () => number) {
      const fresh = offsets.filter((offset) => offset > applied());
      if (fresh.length === 0) return undefined;
      const next = Buffer.alloc(8);
      next.writeDoubleLE((current === undefined ? 0 : Buffer.from(current).readDoubleLE(0)) + fresh.length);
      return next;
    },
  };
}

async function until(condition: () => Promise<boolean>): Promise<number> {
  const start = performance.now();
  while (!(await condition())) {
    if (performance.now() - start > 20_000) throw new Error("it did not come to pass");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return performance.now() - start;
}

/** What a store that several processes share must do, on a real engine. `engine` names a fresh part of it. */
export function sharedStoreContract(name: string, engine: () => SharedEngine): void {
  describe(`${name}, shared`, () => {
    test("processes that write the same states at the same time lose nothing", async () => {
      const own = engine();
      const [processes, writes, keys] = [3, 40, 4];
      const program = join(__dirname, "concurrent-writer.js");
      const first = openShared(own);
      const view = await first.openView("s/counters/1");
      await Promise.all(
        Array.from({ length: processes }, (_, at) =>
          execute(process.execPath, [program, JSON.stringify(own), `p${at}`, String(writes), String(keys)]),
        ),
      );
      expect(await counted(first, view, keys)).toEqual(Array.from({ length: keys }, () => processes * writes));
      for (let at = 0; at < processes; at++) {
        const other = openShared(own, `p${at}`);
        expect(await other.appliedOffset(await other.openView("s/counters/1"))).toBe(writes);
        await other.close();
      }
      // Each process has a log of its own.
      expect(await first.appliedOffset(view)).toBe(0);
      await first.close();
    }, 120_000);

    test("what one process writes and publishes, the others see, and hear of", async () => {
      const own = engine();
      let moved = 0;
      const one = openShared(own, "one");
      const other = openShared(own, "other", { onMoved: () => moved++ });
      const [view, seen] = [await one.openView("s/v/1"), await other.openView("s/v/1")];
      await one.write([adding(view, 0n, [1])]);
      expect(await counted(other, seen, 1)).toEqual([1]);
      const next = await one.createGeneration(view);
      await one.write([adding(next, 0n, [1, 2, 3])]);
      expect([await counted(other, seen, 1), moved]).toEqual([[1], 0]);
      await one.publish([next]);
      await until(async () => seen.generation === next.generation);
      expect([await counted(other, seen, 1), moved]).toEqual([[3], 1]);
      // Two jobs at once: the later one takes the place of the earlier, which cannot publish any more.
      const [early, late] = [await one.createGeneration(view), await other.createGeneration(seen)];
      await expect(one.publish([early])).rejects.toThrow("has been replaced");
      await other.publish([late]);
      await until(async () => view.generation === late.generation);
      await one.close();
      await other.close();
    });

    test("a generation out of use goes once nobody can be reading it", async () => {
      const own = engine();
      const store = openShared(own, "one", { dropAfterMs: 200 });
      const backend = openBackend(own);
      const view = await store.openView("s/v/1");
      for (let round = 0; round < 3; round++) {
        const next = await store.createGeneration(view);
        await store.write([adding(next, 0n, [1])], [{ view: next, offset: 1 }]);
        await store.publish([next]);
      }
      const before = (await backend.readGenerations()).generations;
      expect(before.dropped.map(({ generation }) => generation)).toEqual([1, 2]);
      await until(async () => (await backend.readGenerations()).generations.dropped.length === 0);
      const { previous } = (await backend.readGenerations()).generations.views["s/v/1"] ?? {};
      expect([previous, await counted(store, view, 1)]).toEqual([3, [1]]);
      await store.close();
      await backend.close();
    });

    test("a write that ended half way is completed by doing it again, and counts nothing twice", async () => {
      const own = engine();
      const options: SharedStoreOptions = {
        clock: { nowMs: () => Date.now(), nowUs: () => 0n, setTimer: () => ({ cancel() {} }) },
        readTimeoutMs: 10_000,
        watchEveryMs: 1_000,
        dropAfterMs: 1_000,
        logId: "one",
      };
      const backend = openBackend(own);
      // Ends after the first half of the changes, and before the offsets: as a crash would.
      const crashing: StateBackend = {
        read: (tables, keys) => backend.read(tables, keys),
        readOffsets: (table) => backend.readOffsets(table),
        listKeys: (table, after, limit) => backend.listKeys(table, after, limit),
        drop: (table) => backend.drop(table),
        readVersion: () => backend.readVersion(),
        readGenerations: () => backend.readGenerations(),
        swapGenerations: (version, next) => backend.swapGenerations(version, next),
        close: () => backend.close(),
        async compareAndSet(changes) {
          await backend.compareAndSet(changes.slice(0, changes.length >> 1), []);
          throw new Error("the process ended");
        },
      };
      const store = new SharedOnlineStore(crashing, options);
      const view = await store.openView("s/v/1");
      const keys = [0n, 1n, 2n, 3n];
      const write = store.write(
        keys.map((key) => adding(view, key, [1, 2])),
        [{ view, offset: 2 }],
      );
      await expect(write).rejects.toThrow("the process ended");
      expect(await counted(store, view, 4)).toEqual([2, 2, 0, 0]);
      await store.close();

      const again = openShared(own, "one");
      const reopened = await again.openView("s/v/1");
      expect(await again.appliedOffset(reopened)).toBe(0);
      // The page of the log is another one this time.
      await again.write(
        keys.map((key) => adding(reopened, key, [1, 2, 3])),
        [{ view: reopened, offset: 3 }],
      );
      expect(await counted(again, reopened, 4)).toEqual([3, 3, 3, 3]);
      expect(await again.appliedOffset(reopened)).toBe(3);
      await again.close();
    });
  });
}
