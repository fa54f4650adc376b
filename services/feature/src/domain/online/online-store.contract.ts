import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { seededRandom } from "@weft/testkit";
import type { EntityKey } from "../views/entity-key.ts";
import { type OnlineStore, ReadBatch, type ViewHandle } from "./online-store.ts";

const bytes = (...values: number[]) => Uint8Array.from(values);

/** What every online store must do. `open` gives an empty store; `reopen`, where there is one, opens the same data again. */
export function onlineStoreContract(
  name: string,
  open: () => Promise<OnlineStore>,
  reopen?: (store: OnlineStore) => Promise<OnlineStore>,
): void {
  describe(`${name} online store`, () => {
    let store: OnlineStore;
    beforeEach(async () => {
      store = await open();
    });
    afterEach(async () => {
      await store.close();
    });

    const put = (view: ViewHandle, key: EntityKey, value: Uint8Array) =>
      store.write([{ view, key, merge: () => value }]);
    const read = async (...pairs: [ViewHandle, EntityKey][]) => {
      const batch = new ReadBatch();
      for (const [view, key] of pairs) batch.add(view, key);
      await store.get(batch);
      return batch.values.slice(0, batch.size).map((value) => (value === undefined ? undefined : [...value.bytes]));
    };

    test("reads several views and keys in one batch, absent ones as undefined", async () => {
      const cards = await store.openView("s/cards/1");
      const shops = await store.openView("s/shops/1");
      await store.write([
        { view: cards, key: 1n, merge: () => bytes(1) },
        { view: cards, key: 9_007_199_254_740_993n, merge: () => bytes(2) },
        { view: shops, key: "ü", merge: () => bytes(3, 4) },
        { view: shops, key: "", merge: () => bytes(5) },
      ]);
      expect(
        await read([cards, 1n], [cards, 2n], [cards, 9_007_199_254_740_993n], [shops, "ü"], [shops, ""], [cards, "1"]),
      ).toEqual([[1], undefined, [2], [3, 4], [5], undefined]);
    });

    test("readers and merges get plain bytes, which `slice` copies", async () => {
      const view = await store.openView("s/v/1");
      await put(view, "a", bytes(1, 2));
      const seen: unknown[] = [];
      const note = (current: Uint8Array | undefined) => {
        seen.push(current?.constructor);
        return undefined;
      };
      await store.write([{ view, key: "a", merge: note }]);
      const batch = new ReadBatch();
      batch.add(view, "a");
      await store.get(batch);
      expect([...seen, batch.values[0]?.bytes.constructor]).toEqual([Uint8Array, Uint8Array]);
    });

    test("the same id is the same view; another digest is another", async () => {
      await put(await store.openView("s/v/1"), "a", bytes(1));
      expect(await read([await store.openView("s/v/1"), "a"], [await store.openView("s/v/2"), "a"])).toEqual([
        [1],
        undefined,
      ]);
    });

    test("a write sees what is stored, and what it changed itself", async () => {
      const view = await store.openView("s/v/1");
      const add = { view, key: "a", merge: (current: Uint8Array | undefined) => bytes((current?.[0] ?? 0) + 1) };
      await store.write([add, add]);
      await Promise.all([store.write([add]), store.write([add, add])]);
      expect(await read([view, "a"])).toEqual([[5]]);
    });

    test("compare-and-set: undefined leaves the stored value alone", async () => {
      const view = await store.openView("s/v/1");
      const greatest = (value: number) => ({
        view,
        key: 7n,
        merge: (current: Uint8Array | undefined) => ((current?.[0] ?? -1) >= value ? undefined : bytes(value)),
      });
      const random = seededRandom(7);
      const values = Array.from({ length: 200 }, () => Math.floor(random() * 256));
      await Promise.all(values.map((value) => store.write([greatest(value)])));
      expect(await read([view, 7n])).toEqual([[Math.max(...values)]]);
    });

    test("all of a write or nothing: a merge that throws changes no key and no offset", async () => {
      const view = await store.openView("s/v/1");
      const write = store.write(
        [
          { view, key: "a", merge: () => bytes(1) },
          {
            view,
            key: "b",
            merge: () => {
              throw new RangeError("no");
            },
          },
        ],
        [{ view, offset: 3 }],
      );
      await expect(write).rejects.toThrow("no");
      expect(await read([view, "a"])).toEqual([undefined]);
      expect(await store.appliedOffset(view)).toBe(0);
      await put(view, "a", bytes(2));
      expect(await read([view, "a"])).toEqual([[2]]);
    });

    test("keeps the applied offset of each view with its data", async () => {
      const view = await store.openView("s/v/1");
      const other = await store.openView("s/w/1");
      expect(await store.appliedOffset(view)).toBe(0);
      await store.write([{ view, key: "a", merge: () => bytes(1) }], [{ view, offset: 12 }]);
      expect([await store.appliedOffset(view), await store.appliedOffset(other)]).toEqual([12, 0]);
    });

    test("keeps offsets by partition, of each generation its own", async () => {
      const view = await store.openView("s/v/1");
      const own = (partition?: string) => store.appliedOffset(view, partition);
      await store.write([], [{ view, offset: 3 }]);
      await store.write(
        [{ view, key: "a", merge: () => bytes(1) }],
        [
          { view, partition: "kafka/t/0", offset: 7 },
          { view, partition: "kafka/t/10", offset: 9 },
        ],
      );
      expect([await own(), await own("kafka/t/0"), await own("kafka/t/10"), await own("kafka/t/1")]).toEqual([
        3, 7, 9, 0,
      ]);
      expect(Object.fromEntries(await store.appliedOffsets(view))).toEqual({ "": 3, "kafka/t/0": 7, "kafka/t/10": 9 });
      const dropped = await store.createGeneration(view);
      await store.write([], [{ view: dropped, partition: "kafka/t/0", offset: 5 }]);
      const next = await store.createGeneration(view);
      expect(await store.appliedOffset(next, "kafka/t/0")).toBe(0);
      await store.write([], [{ view: next, partition: "kafka/t/10", offset: 11 }]);
      await store.publish([next]);
      expect([await own(), await own("kafka/t/0"), await own("kafka/t/10")]).toEqual([0, 0, 11]);
    });

    test("lists keys in order, page by page", async () => {
      const view = await store.openView("s/v/1");
      const numbers = [5n, -3n, 0n, 9_007_199_254_740_993n, -9_223_372_036_854_775_808n, 256n, 255n];
      for (const key of numbers) await put(view, key, bytes(1));
      const sorted = [...numbers].sort((a, b) => (a < b ? -1 : 1));
      const pages: EntityKey[][] = [];
      let after: EntityKey | undefined;
      do {
        const page = await store.listKeys(view, after, 3);
        pages.push(page);
        after = page.at(-1);
      } while (after !== undefined);
      expect(pages.map((page) => page.length)).toEqual([3, 3, 1, 0]);
      expect(pages.flat()).toEqual(sorted);
      const texts = await store.openView("s/texts/1");
      for (const key of ["b", "a", "é", "aa", "Z"]) await put(texts, key, bytes(1));
      expect(await store.listKeys(texts, undefined, 10)).toEqual(["Z", "a", "aa", "b", "é"]);
    });

    test("a generation is invisible until it is published, and then at once", async () => {
      const view = await store.openView("s/v/1");
      await put(view, "a", bytes(1));
      const next = await store.createGeneration(view);
      await store.write([{ view: next, key: "b", merge: () => bytes(2) }], [{ view: next, offset: 9 }]);
      expect(await read([view, "a"], [view, "b"], [next, "b"])).toEqual([[1], undefined, [2]]);
      expect(await store.appliedOffset(view)).toBe(0);
      await store.publish([next]);
      expect(view.generation).toBe(2);
      expect(await read([view, "a"], [view, "b"])).toEqual([undefined, [2]]);
      expect(await store.appliedOffset(view)).toBe(9);
      expect(await store.listKeys(view, undefined, 10)).toEqual(["b"]);
      await put(view, "c", bytes(3));
      const third = await store.createGeneration(view);
      await put(third, "d", bytes(4));
      await store.publish([third]);
      const fourth = await store.createGeneration(view);
      await store.publish([fourth]);
      expect([view.generation, await read([view, "d"])]).toEqual([4, [undefined]]);
    });

    test("a generation left unpublished starts again empty", async () => {
      const view = await store.openView("s/v/1");
      await put(await store.createGeneration(view), "half", bytes(1));
      const again = await store.createGeneration(view);
      expect(await read([again, "half"])).toEqual([undefined]);
      expect(await store.appliedOffset(again)).toBe(0);
    });

    test("the generation before stays, with its offset, and can be published again", async () => {
      const view = await store.openView("s/v/1");
      expect(await store.previousGeneration(view)).toBeUndefined();
      await store.write([{ view, key: "a", merge: () => bytes(1) }], [{ view, offset: 4 }]);
      const next = await store.createGeneration(view);
      await store.write([{ view: next, key: "a", merge: () => bytes(2) }], [{ view: next, offset: 6 }]);
      await store.publish([next]);
      const before = await store.previousGeneration(view);
      if (before === undefined) throw new Error("there is no generation before");
      expect(before.generation).toBe(1);
      expect([await read([before, "a"]), await store.appliedOffset(before)]).toEqual([[[1]], 4]);
      await store.write([{ view: before, key: "b", merge: () => bytes(3) }], [{ view: before, offset: 7 }]);
      await store.publish([before]);
      expect(view.generation).toBe(1);
      expect([await read([view, "a"], [view, "b"]), await store.appliedOffset(view)]).toEqual([[[1], [3]], 7]);
      const after = await store.previousGeneration(view);
      expect(after?.generation).toBe(2);
      // What was published and taken back keeps its number to itself.
      const third = await store.createGeneration(view);
      expect(third.generation).toBe(3);
      await put(third, "a", bytes(9));
      await store.publish([third]);
      expect([(await store.previousGeneration(view))?.generation, await read([view, "a"])]).toEqual([1, [[9]]]);
    });

    test("generations of several views become visible at once", async () => {
      const views = [await store.openView("s/v/1"), await store.openView("s/w/1"), await store.openView("s/x/1")];
      const written = async (view: ViewHandle, value: number) => {
        const next = await store.createGeneration(view);
        await put(next, "a", bytes(value));
        return next;
      };
      await store.publish(await Promise.all(views.map((view) => written(view, 1))));
      let isDone = false;
      const seen = new Set<string>();
      const reader = async () => {
        while (!isDone) {
          seen.add(JSON.stringify(await read(...views.map((view): [ViewHandle, EntityKey] => [view, "a"]))));
          await new Promise((resolve) => setImmediate(resolve));
        }
      };
      const reading = reader();
      for (let value = 2; value < 6; value++)
        await store.publish(await Promise.all(views.map((view) => written(view, value))));
      isDone = true;
      await reading;
      for (const answer of seen)
        expect(["[[1],[1],[1]]", "[[2],[2],[2]]", "[[3],[3],[3]]", "[[4],[4],[4]]", "[[5],[5],[5]]"]).toContain(answer);
      expect(await read([views[0] as ViewHandle, "a"])).toEqual([[5]]);
    });

    test("a generation that was dropped leaves nothing, and readers alone", async () => {
      const view = await store.openView("s/v/1");
      await put(view, "a", bytes(1));
      const next = await store.createGeneration(view);
      await put(next, "a", bytes(2));
      await store.dropGeneration(next);
      expect([view.generation, await read([view, "a"])]).toEqual([1, [[1]]]);
      expect(await store.previousGeneration(view)).toBeUndefined();
      expect(await read([await store.createGeneration(view), "a"])).toEqual([undefined]);
    });

    test("what a reader decoded is dropped when the value changes", async () => {
      const view = await store.openView("s/v/1");
      await put(view, "a", bytes(1));
      const batch = new ReadBatch();
      batch.add(view, "a");
      await store.get(batch);
      const before = batch.values[0];
      await put(view, "a", bytes(2));
      await store.get(batch);
      expect(batch.values[0]).not.toBe(before);
      expect(batch.values[0]?.bytes[0]).toBe(2);
      expect(batch.values[0]?.decoded).toBeUndefined();
    });

    test("stays right under random writes, reads and evictions", async () => {
      const seed = 99;
      const random = seededRandom(seed);
      const views = [await store.openView("s/v/1"), await store.openView("s/w/1")];
      const model = new Map<string, number>();
      for (let step = 0; step < 3_000; step++) {
        const at = Math.floor(random() * 2);
        const view = views[at] as ViewHandle;
        const key = BigInt(Math.floor(random() * 100));
        if (random() < 0.2) {
          const value = Math.floor(random() * 256);
          model.set(`${at}/${key}`, value);
          await put(view, key, bytes(value));
        } else {
          const expected = model.get(`${at}/${key}`);
          const [value] = await read([view, key]);
          if (value?.[0] !== expected) expect({ seed, step, value }).toEqual({ seed, step, value: expected });
        }
      }
    });

    if (reopen !== undefined)
      test("opened again it holds what was written, the published generation and the offset", async () => {
        const view = await store.openView("s/v/1");
        await put(view, "old", bytes(1));
        const next = await store.createGeneration(view);
        await store.write([{ view: next, key: "new", merge: () => bytes(2) }], [{ view: next, offset: 5 }]);
        await store.publish([next]);
        await put(await store.createGeneration(view), "half", bytes(7));
        store = await reopen(store);
        const again = await store.openView("s/v/1");
        expect(again.generation).toBe(2);
        expect(await read([again, "old"], [again, "new"])).toEqual([undefined, [2]]);
        expect(await store.appliedOffset(again)).toBe(5);
        const before = await store.previousGeneration(again);
        expect([before?.generation, before && (await read([before, "old"]))]).toEqual([1, [[1]]]);
        expect(await read([await store.createGeneration(again), "half"])).toEqual([undefined]);
      });
  });
}
