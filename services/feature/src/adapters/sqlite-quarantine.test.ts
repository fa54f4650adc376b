import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "@jest/globals";
import type { RefusedEvent } from "../domain/ingest/quarantine.ts";
import { SqliteQuarantine } from "./sqlite-quarantine.ts";

const root = mkdtempSync(join(tmpdir(), "weft-quarantine-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const event = (origin: string, reason = "VALUE_OUT_OF_RANGE", source = "payments"): RefusedEvent => ({
  scenario: "s",
  source,
  reason,
  detail: 'field "amount" is above its range',
  origin,
  content: {
    kind: "row",
    fields: ["card", "amount", "blob"],
    row: { eventTimeUs: 5, createdTimeUs: 6, values: [9_007_199_254_740_993n, 1e9, Uint8Array.of(1)] },
  },
});

const open = (bounds: Partial<Parameters<typeof SqliteQuarantine.open>[0]> = {}) =>
  SqliteQuarantine.open({
    path: ":memory:",
    eventsMax: 1_000,
    sizeMaxBytes: 1 << 20,
    contentMaxBytes: 4_096,
    ...bounds,
  });

describe("the quarantine in SQLite", () => {
  test("keeps events with reason and content, once an origin, across a restart", async () => {
    const path = join(root, "kept.db");
    const quarantine = open({ path });
    expect(await quarantine.add([event("push/1/0"), event("push/1/1"), event("push/1/0")], 100)).toBe(2);
    const message: RefusedEvent = {
      ...event("kafka/t/0/7", "MESSAGE_UNREADABLE"),
      content: { kind: "message", bytes: Uint8Array.of(1, 2) },
    };
    expect(await quarantine.add([event("push/1/1"), message], 200)).toBe(1);
    await quarantine.close();
    const again = open({ path });
    const all = await again.list({ scenario: "s", source: "payments" }, 0, 10);
    expect(all).toEqual([
      { id: 1, timeUs: 100, ...event("push/1/0") },
      { id: 2, timeUs: 100, ...event("push/1/1") },
      { id: expect.any(Number), timeUs: 200, ...message },
    ]);
    expect(await again.list({ scenario: "s", source: "payments", reason: "MESSAGE_UNREADABLE" }, 0, 10)).toHaveLength(
      1,
    );
    expect(await again.list({ scenario: "s", source: "payments" }, 1, 1)).toMatchObject([{ id: 2 }]);
    expect(await again.list({ scenario: "s", source: "other" }, 0, 10)).toEqual([]);
    expect(await again.summarize("s")).toEqual([
      {
        scenario: "s",
        source: "payments",
        reason: "MESSAGE_UNREADABLE",
        count: 1,
        kept: 1,
        firstTimeUs: 200,
        lastTimeUs: 200,
      },
      {
        scenario: "s",
        source: "payments",
        reason: "VALUE_OUT_OF_RANGE",
        count: 2,
        kept: 2,
        firstTimeUs: 100,
        lastTimeUs: 100,
      },
    ]);
    await again.close();
  });

  test("full: the oldest go, the counts stay", async () => {
    const quarantine = open({ eventsMax: 3 });
    for (let n = 0; n < 10; n++) await quarantine.add([event(`push/${n}/0`)], n);
    const kept = await quarantine.list({ scenario: "s", source: "payments" }, 0, 100);
    expect(kept.map(({ origin }) => origin)).toEqual(["push/7/0", "push/8/0", "push/9/0"]);
    expect(await quarantine.summarize("s")).toMatchObject([{ count: 10, kept: 3, firstTimeUs: 0, lastTimeUs: 9 }]);
    const small = open({ sizeMaxBytes: 2_000 });
    for (let n = 0; n < 50; n++) await small.add([event(`push/${n}/0`)], n);
    const [summary] = await small.summarize("s");
    expect(summary?.kept).toBeGreaterThan(1);
    expect(summary?.kept).toBeLessThan(8);
  });

  test("an event that is too large is kept without its content", async () => {
    const quarantine = open();
    const large: RefusedEvent = { ...event("kafka/t/0/1"), content: { kind: "message", bytes: new Uint8Array(5_000) } };
    await quarantine.add([large], 1);
    expect(await quarantine.list({ scenario: "s", source: "payments" }, 0, 1)).toMatchObject([{ content: undefined }]);
  });

  test("removed events are gone and make room", async () => {
    const quarantine = open({ eventsMax: 2 });
    await quarantine.add([event("push/1/0"), event("push/2/0")], 1);
    expect(await quarantine.remove([1, 1, 77])).toBe(1);
    expect(await quarantine.add([event("push/1/0")], 2)).toBe(1);
    const kept = await quarantine.list({ scenario: "s", source: "payments" }, 0, 10);
    expect(kept.map(({ origin }) => origin)).toEqual(["push/2/0", "push/1/0"]);
    expect(await quarantine.summarize("s")).toMatchObject([{ count: 3, kept: 2 }]);
  });
});
