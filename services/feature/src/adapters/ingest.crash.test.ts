import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import { seededRandom } from "@weft/testkit";
import { ReadBatch } from "../domain/online-store.ts";
import { counted, openIngest } from "./ingest.crash.ts";

const root = mkdtempSync(join(tmpdir(), "weft-ingest-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

test("killed at random points of a push: nothing acknowledged is lost, nothing is counted twice", async () => {
  const path = join(root, "crash");
  mkdirSync(path);
  const seed = 11;
  const random = seededRandom(seed);
  for (let round = 0; round < 6; round++) {
    const child = spawn(process.execPath, [join(__dirname, "ingest.crash.js"), path], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let acknowledged = 0;
    let killAfter = 3 + Math.floor(random() * 60);
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
    expect({ seed, round, signal }).toEqual({ seed, round, signal: "SIGKILL" });

    const { log, store, ingest, view } = await openIngest(path);
    const durable = await log.endOffset();
    const batch = new ReadBatch();
    batch.add(view.handle, 1n);
    store.get(batch);
    const reading = counted.createReading();
    counted.read(counted.decode(batch.values[0]?.bytes ?? new Uint8Array(0)), 1_700_000_100_000_000, reading);
    expect(durable).toBeGreaterThanOrEqual(acknowledged);
    expect({ seed, round, count: reading.value(0) }).toEqual({ seed, round, count: BigInt(durable) });
    await ingest.close();
    await log.close();
    await store.close();
  }
});
