// Measures ingestion in this process, without transport: pushes of 500 rows into an event log (SQLite) and an online store
// (LMDB) with a view of five windows and three functions. `node services/feature/bench/ingest.cjs` after a build.
const { mkdtempSync, rmSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { defineEntity, defineFeatureView, defineSource } = require("@weft/scenario");
const { LmdbOnlineStore } = require("../dist/adapters/lmdb-online-store.js");
const { SqliteEventLog } = require("../dist/adapters/sqlite-event-log.js");
const { compileView } = require("../dist/domain/compile-view.js");
const { Ingest } = require("../dist/domain/ingest.js");

async function measure(keys) {
  const folder = mkdtempSync(join(tmpdir(), "weft-bench-"));
  const card = defineEntity({ name: "card", key: "int64" });
  const source = defineSource({
    name: "events",
    file: "e.csv",
    eventTime: "time",
    fields: { card: "int64", amount: "float64" },
  });
  const windows = ["1m", "5m", "1h", "6h", "24h"];
  const compiled = compileView(
    defineFeatureView({
      name: "activity",
      entities: [{ entity: card, field: "card" }],
      source,
      aggregates: {
        n: { function: "count", windows },
        total: { function: "sum", field: "amount", windows },
        most: { function: "max", field: "amount", windows },
      },
    }),
  );
  const log = SqliteEventLog.open({ path: join(folder, "events.db"), sizeMaxBytes: 2 ** 34 });
  const store = LmdbOnlineStore.open({ path: join(folder, "online"), sizeMaxBytes: 2 ** 34, cacheEntriesMax: 200_000 });
  const ignore = () => undefined;
  const ingest = new Ingest(
    log,
    store,
    { accepted: ignore, skipped: ignore, corrupt: ignore, behind: ignore },
    { queueRowsMax: 1e6 },
  );
  await ingest.addViews([{ scenario: "s", compiled, handle: await store.openView("s/activity") }]);
  let seed = 1;
  const random = () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return seed / 2 ** 32;
  };
  let time = 1_700_000_000_000_000;
  let id = 0;
  const push = () => {
    const rows = Array.from({ length: 500 }, () => {
      time += 20_000;
      return { eventTimeUs: time, createdTimeUs: time, values: [BigInt(Math.floor(random() * keys)), random() * 100] };
    });
    return ingest.push({ scenario: "s", source: "events", requestId: String(id++), fields: ["card", "amount"], rows });
  };
  const events = 200_000;
  const start = performance.now();
  const cpu = process.cpuUsage();
  for (let sent = 0; sent < events; sent += 4_000) await Promise.all(Array.from({ length: 8 }, push));
  const { user, system } = process.cpuUsage(cpu);
  const seconds = (performance.now() - start) / 1e3;
  console.log(
    `${keys} keys: ${Math.round(events / seconds)} events/s, ${((user + system) / events).toFixed(1)} us of CPU an event`,
  );
  await ingest.close();
  await log.close();
  await store.close();
  rmSync(folder, { recursive: true, force: true });
}

void (async () => {
  for (const keys of [1_000, 10_000, 100_000]) await measure(keys);
})();
