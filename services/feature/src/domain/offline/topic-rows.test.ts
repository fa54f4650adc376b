import { describe, expect, test } from "@jest/globals";
import { defineEntity, defineFeatureView, defineSource } from "@weft/scenario";
import type { StreamBatch, StreamLog, StreamMessage } from "../ingest/stream-log.ts";
import { compileView } from "../views/compile-view.ts";
import type { PushedPart } from "./offline-store.ts";
import { withTopicRows } from "./topic-rows.ts";

const source = defineSource({
  name: "payments",
  file: "payments.csv",
  topic: "paid",
  eventTime: "time",
  createdTime: "known",
  fields: { card: "string", amount: "float64" },
});
const view = compileView(
  defineFeatureView({
    name: "activity",
    entities: [{ entity: defineEntity({ name: "card", key: "string" }), field: "card" }],
    source,
    aggregates: { n: { function: "count", windows: ["1d"] } },
  }),
);

const encoder = new TextEncoder();
const message = (offset: number, timeUs: number, value: unknown): StreamMessage => ({
  offset,
  timeUs,
  value: value === undefined ? undefined : encoder.encode(typeof value === "string" ? value : JSON.stringify(value)),
});
const paid = (offset: number, timeUs: number, card = "a") =>
  message(offset, timeUs, { time: offset, card, amount: offset / 2 });

/** A log of partitions that answers `most` messages of each at a time; a partition that is stuck never answers. */
function fakeLog(partitions: readonly StreamMessage[][], most = 2, stuck = -1) {
  const seen = { reads: 0, closed: 0, topics: [] as readonly string[] };
  const log: StreamLog = {
    async follow(topics) {
      seen.topics = topics;
    },
    assigned: () => partitions.map((_, partition) => ({ topic: "paid", partition })),
    async read(positions) {
      seen.reads++;
      return positions.flatMap(({ topic, partition, after }): StreamBatch[] => {
        if (partition === stuck) return [];
        const all = partitions[partition] ?? [];
        const messages = all.filter(({ offset }) => offset > after).slice(0, most);
        // Somebody goes on writing while it is read.
        all.push(paid((all.at(-1)?.offset ?? 0) + 1, 99));
        return [
          {
            topic,
            partition,
            messages,
            until: messages.at(-1)?.offset ?? after,
            end: all.at(-2)?.offset ?? 0,
            lost: 0,
          },
        ];
      });
    },
    async report() {},
    async close() {
      seen.closed++;
    },
  };
  return { log, seen };
}

async function collect(log: StreamLog, from = source): Promise<PushedPart[]> {
  const found: PushedPart[] = [];
  const rows = withTopicRows(
    async function* () {
      yield { rows: [{ eventTimeUs: 1, createdTimeUs: 1, values: ["pushed", 0] }], receivedUs: 5 };
    },
    { open: () => log, views: [view], bounds: { valueBytesMax: 100, futureToleranceUs: 0 }, nowUs: () => 1_000 },
  );
  for await (const part of rows(from)) found.push(part);
  return found;
}

describe("rows of topics, offline", () => {
  test("come after what was pushed, up to what there was, with the time of their stamp", async () => {
    const { log, seen } = fakeLog([
      [paid(1, 10), paid(2, 10), paid(4, 11), paid(5, 12)],
      [],
      [message(1, 20, { time: 7, known: 15, card: "b" })],
    ]);
    const found = await collect(log);
    expect(found[0]?.receivedUs).toBe(5);
    const rows = found
      .slice(1)
      .flatMap(({ rows: own, receivedUs }) =>
        own.map(({ eventTimeUs, createdTimeUs, values }) => [receivedUs, eventTimeUs, createdTimeUs, ...values]),
      );
    expect(rows).toEqual([
      [10, 1, 10, "a", 0.5],
      [10, 2, 10, "a", 1],
      [20, 7, 15, "b", null],
      [11, 4, 11, "a", 2],
      [12, 5, 12, "a", 2.5],
    ]);
    expect(seen).toMatchObject({ closed: 1, topics: ["paid"] });
  });

  test("leave out what is no event online either", async () => {
    const { log } = fakeLog([
      [
        message(1, 10, "not JSON"),
        message(2, 10, undefined),
        paid(3, 10, ""),
        message(4, 10, { card: "a" }),
        paid(5, 10),
      ],
    ]);
    const found = await collect(log);
    expect(found.slice(1).flatMap(({ rows }) => rows.map(({ eventTimeUs }) => eventTimeUs))).toEqual([5]);
  });

  test("a source without a topic needs no log", async () => {
    const { log, seen } = fakeLog([]);
    const { topic: _, ...plain } = source;
    expect(await collect(log, plain)).toHaveLength(1);
    expect(seen.closed).toBe(0);
  });

  test("a partition that cannot be read ends the job instead of leaving rows out", async () => {
    const { log, seen } = fakeLog([[paid(1, 10)], [paid(1, 10)]], 2, 1);
    await expect(collect(log)).rejects.toMatchObject({ reason: "TOPIC_UNREADABLE" });
    expect(seen.closed).toBe(1);
    expect(seen.reads).toBeLessThan(100);
    await expect(collect(fakeLog([]).log)).rejects.toMatchObject({ reason: "TOPIC_UNREADABLE" });
  });
});
