import { renameSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { defineEntity, defineFeatureView, defineSource, type Scenario } from "@weft/scenario";
import { createDuckDbStore } from "./adapters/duckdb.ts";
import { LmdbOnlineStore } from "./adapters/lmdb-online-store.ts";
import { SqliteEventLog } from "./adapters/sqlite-event-log.ts";
import { SqliteMaterializationCatalog } from "./adapters/sqlite-materialization-catalog.ts";
import { Ingest, type IngestedView } from "./domain/ingest/ingest.ts";
import { ReadBatch } from "./domain/online/online-store.ts";
import { compileView } from "./domain/views/compile-view.ts";
import { viewId } from "./domain/views/feature-release.ts";
import { JobTurns } from "./job-turns.ts";
import { Materializer } from "./materializer.ts";
import { beginOfflineJob } from "./releases.ts";

const card = defineEntity({ name: "card", key: "int64" });
const source = defineSource({
  name: "payments",
  file: "payments.csv",
  eventTime: "time",
  createdTime: "known",
  fields: { card: "int64", amount: "float64" },
});
const entities = [{ entity: card, field: "card" }];
const views = [
  defineFeatureView({ name: "newest", entities, source, features: { amount: { type: "float64" } } }),
  defineFeatureView({ name: "counted", entities, source, aggregates: { n: { function: "count", windows: ["90d"] } } }),
].map((view) => compileView(view));
/** Only what materialization looks at. */
const scenario = { name: "s", views: views.map(({ view }) => view) } as unknown as Scenario;
const release = { id: "r1", scenario, views };
const startUs = 1_700_000_000_000_000;
const readUs = startUs + 86_400_000_000;

/** Keys of the file; keys that are pushed are above. */
export const fileKeys = Array.from({ length: 150 }, (_, index) => BigInt(index));
export const pushedKeys = Array.from({ length: 10 }, (_, index) => BigInt(1_000 + index));

/** Puts version n of the file in place: an odd one has one row a key and replaces what was there, an even one adds a row a key to it. */
export function writeVersion(path: string, version: number): void {
  const rows = (of: number) => fileKeys.map((key) => `${startUs + of},${startUs + 1_000 * of},${key},${of}`).join("\n");
  const text = version % 2 === 1 ? rows(version) : `${rows(version - 1)}\n${rows(version)}`;
  const file = join(path, "offline", scenario.name, source.file);
  writeFileSync(`${file}.new`, `time,known,card,amount\n${text}\n`);
  renameSync(`${file}.new`, file);
}

/** A feature service's stores over a folder, as they are opened after a crash: with the log caught up. */
export async function openService(path: string) {
  await mkdir(join(path, "offline", scenario.name), { recursive: true });
  const log = SqliteEventLog.open({ path: join(path, "events.db"), sizeMaxBytes: 1 << 28 });
  const store = LmdbOnlineStore.open({ path: join(path, "online"), sizeMaxBytes: 1 << 28, cacheEntriesMax: 100 });
  const catalog = SqliteMaterializationCatalog.open(join(path, "materializations.db"));
  const offline = createDuckDbStore({
    directory: join(path, "offline"),
    temporaryDirectory: join(path, "temporary"),
    memoryBytesMax: 1 << 28,
    threads: 1,
  });
  const ignore = () => undefined;
  const observer = { accepted: ignore, skipped: ignore, corrupt: ignore, behind: ignore };
  const ingest = new Ingest(log, store, observer, { queueRowsMax: 1_000 });
  const ingested: IngestedView[] = [];
  for (const compiled of views) {
    const handle = await store.openView(viewId(scenario.name, compiled.name, compiled.digest));
    ingested.push({ scenario: scenario.name, compiled, handle });
  }
  await ingest.addViews(ingested);
  const materializer = new Materializer({
    store: offline,
    catalog,
    begin: (of) => beginOfflineJob(of, { store, ingest, catalog }),
    turns: new JobTurns(1),
    observer: { ended: ignore, validated: ignore, published: ignore },
    nowUs: () => Math.round((performance.timeOrigin + performance.now()) * 1_000),
    pause: () => new Promise((resolve) => setImmediate(resolve)),
  });
  const caller = { signal: new AbortController().signal, onCancel: () => () => undefined };
  const readings = views.map((view) => view.createReading());
  return {
    log,
    store,
    catalog,
    /** One answer over all keys and both views: the amount and the count of each key. */
    read(keys: readonly bigint[]): { amounts: number[]; counts: number[] } {
      const batch = new ReadBatch();
      for (const { handle } of ingested) for (const key of keys) batch.add(handle, key);
      store.get(batch);
      const numbers = Array.from({ length: batch.size }, (_, place) => {
        const at = Math.floor(place / keys.length);
        const { [at]: view } = views;
        const { [at]: reading } = readings;
        const stored = batch.values[place];
        if (view === undefined || reading === undefined) throw new RangeError("there are two views");
        view.read(stored === undefined ? undefined : view.decode(stored.bytes), readUs, reading);
        return reading.numbers[0] ?? Number.NaN;
      });
      return { amounts: numbers.slice(0, keys.length), counts: numbers.slice(keys.length) };
    },
    push(n: number): Promise<boolean> {
      const key = pushedKeys[n % pushedKeys.length] ?? 0n;
      const rows = [{ eventTimeUs: startUs + n, createdTimeUs: startUs + n, values: [key, n] }];
      const fields = ["card", "amount"];
      return ingest.push({ scenario: "s", source: "payments", requestId: `${n}`, receivedUs: startUs, fields, rows });
    },
    async materialize(begins: () => void): Promise<void> {
      const request = { views, mode: "incremental" } as const;
      let isLoaded = false;
      for await (const { view, rowsRead, rowsTotal, done } of materializer.run(release, request, caller)) {
        if (done || isLoaded || view !== "counted" || rowsRead < rowsTotal) continue;
        isLoaded = true;
        begins();
      }
    },
    async resume(): Promise<number> {
      const interrupted = catalog.interrupted();
      await materializer.resume(release, interrupted, caller);
      return interrupted.length;
    },
    async close(): Promise<void> {
      await ingest.close();
      await store.close();
      await log.close();
      catalog.close();
    },
  };
}

/** Whether an answer is of one version of the file: its amounts, and the counts that go with them. */
export function versionOf({ amounts, counts }: { amounts: number[]; counts: number[] }): number | undefined {
  const version = amounts[0] ?? Number.NaN;
  const rows = Number.isNaN(version) ? 0 : version % 2 === 1 ? 1 : 2;
  const isOne = amounts.every((amount) => Object.is(amount, version)) && counts.every((count) => count === rows);
  return isOne ? (Number.isNaN(version) ? 0 : version) : undefined;
}

/** Pushes, reads and materializes one version of the file after another until it is killed; says what is done. */
async function main(path: string, from: number): Promise<void> {
  const service = await openService(path);
  let acknowledged = await service.log.endOffset();
  const pushing = async () => {
    for (let n = acknowledged + 1; ; n++) {
      await service.push(n);
      acknowledged = n;
      process.stdout.write(`pushed ${n}\n`);
    }
  };
  const reading = async () => {
    for (;;) {
      const answer = service.read(fileKeys);
      if (versionOf(answer) === undefined) process.stdout.write(`wrong ${JSON.stringify(answer)}\n`);
      // What is acknowledged is visible, in whichever generation answers.
      const counted = service.read(pushedKeys).counts.reduce((sum, count) => sum + count, 0);
      if (counted < acknowledged) process.stdout.write(`wrong ${counted} of ${acknowledged}\n`);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  void pushing();
  void reading();
  await service.resume();
  for (let version = from; ; version++) {
    writeVersion(path, version);
    await service.materialize(() => process.stdout.write("publishing\n"));
    process.stdout.write(`published ${version}\n`);
  }
}

if (require.main === module) void main(process.argv[2] ?? "", Number(process.argv[3]));
