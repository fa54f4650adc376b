import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, describe, expect, test } from "@jest/globals";
import { eventLogContract } from "../domain/ingest/event-log.contract.ts";
import type { EventLog, PushedEvents } from "../domain/ingest/event-log.ts";
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

let files = 0;
const paths = new WeakMap<EventLog, string>();
const open = (path: string) => {
  const log = SqliteEventLog.open({ path, sizeMaxBytes: 1 << 24 });
  paths.set(log, path);
  return log;
};
eventLogContract(
  "SQLite",
  async () => open(join(root, `${files++}.db`)),
  async (log) => {
    await log.close();
    return open(paths.get(log) ?? "");
  },
);

describe("the event log in SQLite", () => {
  test("opens what an earlier version wrote", async () => {
    const path = join(root, "earlier.db");
    const earlier = new DatabaseSync(path);
    earlier.exec(`CREATE TABLE events ("offset" INTEGER PRIMARY KEY AUTOINCREMENT, scenario TEXT NOT NULL,
      source TEXT NOT NULL, request_id TEXT NOT NULL, payload BLOB NOT NULL, UNIQUE (scenario, source, request_id)) STRICT`);
    earlier.close();
    const log = open(path);
    await log.append([push("1")]);
    expect(await log.read("s", "a", 0, 10)).toHaveLength(1);
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
