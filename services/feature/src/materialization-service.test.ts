import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { feature } from "@weft/contracts";
import { isWeftError } from "@weft/errors";
import { CallScope } from "@weft/rpc";
import { seededRandom } from "@weft/testkit";
import { LmdbOnlineStore } from "./adapters/lmdb-online-store.ts";
import { MemoryOnlineStore } from "./adapters/memory-online-store.ts";
import { SqliteEventLog } from "./adapters/sqlite-event-log.ts";
import { Ingest, type IngestedView } from "./domain/ingest/ingest.ts";
import {
  type OfflineFixture,
  openOfflineFixture,
  type Purchase,
  randomHistory,
  scenario,
  views,
} from "./domain/offline/offline-fixture.ts";
import { type OnlineStore, ReadBatch } from "./domain/online/online-store.ts";
import { type EntityKey, joinKeys } from "./domain/views/entity-key.ts";
import { viewId } from "./domain/views/feature-release.ts";
import { openMaterialization } from "./materialization-fixture.ts";

const { FULL, INCREMENTAL } = feature.MaterializeMode;
const { OUTCOME_FULL, OUTCOME_INCREMENTAL, OUTCOME_UNCHANGED } = {
  OUTCOME_FULL: feature.MaterializedView_Outcome.FULL,
  OUTCOME_INCREMENTAL: feature.MaterializedView_Outcome.INCREMENTAL,
  OUTCOME_UNCHANGED: feature.MaterializedView_Outcome.UNCHANGED,
};
const context = () => new CallScope({ release: "r1" });

let stores = 0;
let fixture: OfflineFixture;
beforeAll(async () => {
  fixture = await openOfflineFixture();
});
afterAll(() => fixture.close());

async function start(
  store: OnlineStore = new MemoryOnlineStore(),
  log = SqliteEventLog.open({ path: ":memory:", sizeMaxBytes: 1 << 26 }),
) {
  const ignore = () => undefined;
  const observer = { accepted: ignore, skipped: ignore, corrupt: ignore, behind: ignore };
  const ingest = new Ingest(log, store, observer, { queueRowsMax: 100_000 });
  const ingested: IngestedView[] = [];
  for (const compiled of views) {
    const handle = await store.openView(viewId(scenario.name, compiled.name, compiled.digest));
    ingested.push({ scenario: scenario.name, compiled, handle });
  }
  await ingest.addViews(ingested);
  const release = () => ({ id: "r1", scenario, views });
  const opened = openMaterialization({ release, offline: fixture.store, store, ingest });
  let pushes = 0;
  const push = (...purchases: readonly Purchase[]) =>
    ingest.push({
      scenario: scenario.name,
      source: "purchases",
      requestId: `${pushes++}`,
      receivedUs: 0,
      fields: ["card", "shop", "amount", "item", "good"],
      rows: purchases.map(({ eventUs, createdUs, card, shop, amount, item, good }) => ({
        eventTimeUs: eventUs,
        createdTimeUs: createdUs,
        values: [card, shop, amount, item, good],
      })),
    });
  const materialize = async (more: { mode?: feature.MaterializeMode; views?: string[] } = {}) => {
    const request = create(feature.MaterializeRequestSchema, { scenario: scenario.name, ...more });
    let last: { views?: { view?: string; outcome?: feature.MaterializedView_Outcome; generation?: bigint }[] } = {};
    for await (const message of opened.handlers.materialize(request, context())) last = message as typeof last;
    return last.views ?? [];
  };
  /** Everything that readers can see of every view at some times, by key. */
  const seen = async (timesUs: readonly number[]) => {
    const found: Record<string, unknown> = {};
    for (const { compiled, handle } of ingested) {
      let after: EntityKey | undefined;
      for (;;) {
        const keys: EntityKey[] = await store.listKeys(handle, after, 1_000);
        if (keys.length === 0) break;
        after = keys.at(-1);
        const batch = new ReadBatch();
        for (const key of keys) batch.add(handle, key);
        store.get(batch);
        for (const [place, key] of keys.entries()) {
          const state = compiled.decode(batch.values[place]?.bytes ?? new Uint8Array());
          const reading = compiled.createReading();
          for (const time of timesUs) {
            compiled.read(state, time, reading);
            found[`${compiled.name}/${key}@${time}`] = [
              ...reading.statuses,
              reading.eventTimeUs,
              ...reading.features.map((_, index) => reading.value(index)),
            ];
          }
        }
      }
    }
    return found;
  };
  return { ...opened, store, ingest, ingested, push, materialize, seen };
}

/** Later than every event and creation, so that field views show their newest row. */
const latest = (purchases: readonly Purchase[]) => {
  const newest = Math.max(...purchases.map(({ eventUs, createdUs }) => Math.max(eventUs, createdUs)));
  return [newest, newest + 1, newest + 7_000_000, newest + 40_000_000, newest + 700_000_000];
};

const write = (purchases: readonly Purchase[]) => fixture.write({ purchases, labels: [] });

describe("materialization", () => {
  test("Materialize loads the views asked for, says how far it is, and what readers see then", async () => {
    const { purchases } = randomHistory(20_260, 50);
    await write(purchases);
    const { handlers, ingested, catalog } = await start();
    const request = create(feature.MaterializeRequestSchema, { scenario: scenario.name, views: ["newest"] });
    const messages: unknown[] = [];
    for await (const message of handlers.materialize(request, context())) messages.push(message);
    const rows = BigInt(purchases.length);
    expect(messages.at(-1)).toEqual({
      view: "",
      rowsRead: rows,
      rowsTotal: rows,
      entitiesWritten: BigInt(new Set(purchases.map(({ card }) => card)).size),
      done: true,
      id: 1n,
      views: [{ view: "newest", outcome: OUTCOME_FULL, generation: 2n, rows }],
    });
    expect(ingested.map(({ handle }) => handle.generation)).toEqual(
      views.map(({ name }) => (name === "newest" ? 2 : 1)),
    );
    expect(catalog.list(scenario.name, 9)).toMatchObject([
      { id: 1, state: "succeeded", views: ["newest"], attempt: 1 },
    ]);
    const none = create(feature.MaterializeRequestSchema, { scenario: scenario.name, views: ["none"] });
    const refused = (async () => {
      for await (const _ of handlers.materialize(none, context()));
    })();
    await expect(refused).rejects.toMatchObject({ reason: "VIEW_UNKNOWN" });
  });

  test.each<[string, number, () => OnlineStore]>([
    ["memory", 8, () => new MemoryOnlineStore()],
    [
      "LMDB",
      2,
      () =>
        LmdbOnlineStore.open({
          path: join(fixture.root, `online-${stores++}`),
          sizeMaxBytes: 1 << 28,
          cacheEntriesMax: 500,
        }),
    ],
  ])(
    "in %s, increments, repeated, are the same as a full load: rows that come late by created time, rows that come late without saying so, corrections, pushes in between",
    async (_name, seeds, store) => {
      for (let seed = 0; seed < seeds; seed++) {
        const random = seededRandom(seed);
        const { purchases } = randomHistory(seed, 12);
        const times = latest(purchases);
        const inFile: Purchase[] = [];
        const incremental = await start(store());
        const pushed: Purchase[] = [];
        const outcomes = new Set<unknown>();
        // In the order in which rows become known; a tenth come later than their created time says.
        const known = purchases
          .map((purchase) => ({ purchase, at: purchase.createdUs + (random() < 0.02 ? 600e6 : 0) }))
          .sort((a, b) => a.at - b.at);
        const parts = 2 + Math.floor(random() * 4);
        for (let part = 0; part < parts; part++) {
          const own = known.slice((known.length * part) / parts, (known.length * (part + 1)) / parts);
          for (const { purchase } of own)
            if (random() < 0.2) {
              pushed.push(purchase);
              await incremental.push(purchase);
            } else inFile.push(purchase);
          await write(inFile);
          const during = random() < 0.5 ? purchases[Math.floor(random() * purchases.length)] : undefined;
          if (during !== undefined) pushed.push(during);
          const [done] = await Promise.all([
            incremental.materialize({ mode: INCREMENTAL }),
            during === undefined ? undefined : incremental.push(during),
          ]);
          for (const { outcome } of done) outcomes.add(outcome);
        }
        const full = await start(store());
        for (const purchase of pushed) await full.push(purchase);
        await full.materialize({ mode: FULL });
        expect({ seed, seen: await incremental.seen(times) }).toEqual({ seed, seen: await full.seen(times) });
        expect({ seed, outcomes: outcomes.has(OUTCOME_FULL) }).toEqual({ seed, outcomes: true });
        const again = await incremental.materialize({ mode: INCREMENTAL });
        expect(again.map(({ outcome }) => outcome)).toEqual(views.map(() => OUTCOME_UNCHANGED));
      }
    },
  );

  test("an increment reads what is new only; a row that comes late under an old created time makes it a full load", async () => {
    const { purchases } = randomHistory(3, 20);
    const sorted = [...purchases].sort((a, b) => a.createdUs - b.createdUs);
    const newest = sorted.at(-1) ?? purchases[0];
    if (newest === undefined) throw new Error("the history is empty");
    await write(sorted);
    const { materialize, handlers } = await start();
    expect((await materialize({ mode: INCREMENTAL })).map(({ outcome }) => outcome)).toEqual(
      views.map(() => OUTCOME_FULL),
    );
    await write([...sorted, { ...newest, createdUs: newest.createdUs + 1, eventUs: newest.eventUs - 3_000_000 }]);
    const later = await materialize({ mode: INCREMENTAL });
    expect(later).toEqual(
      views.map(({ name }) => ({ view: name, outcome: OUTCOME_INCREMENTAL, generation: 3n, rows: 1n })),
    );
    // As created at the very time of the watermark, and long before it.
    for (const createdUs of [newest.createdUs + 1, newest.createdUs - 900e6]) {
      sorted.push({ ...newest, createdUs });
      await write([...sorted, { ...newest, createdUs: newest.createdUs + 1, eventUs: newest.eventUs - 3_000_000 }]);
      const done = await materialize({ mode: INCREMENTAL, views: ["newest"] });
      expect(done.map(({ outcome }) => outcome)).toEqual([OUTCOME_FULL]);
    }
    const list = await handlers.listMaterializations(
      create(feature.ListMaterializationsRequestSchema, { scenario: scenario.name, limit: 2 }),
      context(),
    );
    expect(list.materializations?.map(({ id, mode, state }) => [id, mode, state])).toEqual([
      [4n, INCREMENTAL, feature.Materialization_State.SUCCEEDED],
      [3n, INCREMENTAL, feature.Materialization_State.SUCCEEDED],
    ]);
  });

  test("a corrected row of equal event time wins, whichever way it comes; the oldest of a batch never does", async () => {
    const row = { eventUs: 1_700_000_000_000_000, card: 1n, shop: "s", item: null, good: null };
    const at = (createdUs: number, amount: number): Purchase => ({
      ...row,
      createdUs: row.eventUs + createdUs,
      amount,
    });
    const amountOf = async (service: Awaited<ReturnType<typeof start>>) => {
      const view = service.ingested.find(({ compiled }) => compiled.name === "newest");
      if (view === undefined) throw new Error("there is no such view");
      const batch = new ReadBatch();
      batch.add(view.handle, 1n);
      service.store.get(batch);
      const reading = view.compiled.createReading(["amount"]);
      view.compiled.read(view.compiled.decode(batch.values[0]?.bytes ?? new Uint8Array()), row.eventUs + 50, reading);
      return reading.value(0);
    };
    await write([at(0, 1)]);
    const service = await start();
    await service.materialize();
    await service.push(at(2, 3), at(1, 2));
    expect(await amountOf(service)).toBe(3);
    await service.push(at(1, 9));
    expect(await amountOf(service)).toBe(3);
    await write([at(0, 1), at(4, 5), at(3, 4)]);
    expect((await service.materialize({ mode: INCREMENTAL, views: ["newest"] })).map(({ outcome }) => outcome)).toEqual(
      [OUTCOME_INCREMENTAL],
    );
    expect(await amountOf(service)).toBe(5);
    await service.materialize();
    expect(await amountOf(service)).toBe(5);
    // An older event in a newer file changes nothing.
    await service.push({ ...at(9, 8), eventUs: row.eventUs - 1 });
    expect(await amountOf(service)).toBe(5);
  });

  test("no read is refused or torn while views are materialized, and pushes meanwhile are in both generations", async () => {
    const { purchases } = randomHistory(5, 200);
    const owners = [...new Set(purchases.map(({ card }) => card))];
    // The amount names the load, so that a reader can tell which one answered.
    const load = (amount: number) =>
      purchases.map((purchase) => ({ ...purchase, amount, createdUs: purchase.eventUs }));
    await write(load(1));
    const service = await start();
    await service.materialize();
    const newest = service.ingested.find(({ compiled }) => compiled.name === "newest");
    const pair = service.ingested.find(({ compiled }) => compiled.name === "newest_pair");
    if (newest === undefined || pair === undefined) throw new Error("there are no such views");
    const shops = new Map(purchases.map(({ card, shop }) => [card, shop]));
    let reads = 0;
    const answers = new Set<string>();
    /** One answer over both views and all cards: the amounts in it. */
    const read = () => {
      const batch = new ReadBatch();
      for (const owner of owners) {
        batch.add(newest.handle, owner);
        batch.add(pair.handle, joinKeys([owner, shops.get(owner) ?? ""]));
      }
      service.store.get(batch);
      const amounts = new Set<unknown>();
      for (let place = 0; place < batch.size; place++) {
        const { compiled } = place % 2 === 0 ? newest : pair;
        const reading = compiled.createReading(["amount"]);
        const state = compiled.decode(batch.values[place]?.bytes ?? new Uint8Array());
        compiled.read(state, 2 ** 52, reading);
        compiled.read(state, reading.eventTimeUs, reading);
        amounts.add(reading.value(0));
      }
      reads++;
      answers.add([...amounts].join());
    };
    let isDone = false;
    const extra = { ...(purchases[0] as Purchase), card: 1n, shop: "x", amount: 100 };
    let pushes = 0;
    const pushing = (async () => {
      while (!isDone) {
        await service.push({ ...extra, eventUs: extra.eventUs + pushes, createdUs: extra.eventUs + pushes });
        pushes++;
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    const reader = (async () => {
      while (!isDone) {
        read();
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    for (const amount of [2, 3]) {
      await write(load(amount));
      await service.materialize();
    }
    read();
    isDone = true;
    await Promise.all([pushing, reader]);
    expect([...answers].sort()).toEqual(["1", "2", "3"]);
    expect(reads).toBeGreaterThan(20);
    expect(pushes).toBeGreaterThan(20);
    // What was pushed while it ran is there once: in the generation that readers see and, taken back, in the one before.
    const windows = service.ingested.find(({ compiled }) => compiled.name === "card_windows");
    if (windows === undefined) throw new Error("there is no such view");
    const count = () => {
      const batch = new ReadBatch();
      batch.add(windows.handle, 1n);
      service.store.get(batch);
      const own = windows.compiled.createReading(["n_1h"]);
      const state = windows.compiled.decode(batch.values[0]?.bytes ?? new Uint8Array());
      windows.compiled.read(state, extra.eventUs + pushes, own);
      return own.value(0);
    };
    expect(count()).toBe(BigInt(pushes));
    const rollBack = create(feature.RollBackViewsRequestSchema, { scenario: scenario.name, views: ["card_windows"] });
    await service.handlers.rollBackViews(rollBack, context());
    expect(count()).toBe(BigInt(pushes));
  });

  test("RollBackViews shows what was seen before, with what was pushed since; a repeat that says so is harmless", async () => {
    const { purchases } = randomHistory(8, 30);
    const times = latest(purchases);
    await write(purchases);
    const service = await start();
    await service.materialize();
    const before = await service.seen(times);
    await write(purchases.map((purchase) => ({ ...purchase, amount: 7_777 })));
    await service.materialize();
    expect(await service.seen(times)).not.toEqual(before);
    const generations = Object.fromEntries(views.map(({ name }) => [name, 3n]));
    const request = create(feature.RollBackViewsRequestSchema, { scenario: scenario.name, generations });
    const rolledBack = await service.handlers.rollBackViews(request, context());
    expect(rolledBack.views).toEqual(views.map(({ name }) => ({ view: name, generation: 2n, changed: true })));
    expect(await service.seen(times)).toEqual(before);
    const again = await service.handlers.rollBackViews(request, context());
    expect(again.views).toEqual(views.map(({ name }) => ({ view: name, generation: 2n, changed: false })));
    expect(await service.seen(times)).toEqual(before);
    // An increment builds on the generation that readers see: its watermark, not the newest.
    const increment = await service.materialize({ mode: INCREMENTAL });
    expect(new Set(increment.map(({ outcome }) => outcome))).toEqual(new Set([OUTCOME_FULL]));
    expect(new Set(increment.map(({ generation }) => generation))).toEqual(new Set([4n]));
  });

  test("one that fails or is given up leaves readers what they saw, says why, and drops what it began", async () => {
    const { purchases } = randomHistory(9, 30);
    const times = latest(purchases);
    await write(purchases);
    const service = await start();
    await service.materialize();
    const before = await service.seen(times);
    await write([{ ...(purchases[0] as Purchase), amount: "much" as unknown as number }]);
    await expect(service.materialize()).rejects.toMatchObject({ reason: "SOURCE_ROW_INVALID" });
    await write(purchases);
    const scope = context();
    const request = create(feature.MaterializeRequestSchema, { scenario: scenario.name });
    const given = (async () => {
      for await (const message of service.handlers.materialize(request, scope))
        if ((message.entitiesWritten ?? 0n) > 0n) scope.cancel("cancelled");
    })();
    const error: unknown = await given.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(isWeftError(error)).toBe(false);
    expect(await service.seen(times)).toEqual(before);
    expect(service.catalog.list(scenario.name, 2)).toMatchObject([
      { state: "cancelled" },
      { state: "failed", fault: expect.stringContaining("purchases.csv") },
    ]);
    expect(service.ended.map(({ state }) => state)).toEqual(["succeeded", "failed", "cancelled"]);
    await service.materialize();
    expect(await service.seen(times)).toEqual(before);
  });
});
