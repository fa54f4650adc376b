import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { FakeClock } from "@weft/testkit";
import { pack, prediction, releaseParts } from "../domain/prediction-fixture.ts";
import { LogThread, type LogThreadOptions, startWorker } from "./log-thread.ts";

describe("log thread", () => {
  let directory: string;
  let workers: Worker[];
  let states: boolean[];
  const clock = new FakeClock();
  const start = (over: Partial<LogThreadOptions> = {}) =>
    LogThread.start({
      log: { path: join(directory, "log.sqlite"), synchronous: "normal", hardLimitBytes: 1e9, layoutsMax: 100 },
      engine: {
        sizeMaxBytes: 1e9,
        ageMaxMs: 1e12,
        bucketUs: 3.6e9,
        bucketsMax: 100,
        releasesMax: 10,
        pageRows: 100,
      },
      queueBytesMax: 1e6,
      start: (settings) => {
        const worker = startWorker(settings);
        workers.push(worker);
        return worker;
      },
      onState: (isUp) => states.push(isUp),
      setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
      ...over,
    });
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "weft-log-thread-"));
    workers = [];
    states = [];
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  test("appends, joins, compares and holds it all after a restart", async () => {
    const log = await start();
    await log.putRelease(releaseParts());
    await log.appendLabels("fraud", [{ requestId: "a", item: "", value: 1, labelTimeUs: 1 }], 1);
    const report = await log.append(pack(prediction("a"), prediction("b"), prediction("a")), 2);
    expect(report).toMatchObject({ newCount: 2, joinedCount: 1, mismatchedCount: 0, droppedPredictions: 0 });
    const query = { scenario: "fraud", releaseId: "", windowUs: 3.6e9 };
    const answer = await log.drift(query);
    expect(answer).toMatchObject({ outcome: "compared", predictionCount: 2, quality: [{ labelledCount: 1 }] });
    expect(log.queuedBytes).toBe(0);
    await log.close();
    await expect(log.maintain(1)).rejects.toMatchObject({ fault: "closed" });

    const again = await start();
    expect(await again.drift(query)).toEqual(answer);
    expect(await again.releaseParts()).toEqual([releaseParts()]);
    await again.close();
    await again.close();
  });

  test("refuses more than may wait, and goes on once it is written", async () => {
    const rows = pack(...Array.from({ length: 100 }, (_, i) => prediction(`r${i}`)));
    const log = await start({ queueBytesMax: rows.payloads.buffer.byteLength + 100 });
    const first = log.append(rows, 1);
    await expect(log.append(pack(prediction("x")), 1)).rejects.toMatchObject({ fault: "busy" });
    expect((await first).newCount).toBe(100);
    expect((await log.append(pack(prediction("x")), 1)).newCount).toBe(1);
    await log.close();
  });

  test("what is being written when the log closes is written", async () => {
    const log = await start();
    const appended = [1, 2, 3].map((n) => log.append(pack(prediction(`r${n}`)), n));
    await log.close();
    expect((await Promise.all(appended)).map(({ newCount }) => newCount)).toEqual([1, 1, 1]);
    const again = await start();
    expect(await again.scan(0, 10)).toHaveLength(3);
    await again.close();
  });

  test("a thread that dies refuses what it had not answered and is started again", async () => {
    const log = await start();
    await log.append(pack(prediction("a")), 1);
    // Ended before it is asked: it cannot answer in time.
    const ended = workers[0]?.terminate();
    const lost = log.scan(0, 1);
    await Promise.all([expect(lost).rejects.toMatchObject({ fault: "down" }), ended]);
    expect(states).toEqual([true, false]);
    await expect(log.scan(0, 1)).rejects.toMatchObject({ fault: "down" });
    await clock.advance(1000);
    // The new thread opens the log; nothing but its own message tells when.
    while (states.length < 3) {
      await new Promise((resolve) => workers[1]?.once("message", resolve));
    }
    expect(states).toEqual([true, false, true]);
    expect((await log.append(pack(prediction("a"), prediction("b")), 1)).newCount).toBe(1);
    await log.close();
    expect(states).toHaveLength(3);
  });

  test("a log that cannot be opened says why", async () => {
    const log = await start();
    await expect(start()).rejects.toMatchObject({ name: "LogFailure", message: /another process holds it/ });
    await log.close();
  });
});
