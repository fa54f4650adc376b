import { join } from "node:path";
import { defineEntity, defineFeatureView, defineSource } from "@weft/scenario";
import { compileView } from "../domain/compile-view.ts";
import { Ingest } from "../domain/ingest.ts";
import { LmdbOnlineStore } from "./lmdb-online-store.ts";
import { SqliteEventLog } from "./sqlite-event-log.ts";

const card = defineEntity({ name: "card", key: "int64" });
const source = defineSource({ name: "events", file: "events.csv", eventTime: "time", fields: { card: "int64" } });

/** The view that the crash test counts events with. */
export const counted = compileView(
  defineFeatureView({
    name: "counted",
    entities: [{ entity: card, field: "card" }],
    source,
    aggregates: { n: { function: "count", windows: ["90d"] } },
  }),
);

/** Opens log, store and ingestion over a folder, with the log replayed. */
export async function openIngest(path: string) {
  const log = SqliteEventLog.open({ path: join(path, "events.db"), sizeMaxBytes: 1 << 28 });
  const store = LmdbOnlineStore.open({ path: join(path, "online"), sizeMaxBytes: 1 << 28, cacheEntriesMax: 100 });
  const ignore = () => undefined;
  const observer = { accepted: ignore, skipped: ignore, corrupt: ignore, behind: ignore };
  const ingest = new Ingest(log, store, observer, { queueRowsMax: 1_000 });
  const view = { scenario: "s", compiled: counted, handle: await store.openView("s/counted") };
  await ingest.addViews([view]);
  return { log, store, ingest, view };
}

/** Pushes until it is killed: push n says so once it is acknowledged. */
async function main(path: string): Promise<void> {
  const { log, ingest } = await openIngest(path);
  const push = async (n: number) => {
    const row = { eventTimeUs: 1_700_000_000_000_000 + n, createdTimeUs: 0, values: [1n] };
    await ingest.push({
      scenario: "s",
      source: "events",
      requestId: `${n}`,
      receivedUs: n,
      fields: ["card"],
      rows: [row],
    });
    process.stdout.write(`${n}\n`);
  };
  for (let n = (await log.endOffset()) + 1; ; n += 3) await Promise.all([push(n), push(n + 1), push(n + 2)]);
}

if (require.main === module) void main(process.argv[2] ?? "");
