import { join } from "node:path";
import { defineEntity, defineFeatureView, defineSource } from "@weft/scenario";
import type { EventLog, LoggedEvents, PushedEvents } from "../domain/ingest/event-log.ts";
import { Ingest } from "../domain/ingest/ingest.ts";
import { compileView } from "../domain/views/compile-view.ts";
import type { CompiledView } from "../domain/views/view-state.ts";
import { LmdbOnlineStore } from "./lmdb-online-store.ts";
import { SqliteEventLog } from "./sqlite-event-log.ts";

const card = defineEntity({ name: "card", key: "int64" });

/** A view that counts events and adds up what they carry. */
function counting(name: string, topic?: string): CompiledView {
  const source = defineSource({
    name,
    file: `${name}.csv`,
    ...(topic === undefined ? {} : { topic }),
    eventTime: "time",
    fields: { card: "int64", amount: "float64" },
  });
  return compileView(
    defineFeatureView({
      name,
      entities: [{ entity: card, field: "card" }],
      source,
      aggregates: {
        n: { function: "count", windows: ["90d"] },
        total: { function: "sum", field: "amount", windows: ["90d"] },
      },
    }),
  );
}

/** Fed by pushes. */
export const pushedView = counting("pushed");
/** Fed from a partition of a topic. */
export const streamedView = counting("streamed", "topic");
/** The partition. */
export const stream = { topic: "topic", partition: 0 };
/** Keys that there are. */
export const cards = 7;
/** When all events have happened. */
export const readUs = 1_700_000_100_000_000;

/** Rows of event n, of one to three cards; the same whenever they are asked for. */
function rowsOf(n: number) {
  return Array.from({ length: 1 + (n % 3) }, (_, index) => ({
    eventTimeUs: 1_700_000_000_000_000 + n,
    createdTimeUs: 0,
    values: [BigInt((n * 3 + index) % cards), n],
  }));
}

const fields = ["card", "amount"];

function pushOf(n: number): PushedEvents {
  return { scenario: "s", source: "pushed", requestId: `${n}`, receivedUs: 0, fields, rows: rowsOf(n) };
}

/** Count and sum of each card after events 1 to n. */
export function expectedAfter(n: number): number[][] {
  const expected = Array.from({ length: cards }, () => [0, 0]);
  for (let event = 1; event <= n; event++)
    for (const { values } of rowsOf(event)) {
      const own = expected[Number(values[0])] ?? [];
      own[0] = (own[0] ?? 0) + 1;
      own[1] = (own[1] ?? 0) + event;
    }
  return expected;
}

/** Opens log, store and ingestion over a folder, with the log replayed. */
export async function openIngest(path: string) {
  const log = SqliteEventLog.open({ path: join(path, "events.db"), sizeMaxBytes: 1 << 28 });
  const store = LmdbOnlineStore.open({ path: join(path, "online"), sizeMaxBytes: 1 << 28, cacheEntriesMax: 100 });
  const ignore = () => undefined;
  const observer = { accepted: ignore, skipped: ignore, corrupt: ignore, behind: ignore };
  const ingest = new Ingest(log, store, observer, { queueRowsMax: 1_000 });
  const pushed = { scenario: "s", compiled: pushedView, handle: await store.openView("s/pushed") };
  const streamed = { scenario: "s", compiled: streamedView, handle: await store.openView("s/streamed") };
  await ingest.addViews([pushed, streamed]);
  return { log, store, ingest, pushed, streamed };
}

/** Pushes in the log, which are 1 to n: they are appended in this order, each batch whole or not at all. */
export async function durablePushes(log: EventLog): Promise<number> {
  const pushes = await log.read("s", "pushed", 0, 1_000_000);
  pushes.forEach(({ requestId }, index) => {
    if (requestId !== `${index + 1}`) throw new Error(`push ${requestId} is in the log at place ${index + 1}`);
  });
  return pushes.length;
}

/** Pushes, and follows the partition, until it is killed. Push n says so once it is acknowledged. */
async function main(path: string): Promise<void> {
  const { log, ingest } = await openIngest(path);
  const push = async (n: number) => {
    await ingest.push(pushOf(n));
    process.stdout.write(`${n}\n`);
  };
  const follow = async () => {
    while (true) {
      const position = (await ingest.streamPosition(stream)) ?? 0;
      // As a consumer that was cut short: some of what it reads has been applied.
      const first = Math.max(1, position - 2);
      const events = Array.from({ length: 8 }, (_, index): LoggedEvents => {
        const offset = first + index;
        return { ...pushOf(offset), source: "streamed", offset };
      });
      await ingest.applyStream(stream, events, first + events.length - 1);
    }
  };
  void follow();
  // As a caller who got no answer: the last pushes again.
  for (let n = Math.max(1, (await durablePushes(log)) - 4); ; n += 3)
    await Promise.all([push(n), push(n + 1), push(n + 2)]);
}

if (require.main === module) void main(process.argv[2] ?? "");
