import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import { defineEntity, defineFeatureView, defineSource, type Scenario } from "@weft/scenario";
import { createDuckDbStore } from "./adapters/duckdb.ts";
import { LmdbOnlineStore } from "./adapters/lmdb-online-store.ts";
import { SqliteEventLog } from "./adapters/sqlite-event-log.ts";
import { Ingest } from "./domain/ingest/ingest.ts";
import { compileView } from "./domain/views/compile-view.ts";
import { viewId } from "./domain/views/feature-release.ts";
import { openMaterialization } from "./materialization-fixture.ts";

const root = mkdtempSync(join(tmpdir(), "weft-turns-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** CPU time that one turn of the event loop may take from the requests that wait behind it. */
const turnCpuMsMax = 40;
const rows = 150_000;
const keys = 20_000;
const numbers = Array.from({ length: 20 }, (_, index) => `c${index}`);
const startUs = 1_700_000_000_000_000;

function csv(from: number, to: number): string {
  const lines: string[] = [];
  for (let row = from; row < to; row++)
    lines.push(
      `${startUs + row * 1e5},${(row * 7_919) % keys},shop-${row % 997},${numbers.map((_, at) => ((row * 31 + at) % 1_000) / 4).join(",")}`,
    );
  return `${lines.join("\n")}\n`;
}

test(`materializing ${rows} rows of ${numbers.length} columns takes no turn of more than ${turnCpuMsMax} ms of CPU from the requests beside it`, async () => {
  const card = defineEntity({ name: "card", key: "int64" });
  const columns = Object.fromEntries(numbers.map((name) => [name, "float64" as const]));
  const source = defineSource({
    name: "p",
    file: "p.csv",
    eventTime: "time",
    fields: { card: "int64", shop: "string", ...columns },
  });
  const entities = [{ entity: card, field: "card" }];
  const windows = ["1h", "24h", "7d"] as const;
  const features = Object.fromEntries(numbers.map((name) => [name, { type: "float64" as const }]));
  const means = Object.fromEntries(
    numbers.slice(0, 6).map((field) => [`mean_${field}`, { function: "mean" as const, field, windows }]),
  );
  const views = [
    defineFeatureView({ name: "newest", entities, source, features: { shop: { type: "string" }, ...features } }),
    defineFeatureView({
      name: "windows",
      entities,
      source,
      aggregates: {
        n: { function: "count", windows },
        shops: { function: "distinct", field: "shop", windows },
        ...means,
      },
    }),
  ].map((view) => compileView(view));
  mkdirSync(join(root, "offline", "s"), { recursive: true });
  const file = join(root, "offline", "s", "p.csv");
  const header = `time,card,shop,${numbers.join(",")}\n`;

  const store = LmdbOnlineStore.open({ path: join(root, "online"), sizeMaxBytes: 2 ** 32, cacheEntriesMax: 1_000 });
  const log = SqliteEventLog.open({ path: ":memory:", sizeMaxBytes: 1 << 24 });
  const ignore = () => undefined;
  const observer = { accepted: ignore, skipped: ignore, corrupt: ignore, behind: ignore };
  const ingest = new Ingest(log, store, observer, { queueRowsMax: 1_000 });
  for (const compiled of views) {
    const handle = await store.openView(viewId("s", compiled.name, compiled.digest));
    await ingest.addViews([{ scenario: "s", compiled, handle }]);
  }
  const scenario = { name: "s", views: views.map(({ view }) => view) } as unknown as Scenario;
  const release = { id: "r1", scenario, views };
  const offline = createDuckDbStore({
    directory: join(root, "offline"),
    temporaryDirectory: join(root, "temporary"),
    memoryBytesMax: 2 ** 29,
    threads: 1,
  });
  const { materializer } = openMaterialization({ release: () => release, offline, store, ingest });
  const caller = { signal: new AbortController().signal, onCancel: () => () => undefined };

  for (const [mode, until] of [
    ["full", rows],
    ["incremental", rows + 10_000],
  ] as const) {
    writeFileSync(file, header + csv(0, until));
    const slowest: { cpuMs: number; at: string }[] = [];
    let at = "start";
    let isRunning = true;
    const cpuMs = () => {
      const { user, system } = process.threadCpuUsage();
      return (user + system) / 1e3;
    };
    let last = cpuMs();
    const turn = () => {
      const now = cpuMs();
      if (now - last > 5) slowest.push({ cpuMs: Math.round(10 * (now - last)) / 10, at });
      last = now;
      if (isRunning) setImmediate(turn);
    };
    setImmediate(turn);
    for await (const { view, rowsRead, views: done } of materializer.run(release, { views, mode }, caller)) {
      at = `${view} ${rowsRead}`;
      if (done.length > 0) expect(done.map(({ outcome }) => outcome)).toEqual([mode, mode]);
    }
    isRunning = false;
    slowest.sort((a, b) => b.cpuMs - a.cpuMs);
    process.stdout.write(`${mode}: slowest turns ${JSON.stringify(slowest.slice(0, 5))}\n`);
    expect({ mode, slow: slowest.filter((one) => one.cpuMs > turnCpuMsMax) }).toEqual({ mode, slow: [] });
  }
  await store.close();
}, 120_000);
