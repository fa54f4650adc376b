import { describe, expect, test } from "@jest/globals";
import { FakeClock } from "@weft/testkit";
import { onlineStoreContract } from "../domain/online/online-store.contract.ts";
import { type OnlineStore, ReadBatch, type ViewHandle } from "../domain/online/online-store.ts";
import { CachedOnlineStore } from "./cached-online-store.ts";
import { MemoryOnlineStore } from "./memory-online-store.ts";

const observer = { looked: () => {}, unread: () => {} };
const bytes = (value: number) => Uint8Array.of(value);

for (const entriesMax of [0, 16, 10_000])
  onlineStoreContract(
    `memory behind a cache of ${entriesMax}`,
    async () =>
      new CachedOnlineStore(new MemoryOnlineStore(), {
        clock: new FakeClock(),
        entriesMax,
        ttlMs: 1_000,
        retryAfterMs: 100,
        observer,
      }),
  );

/** A store whose reads the test answers: each waits for `answer` or `fail`. */
async function remote(entriesMax = 1_000) {
  const clock = new FakeClock();
  const memory = new MemoryOnlineStore();
  const waiting: { readonly keys: unknown[]; answer(): void; fail(): void }[] = [];
  const inner: OnlineStore = {
    openView: (id) => memory.openView(id),
    get(batch) {
      // What the engine holds when it is asked.
      memory.get(batch);
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const keys = batch.keys.slice(0, batch.size);
      waiting.push({ keys, answer: resolve, fail: () => reject(new Error("no answer")) });
      return promise;
    },
    write: (mutations, offsets) => memory.write(mutations, offsets),
    appliedOffset: (view, partition) => memory.appliedOffset(view, partition),
    appliedOffsets: (view) => memory.appliedOffsets(view),
    listKeys: (view, after, limit) => memory.listKeys(view, after, limit),
    createGeneration: (view) => memory.createGeneration(view),
    dropGeneration: (generation) => memory.dropGeneration(generation),
    previousGeneration: (view) => memory.previousGeneration(view),
    publish: (generations) => memory.publish(generations),
    close: () => memory.close(),
  };
  const seen = { hits: 0, misses: 0, unread: 0 };
  const store = new CachedOnlineStore(inner, {
    clock,
    entriesMax,
    ttlMs: 1_000,
    retryAfterMs: 100,
    observer: {
      looked(hits, misses) {
        seen.hits += hits;
        seen.misses += misses;
      },
      unread(places) {
        seen.unread += places;
      },
    },
  });
  const view = await store.openView("s/v/1");
  /** Another process's write. */
  const elsewhere = (key: bigint, value: number) => memory.write([{ view, key, merge: () => bytes(value) }]);
  return { clock, store, inner, view, waiting, seen, elsewhere };
}

function ask(store: OnlineStore, view: ViewHandle, ...keys: bigint[]) {
  const batch = new ReadBatch();
  for (const key of keys) batch.add(view, key);
  const done = Promise.resolve(store.get(batch));
  return done.then(() => ({
    values: batch.values.slice(0, batch.size).map((value) => value?.bytes[0]),
    unread: [...(batch.unread ?? [])],
  }));
}

describe("a cache before a shared store", () => {
  test("answers from memory within the TTL, absence too, and reads again after it", async () => {
    const { clock, store, view, waiting, seen, elsewhere } = await remote();
    await elsewhere(1n, 7);
    const first = ask(store, view, 1n, 2n);
    waiting.shift()?.answer();
    expect(await first).toEqual({ values: [7, undefined], unread: [] });
    await elsewhere(1n, 8);
    await clock.advance(1_000);
    expect(await ask(store, view, 1n, 2n)).toEqual({ values: [7, undefined], unread: [] });
    await clock.advance(1);
    const again = ask(store, view, 1n);
    waiting.shift()?.answer();
    expect(await again).toEqual({ values: [8], unread: [] });
    expect([seen, waiting.length]).toEqual([{ hits: 2, misses: 3, unread: 0 }, 0]);
  });

  test("reads a key once however many ask for it", async () => {
    const { store, view, waiting, elsewhere } = await remote();
    await elsewhere(1n, 7);
    const asked = [ask(store, view, 1n), ask(store, view, 1n, 2n), ask(store, view, 2n)];
    expect(waiting.map(({ keys }) => keys)).toEqual([[1n], [2n]]);
    for (const { answer } of waiting) answer();
    expect((await Promise.all(asked)).map(({ values }) => values)).toEqual([[7], [7, undefined], [undefined]]);
  });

  test("a read that a write has passed keeps nothing: what was written is read", async () => {
    const { store, view, waiting, elsewhere } = await remote();
    await elsewhere(1n, 7);
    const before = ask(store, view, 1n);
    await store.write([{ view, key: 1n, merge: () => bytes(9) }]);
    waiting.shift()?.answer();
    expect((await before).values).toEqual([7]);
    const after = ask(store, view, 1n);
    waiting.shift()?.answer();
    expect((await after).values).toEqual([9]);
    await store.write([{ view, key: 1n, merge: () => bytes(10) }]);
    expect((await ask(store, view, 1n)).values).toEqual([10]);
    expect(waiting).toEqual([]);
  });

  test("while the store fails, places are unread with the last value known, and one read at a time tries", async () => {
    const { clock, store, view, waiting, seen, elsewhere } = await remote();
    await elsewhere(1n, 7);
    const known = ask(store, view, 1n);
    waiting.shift()?.answer();
    await known;
    await clock.advance(2_000);
    const failing = ask(store, view, 1n, 2n);
    waiting.shift()?.fail();
    expect(await failing).toEqual({ values: [7, undefined], unread: [0, 1] });
    // It may have been a stall: asked again at once, until it has failed for as long as the pause between tries.
    await clock.advance(100);
    const still = ask(store, view, 1n);
    waiting.shift()?.fail();
    expect(await still).toEqual({ values: [7], unread: [0] });
    expect(await ask(store, view, 1n)).toEqual({ values: [7], unread: [0] });
    await clock.advance(101);
    const probe = ask(store, view, 2n);
    expect(await ask(store, view, 1n)).toEqual({ values: [7], unread: [0] });
    expect(waiting.length).toBe(1);
    await elsewhere(1n, 8);
    waiting.shift()?.answer();
    expect(await probe).toEqual({ values: [undefined], unread: [] });
    const recovered = ask(store, view, 1n);
    waiting.shift()?.answer();
    expect([await recovered, seen.unread]).toEqual([{ values: [8], unread: [] }, 5]);
  });

  test("a write that failed leaves nothing that passes for fresh", async () => {
    const { store, inner, view, waiting, elsewhere } = await remote();
    await elsewhere(1n, 7);
    const known = ask(store, view, 1n);
    waiting.shift()?.answer();
    await known;
    inner.write = async () => {
      await elsewhere(1n, 9);
      throw new Error("no answer");
    };
    await expect(store.write([{ view, key: 1n, merge: () => bytes(9) }])).rejects.toThrow("no answer");
    const after = ask(store, view, 1n);
    waiting.shift()?.answer();
    expect((await after).values).toEqual([9]);
  });

  test("who asks for fresh states gets them from the store", async () => {
    const { store, view, waiting, elsewhere } = await remote();
    await elsewhere(1n, 7);
    const known = ask(store, view, 1n);
    waiting.shift()?.answer();
    await known;
    await elsewhere(1n, 8);
    const batch = new ReadBatch();
    batch.isFresh = true;
    batch.add(view, 1n);
    const done = store.get(batch);
    waiting.shift()?.answer();
    await done;
    expect([batch.values[0]?.bytes[0], (await ask(store, view, 1n)).values]).toEqual([8, [8]]);
  });

  test("its memory is bounded", async () => {
    const { store, view, waiting, seen, elsewhere } = await remote(100);
    for (let key = 0n; key < 1_000n; key++) await elsewhere(key, 1);
    for (let round = 0; round < 3; round++)
      for (let key = 0n; key < 1_000n; key++) {
        const read = ask(store, view, key);
        waiting.shift()?.answer();
        await read;
      }
    expect(seen).toEqual({ hits: 0, misses: 3_000, unread: 0 });
  });
});
