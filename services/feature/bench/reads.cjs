// Measures one read of GetOnlineFeatures' work in this process, without transport: `node services/feature/bench/reads.cjs`
// after a build. Prints microseconds of CPU a request, median and best of several rounds; of CPU, so that what else the
// machine does matters less.
const { mkdtempSync, rmSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { feature } = require("@weft/contracts");
const { create } = require("@bufbuild/protobuf");
const scenarioApi = require("@weft/scenario");
const { createMetrics: createTelemetryMetrics } = require("@weft/telemetry");
const { LmdbOnlineStore } = require("../dist/adapters/lmdb-online-store.js");
const { MemoryOnlineStore } = require("../dist/adapters/memory-online-store.js");
const { compileView } = require("../dist/domain/compile-view.js");
const { FeatureRelease, viewId } = require("../dist/domain/feature-release.js");
const { createMetrics } = require("../dist/metrics.js");
const { createOnlineHandlers } = require("../dist/service.js");

const { defineEntity, defineFeatureView, defineSource, defineTransform } = scenarioApi;
const nowUs = 1_700_000_000_000_000;
const cards = 100_000;
const items = 2_000;

function fieldView(name, entity, count) {
  const fields = Object.fromEntries(Array.from({ length: count }, (_, i) => [`${name}_${i}`, "float32"]));
  const source = defineSource({ name, file: `${name}.csv`, eventTime: "time", fields: { key: entity.key, ...fields } });
  const features = Object.fromEntries(Object.keys(fields).map((field) => [field, { type: "float32" }]));
  return defineFeatureView({ name, entities: [{ entity, field: "key" }], source, ttl: "365d", features });
}

function windowView(name, entity) {
  const source = defineSource({
    name,
    file: `${name}.csv`,
    eventTime: "time",
    fields: { key: entity.key, amount: "float64", terminal: "int64" },
  });
  const windows = ["1m", "5m", "1h", "24h"];
  return defineFeatureView({
    name,
    entities: [{ entity, field: "key" }],
    source,
    aggregates: { n: { function: "count", windows }, total: { function: "sum", field: "amount", windows } },
  });
}

async function fill(store, views, random) {
  const planned = [];
  for (const { view, keys } of views) {
    const compiled = compileView(view);
    const handle = await store.openView(viewId("bench", view.name, compiled.digest));
    const mutations = [];
    for (let key = 0; key < keys; key++) {
      const state = compiled.emptyState();
      const events = compiled.kind === "windows" ? 1 + Math.floor(random() * 8) : 1;
      for (let e = 0; e < events; e++) {
        const time = nowUs - Math.floor(random() * 86_400e6);
        const values = compiled.fields.map(({ type }) =>
          type === "int64" ? BigInt(key) : type === "string" ? `k${key}` : random() * 100,
        );
        state.apply({ eventTimeUs: time, createdTimeUs: time, values });
      }
      const bytes = state.encode();
      mutations.push({ view: handle, key: BigInt(key), merge: () => bytes });
    }
    await store.write(mutations);
    planned.push({ compiled, handle, version: "1" });
  }
  return planned;
}

function measure(name, handlers, request, repeat, rounds = 15) {
  const times = [];
  for (let round = 0; round < rounds; round++) {
    const start = process.cpuUsage();
    for (let i = 0; i < repeat; i++) handlers.getOnlineFeatures(request(round * repeat + i), { release: "" });
    const { user, system } = process.cpuUsage(start);
    times.push((user + system) / repeat);
  }
  times.sort((a, b) => a - b);
  console.log(`${name.padEnd(58)} median ${times[rounds >> 1].toFixed(2)} us, best ${times[0].toFixed(2)} us`);
}

async function main() {
  let seed = 1;
  const random = () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return seed / 2 ** 32;
  };
  const card = defineEntity({ name: "card", key: "int64" });
  const user = defineEntity({ name: "user", key: "int64" });
  const item = defineEntity({ name: "item", key: "int64" });
  const views = [
    { view: windowView("card_activity", card), keys: cards },
    { view: fieldView("card_profile", card, 6), keys: cards },
    { view: fieldView("card_risk", card, 4), keys: cards },
    { view: fieldView("user_profile", user, 20), keys: items },
    { view: windowView("user_activity", user), keys: items },
    { view: fieldView("item_profile", item, 40), keys: items },
    { view: fieldView("item_stats", item, 40), keys: items },
    { view: windowView("item_activity", item), keys: items },
    { view: fieldView("merchant", card, 5), keys: cards },
    { view: fieldView("device", card, 7), keys: cards },
  ];
  const ratio = defineTransform({
    name: "ratio",
    inputs: { hour: "card_activity:n_1h", day: "card_activity:n_24h", amount: "request:amount" },
    outputs: { share: "float32", large: "float32" },
    compute: ({ hour, day, amount }) => ({
      share: Number(hour ?? 0) / Math.max(1, Number(day ?? 0)),
      large: amount !== null && amount > 100 ? 1 : 0,
    }),
  });
  const refs = (...names) =>
    views
      .filter(({ view }) => names.includes(view.name))
      .flatMap(({ view }) => scenarioApi.featureNamesOf(view).map(({ name }) => `${view.name}:${name}`));
  const cardRefs = refs("card_activity", "card_profile", "card_risk", "merchant", "device");
  const models = [
    { name: "score", features: cardRefs },
    { name: "score_transformed", features: [...cardRefs, "ratio:share", "ratio:large", "request:amount"] },
    { name: "rank", features: refs("user_profile", "user_activity", "item_profile", "item_stats", "item_activity") },
  ];
  const scenario = {
    name: "bench",
    views: views.map(({ view }) => view),
    transforms: [ratio],
    models,
    request: { amount: "float64" },
  };
  const metrics = createMetrics(createTelemetryMetrics({ processMetrics: false }));
  const folder = mkdtempSync(join(tmpdir(), "weft-bench-"));
  const stores = [
    ["memory", new MemoryOnlineStore()],
    [
      "LMDB, cache",
      LmdbOnlineStore.open({ path: join(folder, "a"), sizeMaxBytes: 2 ** 32, cacheEntriesMax: 2_000_000 }),
    ],
    ["LMDB, no cache", LmdbOnlineStore.open({ path: join(folder, "b"), sizeMaxBytes: 2 ** 32, cacheEntriesMax: 0 })],
  ];
  for (const [name, store] of stores) {
    const release = new FeatureRelease("bench-1", scenario, await fill(store, views, random), { plansMax: 8 });
    const handlers = createOnlineHandlers({
      resolve: () => release,
      store,
      ingest: undefined,
      metrics,
      nowUs: () => nowUs,
      limits: { rowsMax: 1_000, featuresMax: 2_000, pushRowsMax: 1, valueBytesMax: 1_000, futureToleranceMs: 0 },
    });
    const matrix = (featureService, entities, requestFeatures = []) =>
      create(feature.GetOnlineFeaturesRequestSchema, {
        scenario: "bench",
        featureService,
        entities,
        requestFeatures,
        layout: feature.GetOnlineFeaturesRequest_Layout.MATRIX,
      });
    const amount = [{ name: "amount", values: { case: "float64s", value: { values: [12.5] } } }];
    const singles = (service, fields) =>
      Array.from({ length: 1_000 }, () =>
        matrix(service, [{ entity: "card", integers: [BigInt(Math.floor(random() * cards))] }], fields),
      );
    const one = singles("score");
    const oneTransformed = singles("score_transformed", amount);
    const many = Array.from({ length: 50 }, () =>
      matrix("rank", [
        { entity: "user", integers: [BigInt(Math.floor(random() * items))] },
        { entity: "item", integers: Array.from({ length: 100 }, () => BigInt(Math.floor(random() * items))) },
      ]),
    );
    measure(
      `${name}: 1 row x ${release.service("score").columns.length}, 5 views`,
      handlers,
      (i) => one[i % 1_000],
      20_000,
    );
    measure(
      `${name}: 1 row x ${release.service("score_transformed").columns.length}, 5 views and a transform`,
      handlers,
      (i) => oneTransformed[i % 1_000],
      20_000,
    );
    measure(
      `${name}: 100 rows x ${release.service("rank").columns.length}, 5 views`,
      handlers,
      (i) => many[i % 50],
      400,
    );
    await store.close();
  }
  rmSync(folder, { recursive: true, force: true });
}

void main();
