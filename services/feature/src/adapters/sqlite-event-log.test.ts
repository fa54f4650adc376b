import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "@jest/globals";
import type { PushedEvents } from "../domain/event-log.ts";
import { SqliteEventLog } from "./sqlite-event-log.ts";

const root = mkdtempSync(join(tmpdir(), "weft-log-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const push = (requestId: string, source = "a", size = 1): PushedEvents => ({
  scenario: "s",
  source,
  requestId,
  receivedUs: 1_700_000_000_223_456,
  fields: ["key", "text", "list", "bytes"],
  rows: Array.from({ length: size }, (_, index) => ({
    eventTimeUs: 1_700_000_000_123_456 + index,
    createdTimeUs: 5,
    values: [9_007_199_254_740_993n, "ü", [1n, 2n], Uint8Array.of(1, 2)],
  })),
});

describe("the event log in SQLite", () => {
  test("keeps pushes in order by source, across a restart, with every value as it was", async () => {
    const path = join(root, "order.db");
    const log = SqliteEventLog.open({ path, sizeMaxBytes: 1 << 24 });
    expect(await log.endOffset()).toBe(0);
    expect(await log.append([push("1"), push("2", "b"), push("3", "a", 2)])).toEqual([
      { offset: 1, duplicate: false },
      { offset: 2, duplicate: false },
      { offset: 3, duplicate: false },
    ]);
    await log.close();
    const again = SqliteEventLog.open({ path, sizeMaxBytes: 1 << 24 });
    expect(await again.endOffset()).toBe(3);
    expect(await again.read("s", "a", 0, 10)).toEqual([
      { ...push("1"), offset: 1 },
      { ...push("3", "a", 2), offset: 3 },
    ]);
    expect((await again.read("s", "a", 1, 10)).map(({ offset }) => offset)).toEqual([3]);
    expect((await again.read("s", "a", 0, 1)).map(({ offset }) => offset)).toEqual([1]);
    expect(await again.read("other", "a", 0, 10)).toEqual([]);
    await again.close();
  });

  test("appends a request id once a source", async () => {
    const log = SqliteEventLog.open({ path: ":memory:", sizeMaxBytes: 1 << 24 });
    await log.append([push("x")]);
    expect(await log.append([push("x"), push("x", "b"), push("y"), push("y")])).toMatchObject([
      { offset: 1, duplicate: true },
      { duplicate: false },
      { duplicate: false },
      { duplicate: true },
    ]);
    await log.close();
  });

  test("full: a clear error, nothing of the request kept, and what was there can be read", async () => {
    const log = SqliteEventLog.open({ path: join(root, "full.db"), sizeMaxBytes: 200_000 });
    let kept = 0;
    const fill = async () => {
      while (kept < 1_000) {
        await log.append([push(`fill ${kept}`, "a", 50)]);
        kept++;
      }
    };
    await expect(fill()).rejects.toMatchObject({ reason: "EVENT_LOG_FULL", code: 8 });
    await expect(log.append([push("small", "b"), push("large", "a", 5_000)])).rejects.toMatchObject({
      reason: "EVENT_LOG_FULL",
    });
    expect(await log.read("s", "b", 0, 10)).toEqual([]);
    expect((await log.read("s", "a", 0, 10_000)).length).toBe(kept);
    await log.close();
  });
});
