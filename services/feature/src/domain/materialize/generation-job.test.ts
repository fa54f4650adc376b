import { describe, expect, test } from "@jest/globals";
import { defineEntity, defineFeatureView, defineSource } from "@weft/scenario";
import { seededRandom } from "@weft/testkit";
import { MemoryOnlineStore } from "../../adapters/memory-online-store.ts";
import { SqliteEventLog } from "../../adapters/sqlite-event-log.ts";
import { Ingest, type IngestedView } from "../ingest/ingest.ts";
import { type OnlineStore, ReadBatch } from "../online/online-store.ts";
import { compileView } from "../views/compile-view.ts";

const card = defineEntity({ name: "card", key: "int64" });
const source = defineSource({
  name: "payments",
  file: "payments.csv",
  eventTime: "time",
  fields: { card: "int64", amount: "float64" },
});
const compiled = compileView(
  defineFeatureView({
    name: "activity",
    entities: [{ entity: card, field: "card" }],
    source,
    aggregates: {
      n: { function: "count", windows: ["1h"] },
      total: { function: "sum", field: "amount", windows: ["1h"] },
    },
  }),
);
const nowUs = 1_700_000_000_000_000;

async function start(store: OnlineStore = new MemoryOnlineStore()) {
  const ignore = () => undefined;
  const observer = { accepted: ignore, skipped: ignore, corrupt: ignore, behind: ignore };
  const log = SqliteEventLog.open({ path: ":memory:", sizeMaxBytes: 1 << 26 });
  const ingest = new Ingest(log, store, observer, { queueRowsMax: 100_000 });
  const view: IngestedView = { scenario: "s", compiled, handle: await store.openView("s/activity") };
  await ingest.addViews([view]);
  let pushes = 0;
  const push = (...rows: [bigint, number][]) =>
    ingest.push({
      scenario: "s",
      source: "payments",
      requestId: `${pushes++}`,
      receivedUs: nowUs,
      fields: ["card", "amount"],
      rows: rows.map((values) => ({ eventTimeUs: nowUs - 1_000_000, createdTimeUs: nowUs, values })),
    });
  const read = (key: bigint) => {
    const batch = new ReadBatch();
    batch.add(view.handle, key);
    store.get(batch);
    const reading = compiled.createReading();
    const stored = batch.values[0];
    compiled.read(stored === undefined ? undefined : compiled.decode(stored.bytes), nowUs, reading);
    return [...reading.numbers];
  };
  return { store, log, ingest, view, push, read };
}

/** A store that lets other work in between its steps, as one behind a network does. */
class SlowStore extends MemoryOnlineStore {
  override async write(...args: Parameters<MemoryOnlineStore["write"]>): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    await super.write(...args);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("generation job", () => {
  test("a copy holds what was there and what was pushed while it was made, once, whatever falls in between", async () => {
    for (let seed = 0; seed < 40; seed++) {
      const random = seededRandom(seed);
      const { ingest, view, push, read } = await start(new SlowStore());
      const keys = 1_400;
      const totals = new Map<bigint, [number, number]>();
      const some = () =>
        Array.from({ length: 1 + Math.floor(random() * 20) }, (): [bigint, number] => {
          const key = BigInt(Math.floor(random() * keys));
          const amount = Math.floor(random() * 100);
          const [n, total] = totals.get(key) ?? [0, 0];
          totals.set(key, [n + 1, total + amount]);
          return [key, amount];
        });
      await push(...Array.from({ length: 60 }, some).flat());
      const job = await ingest.beginJob("s");
      let isDone = false;
      const pushing = (async () => {
        while (!isDone) await push(...some());
      })();
      await job.beginCopy(view);
      for (let count = 0; count < 3; count++) await push(...some());
      await job.publish();
      isDone = true;
      await pushing;
      await push(...some());
      expect({ seed, generation: view.handle.generation }).toEqual({ seed, generation: 2 });
      for (const [key, expected] of totals)
        expect({ seed, key, values: read(key) }).toEqual({ seed, key, values: expected });
    }
  });

  test("the generation before, taken up again, holds what was pushed since", async () => {
    const { ingest, view, push, read } = await start();
    expect(await (await ingest.beginJob("s")).beginPrevious(view)).toBeUndefined();
    await push([1n, 1]);
    const job = await ingest.beginJob("s");
    await job.beginEmpty(view);
    await job.publish();
    expect([view.handle.generation, read(1n)]).toEqual([2, [0, 0]]);
    await push([1n, 2]);
    const givenUp = await ingest.beginJob("s");
    await givenUp.beginPrevious(view);
    await givenUp.drop();
    const back = await ingest.beginJob("s");
    await back.beginPrevious(view);
    await back.publish();
    expect([view.handle.generation, read(1n)]).toEqual([1, [2, 3]]);
    await push([1n, 4]);
    const forward = await ingest.beginJob("s");
    await forward.beginPrevious(view);
    await forward.publish();
    expect([view.handle.generation, read(1n)]).toEqual([2, [2, 6]]);
  });

  test("a job that is given up leaves readers alone and no generation behind", async () => {
    const { store, ingest, view, push, read } = await start();
    await push([1n, 1]);
    const job = await ingest.beginJob("s");
    const next = await job.beginCopy(view);
    await job.drop();
    expect([view.handle.generation, read(1n), await store.listKeys(next, undefined, 10)]).toEqual([1, [1, 1], []]);
    await job.publish();
    expect(view.handle.generation).toBe(1);
  });

  test("publishing is not put off by pushes that keep coming", async () => {
    const { ingest, view, push } = await start(new SlowStore());
    let isDone = false;
    const pushers = Array.from({ length: 8 }, async () => {
      while (!isDone) await push([1n, 1]);
    });
    const job = await ingest.beginJob("s");
    await job.beginEmpty(view);
    await job.publish();
    isDone = true;
    await Promise.all(pushers);
    expect(view.handle.generation).toBe(2);
  });
});
