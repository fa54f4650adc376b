import { describe, expect, test } from "@jest/globals";
import { defineEntity, defineFeatureView, defineSource } from "@weft/scenario";
import { seededRandom } from "@weft/testkit";
import { MemoryOnlineStore } from "../../adapters/memory-online-store.ts";
import { SqliteEventLog } from "../../adapters/sqlite-event-log.ts";
import { type AppliedOffset, type Mutation, ReadBatch } from "../online/online-store.ts";
import { compileView } from "../views/compile-view.ts";
import { Ingest } from "./ingest.ts";
import type { RefusedEvent } from "./quarantine.ts";
import { StreamIngest } from "./stream-ingest.ts";
import type { StreamLog, StreamMessage, StreamPartition } from "./stream-log.ts";

const nowUs = 1_700_000_000_000_000;
const topic = "payments";
const card = defineEntity({ name: "card", key: "int64" });
const compiled = compileView(
  defineFeatureView({
    name: "activity",
    entities: [{ entity: card, field: "card" }],
    source: defineSource({
      name: "payments",
      file: "payments.csv",
      topic,
      eventTime: "time",
      fields: { card: "int64", amount: "float64" },
    }),
    aggregates: {
      n: { function: "count", windows: ["1d"] },
      total: { function: "sum", field: "amount", windows: ["1d"] },
    },
  }),
);

/** A log in memory that fails, hands partitions to somebody else, and repeats itself, as it is told. */
class ScriptedLog implements StreamLog {
  readonly partitions: StreamMessage[][] = [[], [], []];
  readonly random: () => number;
  isAway = false;
  firstKept = 1;

  constructor(random: () => number) {
    this.random = random;
  }

  async follow(): Promise<void> {
    if (this.isAway || this.random() < 0.1) throw new Error("the log is away");
  }

  assigned(): readonly StreamPartition[] {
    return this.partitions.flatMap((_, partition) => (this.random() < 0.8 ? [{ topic, partition }] : []));
  }

  async read(positions: readonly (StreamPartition & { readonly after: number })[]) {
    await new Promise((resolve) => setImmediate(resolve));
    if (this.random() < 0.1) throw new Error("the log is away");
    return positions.map(({ partition, after }) => {
      const all = this.partitions[partition] ?? [];
      const from = Math.max(after, this.firstKept - 1);
      const messages = all.filter(({ offset }) => offset > from).slice(0, 1 + Math.floor(this.random() * 5));
      const until = messages.at(-1)?.offset ?? from;
      return { topic, partition, messages, until, end: all.length, lost: from - after };
    });
  }

  async report(): Promise<void> {}
  async close(): Promise<void> {}
}

class FailingStore extends MemoryOnlineStore {
  isFailing = () => false;
  override async write(mutations: readonly Mutation[], offsets?: readonly AppliedOffset[]): Promise<void> {
    if (this.isFailing()) throw new Error("the store is away");
    return super.write(mutations, offsets);
  }
}

async function follow(log: ScriptedLog, store: MemoryOnlineStore) {
  const ignore = () => undefined;
  const ingest = new Ingest(
    SqliteEventLog.open({ path: ":memory:", sizeMaxBytes: 1 << 24 }),
    store,
    { accepted: ignore, skipped: ignore, corrupt: ignore, behind: ignore },
    { queueRowsMax: 10 },
  );
  const view = { scenario: "s", compiled, handle: await store.openView("s/activity") };
  await ingest.addViews([view]);
  const refused = new Map<string, RefusedEvent>();
  const lags = new Map<number, number>();
  const seen = { lost: 0, failed: 0, pauses: 0 };
  const streams = new StreamIngest(log, {
    ingest,
    bounds: { valueBytesMax: 100, futureToleranceUs: 0 },
    observer: {
      applied: ignore,
      lag: (_topic, partition, messages) => lags.set(partition, messages),
      lost: (_topic, messages) => {
        seen.lost += messages;
      },
      failed: () => {
        seen.failed++;
      },
    },
    refuse: async (events) => {
      for (const event of events) refused.set(event.origin, event);
    },
    nowUs: () => nowUs,
    pause: () => {
      seen.pauses++;
      return new Promise((resolve) => setImmediate(resolve));
    },
  });
  streams.start();
  const counts = async () => {
    const batch = new ReadBatch();
    for (let key = 0; key < 5; key++) batch.add(view.handle, BigInt(key));
    await store.get(batch);
    const reading = compiled.createReading();
    return batch.values.slice(0, batch.size).map((stored) => {
      compiled.read(stored === undefined ? undefined : compiled.decode(stored.bytes), nowUs, reading);
      return [...reading.numbers];
    });
  };
  const until = async (isDone: () => boolean) => {
    for (let turn = 0; !isDone(); turn++) {
      if (turn > 20_000) throw new Error("it does not come to an end");
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { streams, refused, lags, seen, counts, until };
}

const message = (offset: number, text: string): StreamMessage => ({
  offset,
  value: new TextEncoder().encode(text),
  timeUs: nowUs - 1_000,
});

describe("following a stream", () => {
  test("random outages of log and store, partitions that come and go, poison: every event is in once", async () => {
    for (let seed = 0; seed < 40; seed++) {
      const random = seededRandom(seed);
      const log = new ScriptedLog(random);
      const store = new FailingStore();
      store.isFailing = () => random() < 0.1;
      const expected = Array.from({ length: 5 }, () => [0, 0]);
      let poison = 0;
      for (const messages of log.partitions)
        for (let offset = 1; offset <= 30; offset++) {
          if (random() < 0.1) {
            poison++;
            messages.push(message(offset, "{"));
            continue;
          }
          const key = Math.floor(random() * 5);
          const own = expected[key] ?? [];
          own[0] = (own[0] ?? 0) + 1;
          own[1] = (own[1] ?? 0) + offset;
          messages.push(message(offset, JSON.stringify({ time: nowUs - 1_000, card: key, amount: offset })));
        }
      const { streams, refused, lags, counts, until } = await follow(log, store);
      await until(() => lags.size === 3 && [...lags.values()].every((lag) => lag === 0));
      await streams.close();
      expect({ seed, counts: await counts(), poison: refused.size }).toEqual({ seed, counts: expected, poison });
      for (const { reason, content } of refused.values())
        expect([reason, content.kind]).toEqual(["MESSAGE_UNREADABLE", "message"]);
    }
  });

  test("messages that the log has thrown away are told, and what is left goes on", async () => {
    const log = new ScriptedLog(() => 0.5);
    log.firstKept = 4;
    for (let offset = 1; offset <= 6; offset++)
      log.partitions[0]?.push(message(offset, JSON.stringify({ time: nowUs - 1_000, card: 1, amount: 1 })));
    const { streams, seen, lags, counts, until } = await follow(log, new MemoryOnlineStore());
    await until(() => lags.get(0) === 0);
    await streams.close();
    expect((await counts())[1]).toEqual([3, 3]);
    expect(seen.lost).toBeGreaterThanOrEqual(3);
  });

  test("it waits between tries while the log is away, and ends when it is told to", async () => {
    const log = new ScriptedLog(() => 0.5);
    log.isAway = true;
    const { streams, seen, until } = await follow(log, new MemoryOnlineStore());
    await until(() => seen.failed >= 5);
    await streams.close();
    expect(seen.pauses).toBeGreaterThanOrEqual(seen.failed - 1);
  });
});
