import { describe, expect, test } from "@jest/globals";
import { defineEntity, defineFeatureView, defineSource } from "@weft/scenario";
import { seededRandom } from "@weft/testkit";
import { MemoryOnlineStore } from "../../adapters/memory-online-store.ts";
import { SqliteEventLog } from "../../adapters/sqlite-event-log.ts";
import { errors } from "../../errors.ts";
import { type AppliedOffset, type Mutation, type OnlineStore, ReadBatch } from "../online/online-store.ts";
import { compileView } from "../views/compile-view.ts";
import type { EventLog, PushedEvents } from "./event-log.ts";
import { Ingest, type IngestedView, type IngestObserver } from "./ingest.ts";
import type { RefusedEvent } from "./quarantine.ts";

const card = defineEntity({ name: "card", key: "int64" });
const source = defineSource({
  name: "payments",
  file: "payments.csv",
  eventTime: "time",
  fields: { card: "int64", amount: "float64" },
});
const activity = compileView(
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
const latest = compileView(
  defineFeatureView({
    name: "latest",
    entities: [{ entity: card, field: "card" }],
    source,
    features: { amount: { type: "float64" } },
  }),
);
const now = 1_700_000_000_000_000;

function push(requestId: string, ...rows: [bigint | null, number][]): PushedEvents {
  return {
    scenario: "s",
    source: "payments",
    requestId,
    receivedUs: now,
    fields: ["card", "amount"],
    rows: rows.map(([key, amount]) => ({ eventTimeUs: now - 60_000_000, createdTimeUs: now, values: [key, amount] })),
  };
}

/** A store that can be told to fail. */
class FailingStore extends MemoryOnlineStore {
  isFailing = false;
  writes = 0;
  override async write(mutations: readonly Mutation[], offsets?: readonly AppliedOffset[]): Promise<void> {
    if (this.isFailing) throw new Error("the store is away");
    this.writes++;
    return super.write(mutations, offsets);
  }
}

async function start(log: EventLog, store: OnlineStore, queueRowsMax = 1_000) {
  const seen = { skipped: 0, behind: 0, accepted: 0 };
  const observer: IngestObserver = {
    accepted: (_source, rows) => {
      seen.accepted += rows;
    },
    skipped: (_view, rows) => {
      seen.skipped += rows;
    },
    corrupt: () => undefined,
    behind: () => {
      seen.behind++;
    },
  };
  const ingest = new Ingest(log, store, observer, { queueRowsMax });
  const views: IngestedView[] = [];
  for (const compiled of [activity, latest])
    views.push({ scenario: "s", compiled, handle: await store.openView(`s/${compiled.name}`) });
  await ingest.addViews(views);
  return { ingest, views, seen };
}

function countAndTotal(store: OnlineStore, { compiled, handle }: IngestedView, key: bigint) {
  const batch = new ReadBatch();
  batch.add(handle, key);
  store.get(batch);
  const reading = compiled.createReading();
  const stored = batch.values[0];
  compiled.read(stored === undefined ? undefined : compiled.decode(stored.bytes), now, reading);
  return [...reading.numbers];
}

const openLog = () => SqliteEventLog.open({ path: ":memory:", sizeMaxBytes: 1 << 26 });

describe("ingestion", () => {
  test("what was pushed is visible once acknowledged, and a repeat changes nothing", async () => {
    const store = new MemoryOnlineStore();
    const { ingest, views, seen } = await start(openLog(), store);
    const [first, second] = views as [IngestedView, IngestedView];
    expect(await ingest.push(push("1", [1n, 10], [1n, 5], [2n, 7]))).toBe(false);
    expect(countAndTotal(store, first, 1n)).toEqual([2, 15]);
    expect(countAndTotal(store, first, 2n)).toEqual([1, 7]);
    expect(countAndTotal(store, second, 1n)).toEqual([10]);
    expect(await ingest.push(push("1", [1n, 10], [1n, 5], [2n, 7]))).toBe(true);
    expect(countAndTotal(store, first, 1n)).toEqual([2, 15]);
    expect(seen).toEqual({ skipped: 0, behind: 0, accepted: 3 });
  });

  test("many pushes at once are appended and written together", async () => {
    const store = new FailingStore();
    const { ingest, views } = await start(openLog(), store);
    const before = store.writes;
    await Promise.all(Array.from({ length: 200 }, (_, index) => ingest.push(push(`${index}`, [1n, 1]))));
    expect(countAndTotal(store, views[0] as IngestedView, 1n)).toEqual([200, 200]);
    expect(store.writes - before).toBeLessThan(10);
    expect(ingest.queuedRows).toBe(0);
  });

  test("a row without a key is counted and holds nothing up", async () => {
    const store = new MemoryOnlineStore();
    const { ingest, views, seen } = await start(openLog(), store);
    await ingest.push(push("1", [null, 1], [3n, 2]));
    expect(countAndTotal(store, views[0] as IngestedView, 3n)).toEqual([1, 2]);
    expect(seen.skipped).toBe(2);
  });

  test("a full queue is refused at once", async () => {
    const { ingest } = await start(openLog(), new MemoryOnlineStore(), 2);
    const waiting = ingest.push(push("1", [1n, 1], [1n, 1]));
    expect(() => ingest.push(push("2", [1n, 1]))).toThrow(expect.objectContaining({ reason: "PUSH_QUEUE_FULL" }));
    await waiting;
    await ingest.push(push("3", [1n, 1]));
  });

  test("a log without room: a clear error, and nothing is kept or counted", async () => {
    const log = openLog();
    const failing: EventLog = {
      append: async () => {
        throw errors.EVENT_LOG_FULL({}, { cause: new Error("ENOSPC") });
      },
      read: (...args) => log.read(...args),
      trim: (...args) => log.trim(...args),
      endOffset: () => log.endOffset(),
      close: () => log.close(),
    };
    const store = new MemoryOnlineStore();
    const { ingest, views, seen } = await start(failing, store);
    await expect(ingest.push(push("1", [1n, 1]))).rejects.toMatchObject({ reason: "EVENT_LOG_FULL" });
    expect(countAndTotal(store, views[0] as IngestedView, 1n)).toEqual([0, 0]);
    expect(seen.accepted).toBe(0);
    expect(ingest.queuedRows).toBe(0);
  });

  test("a crash between log and store: the log is replayed from where the states end, nothing twice", async () => {
    const log = openLog();
    const store = new FailingStore();
    const before = await start(log, store);
    await before.ingest.push(push("1", [1n, 1]));
    store.isFailing = true;
    await expect(before.ingest.push(push("2", [1n, 2]))).rejects.toMatchObject({ reason: "APPLY_FAILED" });
    store.isFailing = false;
    // A new process over the same log and store.
    const { views } = await start(log, store);
    expect(countAndTotal(store, views[0] as IngestedView, 1n)).toEqual([2, 3]);
    const again = await start(log, store);
    expect(countAndTotal(store, again.views[0] as IngestedView, 1n)).toEqual([2, 3]);
  });

  test("a store that comes back gets what it missed, with the next push or on its own", async () => {
    const store = new FailingStore();
    const { ingest, views, seen } = await start(openLog(), store);
    store.isFailing = true;
    await expect(ingest.push(push("1", [1n, 1]))).rejects.toMatchObject({ reason: "APPLY_FAILED" });
    expect([ingest.isBehind, seen.behind]).toEqual([true, 1]);
    store.isFailing = false;
    await ingest.push(push("2", [1n, 2]));
    expect(countAndTotal(store, views[0] as IngestedView, 1n)).toEqual([2, 3]);
    store.isFailing = true;
    await expect(ingest.push(push("3", [1n, 4]))).rejects.toMatchObject({ reason: "APPLY_FAILED" });
    store.isFailing = false;
    await ingest.catchUpBehind();
    expect([ingest.isBehind, countAndTotal(store, views[0] as IngestedView, 1n)]).toEqual([false, [3, 7]]);
  });

  test("a job's generation holds what its rows hold and what was pushed meanwhile, once", async () => {
    const store = new MemoryOnlineStore();
    const { ingest, views } = await start(openLog(), store);
    const view = views[0] as IngestedView;
    await ingest.push(push("1", [1n, 1]));
    const job = await ingest.beginJob("s");
    const next = await job.beginEmpty(view);
    await ingest.push(push("2", [1n, 2]));
    const state = activity.emptyState();
    let rows = 0;
    for await (const { rows: part } of job.pushed(source))
      for (const row of part) {
        state.apply(row);
        rows++;
      }
    expect(rows).toBe(1);
    // The offline store holds one row more.
    state.apply({ eventTimeUs: now - 1_000_000, createdTimeUs: now, values: [1n, 100] });
    const bytes = state.encode();
    await store.write([{ view: next, key: 1n, merge: () => bytes }]);
    expect(countAndTotal(store, view, 1n)).toEqual([2, 3]);
    await Promise.all([job.publish(), ingest.push(push("3", [1n, 4]))]);
    expect(view.handle.generation).toBe(2);
    expect(countAndTotal(store, view, 1n)).toEqual([4, 107]);
  });

  test("the log forgets what is old and applied, and nothing else", async () => {
    const log = openLog();
    const store = new FailingStore();
    const { ingest, views } = await start(log, store);
    await ingest.push({ ...push("1", [1n, 1]), receivedUs: 10 });
    await ingest.push({ ...push("2", [1n, 2]), receivedUs: 90 });
    store.isFailing = true;
    await expect(ingest.push({ ...push("3", [1n, 4]), receivedUs: 20 })).rejects.toMatchObject({
      reason: "APPLY_FAILED",
    });
    expect(await ingest.trimLog(50)).toBe(1);
    store.isFailing = false;
    await ingest.catchUpBehind();
    expect(countAndTotal(store, views[0] as IngestedView, 1n)).toEqual([3, 7]);
    expect(await ingest.trimLog(50)).toBe(1);
    expect((await log.read("s", "payments", 0, 10)).map(({ requestId }) => requestId)).toEqual(["2"]);
  });

  test("a partition is applied from where the states end; again, it changes nothing, and poison is set aside", async () => {
    const store = new FailingStore();
    const refused: RefusedEvent[] = [];
    const topical = compileView(
      defineFeatureView({
        name: "activity",
        entities: [{ entity: card, field: "card" }],
        source: { ...source, topic: "t" },
        aggregates: activity.view.aggregates,
      }),
    );
    const ignore = () => undefined;
    const ingest = new Ingest(
      openLog(),
      store,
      { accepted: ignore, skipped: ignore, corrupt: ignore, behind: ignore },
      {
        queueRowsMax: 10,
        refuse: async (events) => void refused.push(...events),
      },
    );
    const view = { scenario: "s", compiled: topical, handle: await store.openView("s/topical") };
    await ingest.addViews([view]);
    const stream = { topic: "t", partition: 3 };
    const event = (offset: number, key: bigint, amount: number) => ({ ...push(`${offset}`, [key, amount]), offset });
    const apply = (...events: ReturnType<typeof event>[]) =>
      ingest.applyStream(stream, events, events.at(-1)?.offset ?? 0);
    expect([ingest.topics, await ingest.streamPosition(stream)]).toEqual([["t"], 0]);
    await apply(event(1, 1n, 1), event(2, 2n, 2), event(4, 1n, 4));
    expect(await ingest.streamPosition(stream)).toBe(4);
    await apply(event(2, 2n, 2), event(4, 1n, 4));
    await apply(event(2, 2n, 2), event(4, 1n, 4), event(7, 1n, 8));
    expect([countAndTotal(store, view, 1n), countAndTotal(store, view, 2n)]).toEqual([
      [3, 13],
      [1, 2],
    ]);
    store.isFailing = true;
    await expect(apply(event(8, 1n, 16))).rejects.toThrow("the store is away");
    expect(await ingest.streamPosition(stream)).toBe(7);
    store.isFailing = false;
    await apply(event(8, 1n, 16));
    expect(countAndTotal(store, view, 1n)).toEqual([4, 29]);
    expect(await ingest.streamPosition({ topic: "other", partition: 3 })).toBeUndefined();
    expect(refused).toEqual([]);
  });

  test("a row that a view cannot take is set aside with its reason, and what is behind it goes on", async () => {
    const store = new MemoryOnlineStore();
    const refused: RefusedEvent[] = [];
    const ignore = () => undefined;
    const ingest = new Ingest(
      openLog(),
      store,
      { accepted: ignore, skipped: ignore, corrupt: ignore, behind: ignore },
      {
        queueRowsMax: 10,
        refuse: async (events) => void refused.push(...events),
      },
    );
    const view = { scenario: "s", compiled: latest, handle: await store.openView("s/latest") };
    await ingest.addViews([view]);
    const good = push("1", [1n, 1]);
    const [row] = good.rows;
    if (row === undefined) throw new Error("no row");
    await ingest.push({
      ...good,
      rows: [
        { ...row, values: [1n, "ten"] },
        { ...row, eventTimeUs: row.eventTimeUs + 1 },
      ],
    });
    expect(countAndTotal(store, view, 1n)).toEqual([1]);
    expect(refused).toMatchObject([
      { source: "payments", reason: "ROW_NOT_APPLICABLE", origin: "1/1/0/latest", content: { kind: "row" } },
    ]);
  });

  test("random pushes, failures and restarts: the states are those of everything durable, once", async () => {
    for (let seed = 0; seed < 60; seed++) {
      const random = seededRandom(seed);
      const log = openLog();
      const store = new FailingStore();
      let { ingest, views } = await start(log, store);
      let count = 0;
      let total = 0;
      for (let step = 0; step < 40; step++) {
        store.isFailing = random() < 0.3;
        const amount = Math.floor(random() * 100);
        await ingest.push(push(`${step}`, [1n, amount])).catch((error: unknown) => {
          if ((error as { reason?: string }).reason !== "APPLY_FAILED") throw error;
        });
        count++;
        total += amount;
        store.isFailing = false;
        if (random() < 0.2) ({ ingest, views } = await start(log, store));
      }
      await ingest.catchUpBehind();
      expect({ seed, values: countAndTotal(store, views[0] as IngestedView, 1n) }).toEqual({
        seed,
        values: [count, total],
      });
      await log.close();
    }
  });
});
