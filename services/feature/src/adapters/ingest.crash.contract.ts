import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { seededRandom } from "@weft/testkit";
import type { IngestedView } from "../domain/ingest/ingest.ts";
import { partitionName } from "../domain/ingest/stream-log.ts";
import { type OnlineStore, ReadBatch } from "../domain/online/online-store.ts";
import { cards, durablePushes, expectedAfter, openIngest, readUs, stream } from "./ingest.crash.ts";

/** Kills a process that pushes and follows a stream, again and again over the same data, and checks what it left. */
export function ingestCrashContract(rounds: number, seed: number): void {
  test(`killed ${rounds} times at random points (seed ${seed}): nothing acknowledged is lost, nothing is counted twice`, async () => {
    const path = mkdtempSync(join(tmpdir(), "weft-ingest-"));
    const random = seededRandom(seed);
    try {
      let streamedBefore = 0;
      for (let round = 0; round < rounds; round++) {
        const acknowledged = await runUntilKilled(path, random);
        const { log, store, ingest, pushed, streamed } = await openIngest(path);
        const durable = await durablePushes(log);
        expect(durable).toBeGreaterThanOrEqual(acknowledged);
        expect({ seed, round, states: await statesOf(store, pushed) }).toEqual({
          seed,
          round,
          states: expectedAfter(durable),
        });
        const applied = await store.appliedOffset(streamed.handle, partitionName(stream));
        expect(applied).toBeGreaterThanOrEqual(streamedBefore);
        expect({ seed, round, states: await statesOf(store, streamed) }).toEqual({
          seed,
          round,
          states: expectedAfter(applied),
        });
        streamedBefore = applied;
        await ingest.close();
        await log.close();
        await store.close();
      }
      expect(streamedBefore).toBeGreaterThan(rounds);
    } finally {
      rmSync(path, { recursive: true, force: true });
    }
  });
}

/** Answers the greatest push that was acknowledged. */
async function runUntilKilled(path: string, random: () => number): Promise<number> {
  const child = spawn(process.execPath, [join(__dirname, "ingest.crash.js"), path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let acknowledged = 0;
  let killAfter = 1 + Math.floor(random() * 40);
  let rest = "";
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) acknowledged = Math.max(acknowledged, Number(line));
    killAfter -= lines.length;
    // Not right at the acknowledgement: somewhere in the steps that follow it.
    if (killAfter <= 0) setTimeout(() => child.kill("SIGKILL"), random() * 3);
  });
  const signal = await new Promise((resolve) => child.on("close", (_code, name) => resolve(name)));
  expect(signal).toBe("SIGKILL");
  return acknowledged;
}

/** Count and sum of each card. */
async function statesOf(store: OnlineStore, { compiled, handle }: IngestedView): Promise<number[][]> {
  const batch = new ReadBatch();
  for (let key = 0; key < cards; key++) batch.add(handle, BigInt(key));
  await store.get(batch);
  const reading = compiled.createReading();
  return batch.values.slice(0, batch.size).map((stored) => {
    compiled.read(stored === undefined ? undefined : compiled.decode(stored.bytes), readUs, reading);
    return [reading.numbers[0] ?? 0, reading.numbers[1] ?? 0].map((number) => (Number.isNaN(number) ? 0 : number));
  });
}
