import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { feature, registry } from "@weft/contracts";
import { CallScope } from "@weft/rpc";
import { quietTelemetry, seededRandom } from "@weft/testkit";
import { MemoryOnlineStore } from "../adapters/memory-online-store.ts";
import { SqliteEventLog } from "../adapters/sqlite-event-log.ts";
import { Ingest } from "../domain/ingest/ingest.ts";
import {
  type Labelled,
  type OfflineFixture,
  openOfflineFixture,
  type Purchase,
  randomHistory,
  scenario,
} from "../domain/offline/offline-fixture.ts";
import type { OnlineStore } from "../domain/online/online-store.ts";
import { JobTurns } from "../job-turns.ts";
import { openMaterialization, openPushExpectations } from "../materialization-fixture.ts";
import { createMetrics } from "../metrics.ts";
import { createOfflineHandlers } from "../offline-service.ts";
import { loadRelease } from "../releases.ts";
import { createOnlineHandlers } from "../service.ts";

const seed = 20_270;
const cards = 150;
const features = [...new Set(scenario.models.flatMap((model) => model.features))];

let fixture: OfflineFixture;
const closers: (() => Promise<void>)[] = [];

/** The whole service without its process: handlers over real parts. */
async function start(store: OnlineStore) {
  const log = SqliteEventLog.open({ path: ":memory:", sizeMaxBytes: 2 ** 28 });
  const observer = { accepted: () => {}, skipped: () => {}, corrupt: () => {}, behind: () => {} };
  const ingest = new Ingest(log, store, observer, { queueRowsMax: 1_000_000 });
  const release = await loadRelease(
    { release: create(registry.ReleaseSchema, { id: "r1" }), scenario },
    { store, ingest, plansMax: 8 },
  );
  closers.push(async () => {
    await ingest.close();
    await log.close();
    await store.close();
  });
  const limits = {
    rowsMax: 1_000,
    featuresMax: 1_000,
    pushRowsMax: 10_000,
    valueBytesMax: 65_536,
    futureToleranceMs: 0,
  };
  const offlineRelease = () => ({
    id: "r1",
    scenario,
    views: [...release.views.values()].map(({ compiled }) => compiled),
  });
  return {
    ...createOnlineHandlers({
      resolve: () => release,
      store,
      ingest,
      metrics: createMetrics(quietTelemetry().metrics),
      expectations: openPushExpectations().expectations,
      nowUs: () => 2 ** 52,
      limits,
    }),
    ...openMaterialization({ release: offlineRelease, offline: fixture.store, store, ingest }).handlers,
    ...createOfflineHandlers({
      resolve: offlineRelease,
      store: fixture.store,
      begin: () => ingest.beginJob(scenario.name),
      directory: join(fixture.root, "sets"),
      turns: new JobTurns(1),
    }),
  };
}

type Service = Awaited<ReturnType<typeof start>>;

const context = () => new CallScope({ release: "r1" });
const timestamp = (us: number) => ({ seconds: BigInt(Math.floor(us / 1e6)), nanos: (us % 1e6) * 1_000 });
const sameRow = (row: Labelled) => `${row.eventUs}/${row.card}/${row.shop}`;

async function trainingSet(service: Service): Promise<Map<string, Float32Array>> {
  const request = create(feature.BuildTrainingSetRequestSchema, { scenario: scenario.name, trainingSet: "labelled" });
  let uri = "";
  let columns: readonly string[] = [];
  for await (const message of service.buildTrainingSet(request, context())) {
    if (message.done === true) [uri, columns] = [message.uri ?? "", message.columns ?? []];
  }
  const rows = await fixture.readParquet(
    fileURLToPath(uri),
    columns.map((name) => ({
      name,
      type: name === "event_time" ? "count" : name === "card" ? "int64" : name === "shop" ? "string" : "float64",
    })),
  );
  const places = features.map((name) => columns.indexOf(name));
  const vectors = new Map<string, Float32Array>();
  for (const row of rows) {
    const [eventUs, card, shop] = ["event_time", "card", "shop"].map((name) => row[columns.indexOf(name)]);
    vectors.set(
      `${eventUs}/${card}/${shop}`,
      Float32Array.from(places, (place) => Number(row[place] ?? Number.NaN)),
    );
  }
  return vectors;
}

async function push(service: Service, purchases: readonly Purchase[], requestId: string): Promise<void> {
  const { NULL, PRESENT } = feature.FeatureStatus;
  const nullable = (values: readonly unknown[]) => values.map((value) => (value === null ? NULL : PRESENT));
  const times = (name: string, values: number[]) => ({
    name,
    values: { case: "int64s" as const, value: { values: values.map(BigInt) } },
  });
  const [amounts, items, goods] = [
    purchases.map(({ amount }) => amount),
    purchases.map(({ item }) => item),
    purchases.map(({ good }) => good),
  ];
  const answer = await service.push(
    create(feature.PushRequestSchema, {
      scenario: scenario.name,
      source: "purchases",
      requestId,
      columns: [
        times(
          "at",
          purchases.map(({ eventUs }) => eventUs),
        ),
        times(
          "known_at",
          purchases.map(({ createdUs }) => createdUs),
        ),
        { name: "card", values: { case: "int64s", value: { values: purchases.map(({ card }) => card) } } },
        { name: "shop", values: { case: "strings", value: { values: purchases.map(({ shop }) => shop) } } },
        {
          name: "amount",
          values: { case: "float64s", value: { values: amounts.map((x) => x ?? 0) } },
          statuses: nullable(amounts),
        },
        {
          name: "item",
          values: { case: "int64s", value: { values: items.map((x) => x ?? 0n) } },
          statuses: nullable(items),
        },
        {
          name: "good",
          values: { case: "bools", value: { values: goods.map((x) => x ?? false) } },
          statuses: nullable(goods),
        },
      ],
    }),
    context(),
  );
  expect(answer).toMatchObject({ acceptedCount: purchases.length, duplicate: false });
}

/** Vectors that are served as of a time. */
async function served(service: Service, rows: readonly Labelled[], asOfUs: number): Promise<Float32Array[]> {
  const amounts = rows.map(({ amount }) => amount);
  const answer = await service.getOnlineFeatures(
    create(feature.GetOnlineFeaturesRequestSchema, {
      scenario: scenario.name,
      features,
      layout: feature.GetOnlineFeaturesRequest_Layout.MATRIX,
      asOf: timestamp(asOfUs),
      entities: [
        { entity: "card", integers: rows.map(({ card }) => card) },
        { entity: "shop", texts: rows.map(({ shop }) => shop) },
      ],
      requestFeatures: [
        {
          name: "amount",
          values: { case: "float64s", value: { values: amounts.map((amount) => amount ?? 0) } },
          statuses: amounts.map((amount) =>
            amount === null ? feature.FeatureStatus.NULL : feature.FeatureStatus.PRESENT,
          ),
        },
      ],
    }),
    context(),
  );
  const bytes = answer.matrix?.values ?? new Uint8Array(0);
  const values = new Float32Array(bytes.slice().buffer);
  return rows.map((_, row) => values.slice(row * features.length, (row + 1) * features.length));
}

/** Throws where a bit differs; answers the values compared. */
function compare(
  how: string,
  rows: readonly Labelled[],
  vectors: readonly Float32Array[],
  expected: ReadonlyMap<string, Float32Array>,
): number {
  for (const [index, row] of rows.entries()) {
    const [is, should] = [vectors[index], expected.get(sameRow(row))];
    for (const [column, name] of features.entries()) {
      if (!Object.is(is?.[column], should?.[column])) {
        throw new Error(
          `seed ${seed}, ${sameRow(row)}, ${name}: ${how} gives ${is?.[column]}, the training set ${should?.[column]}`,
        );
      }
    }
  }
  return rows.length * features.length;
}

/** A store to prove, opened empty. */
export interface ProvenStore {
  readonly name: string;
  open(): OnlineStore | Promise<OnlineStore>;
}

/**
 * The same random history gives the same bits from files, from pushes in any order, from both, and in the training set.
 * `closed` is called at the end, when the stores are closed.
 */
export function parityContract(stores: readonly ProvenStore[], closed: () => Promise<void>): void {
  beforeAll(async () => {
    fixture = await openOfflineFixture();
  });
  afterAll(async () => {
    for (const close of closers) await close();
    await fixture.close();
    await closed();
  });

  describe(`one history gives one vector, bit by bit (seed ${seed})`, () => {
    const history = randomHistory(seed, cards);
    const timesUs = [...new Set(history.timesUs)].sort((a, b) => a - b);
    const random = seededRandom(seed);
    const shuffled = [...history.purchases].sort(() => random() - 0.5);
    const rowsAt = (timeUs: number) => history.labels.filter(({ eventUs }) => eventUs === timeUs);
    let expected: Map<string, Float32Array>;

    beforeAll(async () => {
      await fixture.write(history);
      expected = await trainingSet(await start(new MemoryOnlineStore()));
      expect(expected.size).toBe(history.labels.length);
    });

    for (const { name, open } of stores) {
      test(`materialized from files, in ${name}`, async () => {
        const service = await start(await open());
        await fixture.write(history);
        let compared = 0;
        for (const timeUs of timesUs) {
          const request = { scenario: scenario.name, endTime: timestamp(timeUs) };
          for await (const _ of service.materialize(create(feature.MaterializeRequestSchema, request), context()));
          const vectors = await served(service, rowsAt(timeUs), timeUs);
          compared += compare("materialization", rowsAt(timeUs), vectors, expected);
        }
        expect(compared).toBe(history.labels.length * features.length);
      });

      test(`pushed in any order, in ${name}`, async () => {
        const service = await start(await open());
        let before = Number.NEGATIVE_INFINITY;
        for (const timeUs of timesUs) {
          const fresh = shuffled.filter(({ createdUs }) => createdUs > before && createdUs <= timeUs);
          for (let start = 0; start < fresh.length; start += 97) {
            await push(service, fresh.slice(start, start + 97), `${timeUs}-${start}`);
          }
          compare("the stream", rowsAt(timeUs), await served(service, rowsAt(timeUs), timeUs), expected);
          before = timeUs;
        }
      });

      test(`half from files, half pushed before and after materialization, in ${name}`, async () => {
        const service = await start(await open());
        const timeUs = timesUs[timesUs.length >> 1] ?? 0;
        const known = shuffled.filter(({ createdUs }) => createdUs <= timeUs);
        const part = Math.ceil(known.length / 3);
        await fixture.write({ ...history, purchases: known.slice(0, part) });
        await push(service, known.slice(part, 2 * part), "before");
        for await (const _ of service.materialize(
          create(feature.MaterializeRequestSchema, { scenario: scenario.name }),
          context(),
        ));
        await push(service, known.slice(2 * part), "after");
        compare("the mixture", rowsAt(timeUs), await served(service, rowsAt(timeUs), timeUs), expected);

        const again = await trainingSet(service);
        const rows = rowsAt(timeUs);
        const vectors = rows.map((row) => again.get(sameRow(row)) ?? new Float32Array());
        compare("the training set with pushed rows", rows, vectors, expected);
      });
    }
  });
}
