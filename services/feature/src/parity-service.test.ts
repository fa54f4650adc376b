import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { feature, registry } from "@weft/contracts";
import { isWeftError } from "@weft/errors";
import { clientOf, quietTelemetry, seededRandom } from "@weft/testkit";
import { MemoryOnlineStore } from "./adapters/memory-online-store.ts";
import { SqliteEventLog } from "./adapters/sqlite-event-log.ts";
import { Ingest } from "./domain/ingest/ingest.ts";
import {
  type OfflineFixture,
  openOfflineFixture,
  type Purchase,
  randomHistory,
  scenario,
} from "./domain/offline/offline-fixture.ts";
import type { FeatureRelease } from "./domain/views/feature-release.ts";
import { JobTurns } from "./job-turns.ts";
import { createParityHandlers } from "./parity-service.ts";
import { loadRelease } from "./releases.ts";

const seed = 20_290;
const model = scenario.models[0]?.name ?? "";
const references = scenario.models[0]?.features ?? [];
const newest = references.indexOf("newest_pair:amount");
const secondUs = 1_000_000;

let fixture: OfflineFixture;
beforeAll(async () => {
  fixture = await openOfflineFixture();
});
afterAll(() => fixture.close());

/** A moment at which rows came in together. */
interface Arrival {
  readonly atUs: number;
  readonly rows: readonly Purchase[];
}

/** Online and offline half over the same event log, with a clock that the test sets. */
async function start() {
  const store = new MemoryOnlineStore();
  const log = SqliteEventLog.open({ path: ":memory:", sizeMaxBytes: 2 ** 28 });
  const observer = { accepted: () => {}, skipped: () => {}, corrupt: () => {}, behind: () => {} };
  const ingest = new Ingest(log, store, observer, { queueRowsMax: 1_000_000 });
  const release = await loadRelease(
    { release: create(registry.ReleaseSchema, { id: "r1" }), scenario },
    { store, ingest, plansMax: 8 },
  );
  const unused = () => Promise.reject(new Error("not called"));
  const client = clientOf(
    feature.FeatureService,
    {
      getOnlineFeatures: unused,
      push: unused,
      listEntityKeys: unused,
      getDefinitions: unused,
      rollBackViews: unused,
      listQuarantine: unused,
      resolveQuarantine: unused,
      listMaterializations: unused,
      getValidationReport: unused,
      async *materialize() {},
      async *buildTrainingSet() {},
      ...createParityHandlers({
        resolve: () => ({
          id: release.id,
          scenario,
          views: [...release.views.values()].map(({ compiled }) => compiled),
        }),
        store: fixture.store,
        pushed: async ({ scenario: own }) => (await ingest.beginJob(own.name)).pushed,
        turns: new JobTurns(1),
      }),
    },
    quietTelemetry(),
  );
  return {
    store,
    release,
    check: (init: Parameters<typeof checkRequest>[0]) => client.checkParity(checkRequest(init)),
    async push({ atUs, rows }: Arrival) {
      await ingest.push({
        scenario: scenario.name,
        source: "purchases",
        requestId: `${atUs}`,
        receivedUs: atUs,
        fields: ["card", "shop", "amount", "item", "good"],
        rows: rows.map(({ eventUs, createdUs, card, shop, amount, item, good }) => ({
          eventTimeUs: eventUs,
          createdTimeUs: createdUs,
          values: [card, shop, amount, item, good],
        })),
      });
    },
    async close() {
      await ingest.close();
      await log.close();
      await store.close();
    },
  };
}

type Service = Awaited<ReturnType<typeof start>>;

interface Check {
  readonly vectors: readonly feature.ServedVector[];
  readonly tolerances?: { type: string; tolerance: number }[];
  readonly settleMs?: number;
}

/** Vectors in several messages, as a caller sends them. */
async function* checkRequest({ vectors, tolerances = [], settleMs = 0 }: Check) {
  const settle = { seconds: BigInt(Math.floor(settleMs / 1_000)), nanos: (settleMs % 1_000) * 1_000_000 };
  const parts = Math.max(1, Math.ceil(vectors.length / 100));
  for (let part = 0; part < parts; part++)
    yield {
      ...(part === 0 ? { scenario: scenario.name, featureService: model, tolerances, settle } : {}),
      vectors: vectors.slice(100 * part, 100 * (part + 1)),
    };
}

/** Reads as serving does, and keeps what the prediction log keeps. */
async function serve(
  { release, store }: { readonly release: FeatureRelease; readonly store: MemoryOnlineStore },
  ask: { readonly card: bigint; readonly shop: string; readonly amount: number | null },
  eventUs: number,
  readUs: number,
): Promise<feature.ServedVector> {
  const plan = release.service(model);
  const run = plan.acquire();
  run.rows = 1;
  plan.entities.forEach(({ name }, index) => {
    run.keys[index] = [name === "card" ? ask.card : ask.shop];
  });
  plan.fields.forEach((_, index) => {
    run.fields[index] = [ask.amount];
  });
  await plan.fetch(run, store);
  const values = new Float32Array(references.length);
  const statuses = new Uint8Array(references.length);
  plan.toMatrix(run, eventUs, values, statuses);
  plan.release(run);
  return create(feature.ServedVectorSchema, {
    id: `${readUs}/${ask.card}`,
    entities: { card: String(ask.card), shop: ask.shop, other: "ignored" },
    request: {
      amount: { kind: ask.amount === null ? { case: undefined } : { case: "number", value: ask.amount } },
    },
    eventTimeUs: BigInt(eventUs),
    readTimeUs: BigInt(readUs),
    values: new Uint8Array(values.buffer),
    statuses,
  });
}

/** Half of a history in files and materialized, the rest as arrivals, some of them much later than they were known. */
async function splitHistory(service: Service, caseSeed: number, cards: number) {
  const history = randomHistory(caseSeed, cards);
  const random = seededRandom(caseSeed + 1);
  const old = history.purchases.filter(() => random() < 0.5);
  await fixture.write({ purchases: old, labels: [] });
  const startUs = Math.min(...history.timesUs);
  const before = old.map((purchase) => ({ ...purchase, knownUs: Math.max(purchase.eventUs, purchase.createdUs) }));
  const byTime = new Map<number, Purchase[]>();
  const oldSet = new Set(old);
  for (const purchase of history.purchases) {
    if (oldSet.has(purchase)) continue;
    const late = random() < 0.3 ? Math.floor(random() * 900) * secondUs : 0;
    const atUs = Math.max(purchase.eventUs, purchase.createdUs) + late + 17;
    byTime.set(atUs, [...(byTime.get(atUs) ?? []), purchase]);
  }
  const arrivals = [...byTime].map(([atUs, rows]) => ({ atUs, rows })).sort((a, b) => a.atUs - b.atUs);
  return { history, arrivals, before, startUs, random, service };
}

/** Loads rows of the files into the online store, as a materialization up to a time does. */
async function materializeUntil(
  { release, store }: Pick<Service, "release" | "store">,
  rows: readonly (Purchase & { readonly knownUs: number })[],
  fromUs: number,
  untilUs: number,
): Promise<void> {
  for (const { knownUs, eventUs, createdUs, card, shop, amount, item, good } of rows) {
    if (knownUs <= fromUs || knownUs > untilUs) continue;
    for (const { compiled, handle } of release.views.values()) {
      const row = { eventTimeUs: eventUs, createdTimeUs: createdUs, values: [card, shop, amount, item, good] };
      const key = compiled.keyOf(row);
      if (key === undefined) continue;
      await store.write([
        {
          view: handle,
          key,
          merge(current) {
            const state = current === undefined ? compiled.emptyState() : compiled.decode(current);
            return state.apply(row) ? state.encode() : undefined;
          },
        },
      ]);
    }
  }
}

/** Serves vectors while rows come in; what comes in after the last one is pushed too, or not. */
async function serveThrough(service: Service, caseSeed: number, cards: number, pushesRest = true) {
  const { history, arrivals, before, random } = await splitHistory(service, caseSeed, cards);
  const vectors: feature.ServedVector[] = [];
  const asks = history.labels.filter(() => random() < 0.5).sort((a, b) => a.eventUs - b.eventUs);
  let arrived = 0;
  let doneUs = Number.NEGATIVE_INFINITY;
  for (const ask of asks) {
    const readUs = ask.eventUs + Math.floor(random() * 3);
    for (let next = arrivals[arrived]; next !== undefined && next.atUs <= readUs; next = arrivals[++arrived])
      await service.push(next);
    await materializeUntil(service, before, doneUs, ask.eventUs);
    doneUs = Math.max(doneUs, ask.eventUs);
    vectors.push(await serve(service, ask, ask.eventUs, readUs));
  }
  if (pushesRest) for (const late of arrivals.slice(arrived)) await service.push(late);
  return vectors;
}

const sum = (features: readonly feature.FeatureParity[], of: (one: feature.FeatureParity) => bigint) =>
  Number(features.reduce((total, one) => total + of(one), 0n));

describe(`parity of served vectors (seed ${seed})`, () => {
  test("what was served while rows came in, late ones too, is what the offline store gives, to the bit", async () => {
    let values = 0;
    for (let index = 0; index < 4; index++) {
      const service = await start();
      const vectors = await serveThrough(service, seed + 10 * index, 60);
      const report = await service.check({ vectors });
      await service.close();
      expect(report.differences).toEqual([]);
      expect(report).toMatchObject({ releaseId: "r1", comparedCount: BigInt(vectors.length), incompleteCount: 0n });
      expect(report.features.map(({ reference }) => reference)).toEqual(references);
      values += sum(report.features, ({ matching }) => matching);
      expect(
        sum(report.features, ({ missing, extra, different, inFlight }) => missing + extra + different + inFlight),
      ).toBe(0);
    }
    expect(values).toBeGreaterThan(10_000);
  });

  test("a row that came in after the read does not count, and near it counts as in flight", async () => {
    const service = await start();
    const { history, arrivals } = await splitHistory(service, seed + 1, 2);
    await fixture.write({ purchases: [], labels: [] });
    const [ask] = history.labels;
    const [purchase] = arrivals.flatMap(({ rows }) => rows);
    if (ask === undefined || purchase === undefined) throw new Error("the history is empty");
    const own = {
      ...purchase,
      card: ask.card,
      shop: ask.shop,
      eventUs: ask.eventUs - 5,
      createdUs: ask.eventUs - 5,
      amount: 3,
    };
    const readUs = ask.eventUs + 100;
    const vector = await serve(service, ask, ask.eventUs, readUs);
    await service.push({ atUs: readUs + 200, rows: [own] });
    expect((await service.check({ vectors: [vector] })).differences).toEqual([]);
    // Read 300 us later by the log's word, the row should have been there.
    const later = { ...vector, readTimeUs: BigInt(readUs + 300) };
    const missed = await service.check({ vectors: [later] });
    expect(missed.differences).toContainEqual(
      expect.objectContaining({ id: vector.id, reference: "newest_pair:amount", recomputed: 3, inFlight: false }),
    );
    const near = await service.check({ vectors: [later], settleMs: 1 });
    expect(sum(near.features, ({ inFlight }) => inFlight)).toBe(missed.differences.length);
    expect(sum(near.features, ({ missing, extra, different }) => missing + extra + different)).toBe(0);
    expect(near.differences.every(({ inFlight }) => inFlight)).toBe(true);
    await service.close();
  });

  test("a read as of a time before rows that had come in counts as hindsight, where it disagrees", async () => {
    const service = await start();
    await fixture.write({ purchases: [], labels: [] });
    const { history } = await splitHistory(service, seed + 5, 1);
    await fixture.write({ purchases: [], labels: [] });
    const ask = history.labels[0];
    if (ask === undefined) throw new Error("the history is empty");
    const bought = (eventUs: number, amount: number): Purchase => ({
      ...ask,
      eventUs,
      createdUs: eventUs,
      amount,
      item: 1n,
      good: true,
    });
    const [first, second] = [ask.eventUs - 2 * secondUs, ask.eventUs];
    await service.push({ atUs: second + 1, rows: [bought(first, 1), bought(second, 2)] });
    const past = await serve(service, ask, first + secondUs, second + 5 * secondUs);
    const report = await service.check({ vectors: [past] });
    expect(
      sum(report.features, ({ missing, extra, different, inFlight }) => missing + extra + different + inFlight),
    ).toBe(0);
    expect(report.differences).toContainEqual(
      expect.objectContaining({ reference: "newest_pair:amount", recomputed: 1, served: -1, hindsight: true }),
    );
    const now = await serve(service, ask, second + secondUs, second + 6 * secondUs);
    expect((await service.check({ vectors: [now] })).differences).toEqual([]);
    await service.close();
  });

  test("a value that was changed online is found", async () => {
    const service = await start();
    const before = await serveThrough(service, seed + 2, 30, false);
    const view = service.release.view("newest_pair");
    const rows = before.flatMap(({ entities, eventTimeUs, readTimeUs }) => {
      const { card = "", shop = "" } = entities;
      return [{ card: BigInt(card), shop, amount: 1, eventUs: Number(eventTimeUs), readUs: Number(readTimeUs) }];
    });
    const ask = rows.at(-1);
    if (ask === undefined) throw new Error("nothing was served");
    // Written past the event log, as a faulty writer would.
    const row = { eventTimeUs: ask.eventUs, createdTimeUs: ask.eventUs, values: [ask.card, ask.shop, 77, 1n, true] };
    const key = view.compiled.keyOf(row);
    if (key === undefined) throw new Error("the row has no key");
    await service.store.write([
      {
        view: view.handle,
        key,
        merge() {
          const state = view.compiled.emptyState();
          state.apply(row);
          return state.encode();
        },
      },
    ]);
    const corrupt = await serve(service, ask, ask.eventUs, ask.readUs);
    const report = await service.check({ vectors: [...before.slice(0, -1), corrupt] });
    expect(report.differences.map(({ id, reference, served }) => ({ id, reference, served }))).toEqual([
      { id: corrupt.id, reference: "newest_pair:amount", served: 77 },
    ]);
    const faulty = report.features.filter(({ missing, extra, different }) => missing + extra + different > 0n);
    expect(faulty).toMatchObject([{ reference: "newest_pair:amount" }]);
    await service.close();
  });

  test("tells missing, extra and different apart, and tolerates what it is told to", async () => {
    const service = await start();
    const vectors = (await serveThrough(service, seed + 3, 30)).slice(0, 20);
    const changed = (change: (values: Float32Array) => void) =>
      vectors.map((vector) => {
        const values = new Float32Array(vector.values.slice().buffer);
        change(values);
        return { ...vector, values: new Uint8Array(values.buffer) };
      });
    const sumOf = references.indexOf("request:amount");
    const nudged = changed((values) => {
      values[sumOf] = (values[sumOf] ?? 0) * (1 + 2 ** -20);
    });
    const strict = (await service.check({ vectors: nudged })).features[sumOf];
    const close = (await service.check({ vectors: nudged, tolerances: [{ type: "float64", tolerance: 1e-5 }] }))
      .features[sumOf];
    expect(Number(strict?.different)).toBeGreaterThan(10);
    expect(strict?.relativeErrorMax).toBeLessThan(1e-5);
    expect(strict?.absoluteErrorMax).toBeGreaterThan(0);
    expect(close).toMatchObject({ different: 0n, type: "float64", matching: 20n });
    const gone = (await service.check({ vectors: changed((values) => values.fill(Number.NaN)) })).features[newest];
    expect(Number(gone?.missing) + Number(gone?.matching)).toBe(20);
    expect(Number(gone?.missing)).toBeGreaterThan(0);
    const away = vectors.map((vector) => ({
      ...vector,
      values: new Uint8Array(new Float32Array(references.length).fill(Number.NaN).buffer),
      statuses: new Uint8Array(references.length).fill(feature.FeatureStatus.UNAVAILABLE),
    }));
    const unreachable = await service.check({ vectors: away });
    expect(sum(unreachable.features, ({ missing, extra, different }) => missing + extra + different)).toBe(0);
    expect(sum(unreachable.features, ({ unavailable }) => unavailable)).toBeGreaterThan(20);
    const over = references.indexOf("ratio:over");
    const there = (await service.check({ vectors: changed((values) => values.fill(5)) })).features[over];
    expect(Number(there?.extra) + Number(there?.different) + Number(there?.matching)).toBe(20);
    await service.close();
  });

  test("counts vectors that cannot be recomputed, and refuses faulty ones", async () => {
    const service = await start();
    const [vector] = await serveThrough(service, seed + 4, 5);
    if (vector === undefined) throw new Error("nothing was served");
    const { shop: _, ...cardOnly } = vector.entities;
    const incomplete = [
      { ...vector, entities: cardOnly },
      { ...vector, request: {} },
    ];
    const report = await service.check({ vectors: [...incomplete, vector] });
    expect(report).toMatchObject({ comparedCount: 1n, incompleteCount: 2n });
    const reasons: unknown[] = [];
    const attempts: Check[] = [
      { vectors: [{ ...vector, values: new Uint8Array(8) }] },
      { vectors: [{ ...vector, entities: { ...vector.entities, card: "9223372036854775808" } }] },
      { vectors: [vector], tolerances: [{ type: "text", tolerance: 1 }] },
      { vectors: [vector], tolerances: [{ type: "float64", tolerance: Number.NaN }] },
      { vectors: [{ ...vector, eventTimeUs: 2n ** 60n }] },
    ];
    for (const attempt of attempts)
      reasons.push(
        await service.check(attempt).then(
          () => undefined,
          (error: unknown) => (isWeftError(error) ? error.reason : error),
        ),
      );
    expect(reasons).toEqual([
      "REQUEST_INVALID",
      "KEY_INVALID",
      "REQUEST_INVALID",
      "REQUEST_INVALID",
      "REQUEST_INVALID",
    ]);
    await service.close();
  });
});
