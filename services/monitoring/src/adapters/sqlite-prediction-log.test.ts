import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "@jest/globals";
import { floatBytes, pack, prediction, releaseParts, startUs } from "../domain/prediction-fixture.ts";
import { predictionLogContract } from "../domain/prediction-log.contract.ts";
import { SqlitePredictionLog } from "./sqlite-prediction-log.ts";

const directory = mkdtempSync(join(tmpdir(), "weft-prediction-log-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
let files = 0;
const nextPath = () => join(directory, `log-${files++}.sqlite`);
const open = (path: string, over: { hardLimitBytes?: number; layoutsMax?: number } = {}) =>
  SqlitePredictionLog.open({ path, synchronous: "normal", hardLimitBytes: 1e9, layoutsMax: 100, ...over });

predictionLogContract({ name: "sqlite", open: async () => open(nextPath()) });

describe("sqlite prediction log", () => {
  test("holds everything after it is opened again", async () => {
    const path = nextPath();
    const log = open(path);
    await log.putRelease(releaseParts());
    await log.append(pack(prediction("a"), prediction("b", { releaseId: "fraud-2" })), 7);
    await log.appendLabels("fraud", [{ requestId: "b", item: "", value: 1, labelTimeUs: 5 }], 8);
    await log.appendLabels("fraud", [{ requestId: "c", item: "", value: 1, labelTimeUs: 5 }], 9);
    const before = [await log.scan(0, 10), await log.releases(""), await log.releaseParts()];
    const usage = await log.usage();
    await log.close();

    const again = open(path);
    expect([await again.scan(0, 10), await again.releases(""), await again.releaseParts()]).toEqual(before);
    expect(await again.usage()).toEqual({ ...usage, sizeBytes: expect.any(Number) });
    expect((await again.append(pack(prediction("a"), prediction("c")), 10)).joinedCount).toBe(1);
    await again.close();
  });

  test("a full disk refuses the request whole, with a clear error, and the log stays usable", async () => {
    const path = nextPath();
    // SQLite reports its page limit exactly as it reports a disk without space.
    const log = open(path, { hardLimitBytes: 64 * 4096 });
    const batch = (name: string) =>
      pack(...Array.from({ length: 50 }, (_, i) => prediction(`${name}-${i}`, { releaseId: `fraud-${name}` })));
    let accepted = 0;
    let refusal: unknown;
    while (refusal === undefined) {
      try {
        await log.append(batch(String(accepted)), accepted);
        accepted++;
      } catch (error) {
        refusal = error;
      }
    }
    expect(refusal).toMatchObject({
      name: "LogFailure",
      fault: "full",
      message: "no space is left for the prediction log",
    });
    expect(accepted).toBeGreaterThan(2);
    expect(await log.scan(0, 10_000)).toHaveLength(50 * accepted);
    expect(await log.releases("fraud")).toHaveLength(accepted);
    await expect(log.append(batch("again"), 99)).rejects.toMatchObject({ fault: "full" });
    // Once there is room it goes on where it was.
    expect((await log.dropOldest(100, 1e15)).predictions).toHaveLength(100);
    expect((await log.append(batch("again"), 100)).newCount).toBe(50);
    const usage = await log.usage();
    expect(usage.predictionCount).toBe(50 * (accepted - 1));
    await log.close();
    const reopened = open(path);
    expect((await reopened.usage()).predictionCount).toBe(usage.predictionCount);
    await reopened.close();
  });

  test("refuses more layouts than it may hold, and none of the batch is kept", async () => {
    const log = open(nextPath(), { layoutsMax: 2 });
    await log.append(pack(prediction("a"), prediction("b", { releaseId: "fraud-2" })), 1);
    await expect(log.append(pack(prediction("c"), prediction("d", { releaseId: "fraud-3" })), 1)).rejects.toMatchObject(
      { fault: "layouts" },
    );
    expect(await log.scan(0, 10)).toHaveLength(2);
    expect((await log.append(pack(prediction("c")), 1)).newCount).toBe(1);
    await log.close();
  });

  test("room that rows leave is used again: the file does not grow", async () => {
    const log = open(nextPath());
    const batch = (name: number) => pack(...Array.from({ length: 500 }, (_, i) => prediction(`${name}-${i}`)));
    for (let i = 0; i < 4; i++) {
      await log.append(batch(i), i);
    }
    const { sizeBytes } = await log.usage();
    for (let i = 4; i < 30; i++) {
      await log.append(batch(i), i);
      await log.dropOldest(500, 1e15);
    }
    expect((await log.usage()).sizeBytes).toBeLessThan(sizeBytes * 1.3);
    await log.close();
  });

  test("says why a file cannot be opened", async () => {
    const path = nextPath();
    const log = open(path);
    expect(() => open(path)).toThrow(/cannot open .*another process holds it/);
    await log.close();
    const noDatabase = nextPath();
    writeFileSync(noDatabase, "x".repeat(10_000));
    expect(() => open(noDatabase)).toThrow(/cannot open .*not a database/);
    expect(() => open(join(directory, "no", "folder.sqlite"))).toThrow(/cannot make .*unable to open/);
  });

  test("after kill -9 everything acknowledged is there, and requests are whole", async () => {
    const path = nextPath();
    let acknowledged = 0;
    for (const round of ["r0", "r1", "r2"]) {
      const told = await appendUntilKilled(path, round, 20 + 15 * Number(round.slice(1)));
      const log = open(path);
      const rows = (await log.scan(0, 1e6)).filter(({ requestId }) => requestId.startsWith(`${round}-`));
      const held = new Map<string, number>();
      for (const { requestId, payload } of rows) {
        const batch = requestId.split("-")[1] ?? "";
        held.set(batch, (held.get(batch) ?? 0) + 1);
        expect(payload).toEqual(pack(prediction("a")).payloads.subarray(0, payload.length));
      }
      for (let batch = 0; batch < told.predictions; batch++) {
        expect([round, batch, held.get(String(batch))]).toEqual([round, batch, 50]);
      }
      // At most the one request that was being answered, and it whole.
      expect(held.size - told.predictions).toBeLessThanOrEqual(1);
      expect([...held.values()].every((count) => count === 50)).toBe(true);
      const query = { scenario: "fraud", releaseId: "fraud-1", fromUs: 0, toUs: startUs, after: undefined, limit: 1e6 };
      const labelled = (await log.labelled(query)).rows.filter((row) =>
        row.prediction.requestId.startsWith(`${round}-`),
      );
      expect(labelled.length).toBeGreaterThanOrEqual(50 * told.labels);
      expect(labelled.length % 50).toBe(0);
      await log.close();
      acknowledged += told.predictions;
    }
    expect(acknowledged).toBeGreaterThan(20);
  });

  test("features keep every bit, NaN patterns included", async () => {
    const log = open(nextPath());
    const features = floatBytes([1e-45, -0]);
    features.set([1, 2, 0xc0, 0x7f], 0);
    await log.append(pack(prediction("a", { features })), 1);
    const [row] = await log.scan(0, 1);
    expect([...(row?.payload.subarray(16, 24) ?? [])]).toEqual([...features]);
    await log.close();
  });
});

/** Starts a process that appends, kills it with SIGKILL after this many acknowledgements, and answers what it told. */
function appendUntilKilled(
  path: string,
  round: string,
  after: number,
): Promise<{ predictions: number; labels: number }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(__dirname, "append-until-killed.js"), path, round], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      if (output.split("\n").length > after) {
        child.kill("SIGKILL");
      }
    });
    child.on("error", reject);
    child.on("close", (_, signal) => {
      if (signal !== "SIGKILL") {
        reject(new Error(`ended by itself: ${signal}`));
        return;
      }
      const lines = output.split("\n").slice(0, -1);
      const count = (kind: string) => lines.filter((line) => line.startsWith(kind)).length;
      resolve({ predictions: count("predictions"), labels: count("labels") });
    });
  });
}
