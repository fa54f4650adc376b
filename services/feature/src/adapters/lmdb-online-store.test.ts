import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import { seededRandom } from "@weft/testkit";
import { onlineStoreContract } from "../domain/online/online-store.contract.ts";
import { type OnlineStore, ReadBatch } from "../domain/online/online-store.ts";
import { LmdbOnlineStore } from "./lmdb-online-store.ts";

const root = mkdtempSync(join(tmpdir(), "weft-lmdb-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folders = 0;
const paths = new Map<OnlineStore, string>();
function openAt(path: string, cacheEntriesMax: number): LmdbOnlineStore {
  const store = LmdbOnlineStore.open({ path, sizeMaxBytes: 1 << 28, cacheEntriesMax });
  paths.set(store, path);
  return store;
}

for (const cacheEntriesMax of [0, 16, 10_000])
  onlineStoreContract(
    `LMDB (cache of ${cacheEntriesMax})`,
    async () => openAt(join(root, String(folders++)), cacheEntriesMax),
    async (store) => {
      await store.close();
      return openAt(paths.get(store) ?? "", cacheEntriesMax);
    },
  );

test("killed while it writes, it holds everything that was acknowledged, and no half of a write", async () => {
  const path = join(root, "crash");
  const seed = 5;
  const random = seededRandom(seed);
  for (let round = 0; round < 5; round++) {
    const child = spawn(process.execPath, [join(__dirname, "lmdb-online-store.crash.js"), path], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let acknowledged = 0;
    let killAfter = 5 + Math.floor(random() * 200);
    let rest = "";
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) acknowledged = Math.max(acknowledged, Number(line));
      killAfter -= lines.length;
      if (killAfter <= 0) child.kill("SIGKILL");
    });
    const signal = await new Promise((resolve) => child.on("close", (_code, name) => resolve(name)));
    expect({ seed, round, signal }).toEqual({ seed, round, signal: "SIGKILL" });

    const store = openAt(path, 0);
    const view = await store.openView("s/v/1");
    const offset = await store.appliedOffset(view);
    expect(offset).toBeGreaterThanOrEqual(acknowledged);
    const batch = new ReadBatch();
    batch.add(view, "last");
    for (let key = 0n; key < 50n; key++) batch.add(view, key);
    store.get(batch);
    const values = batch.values.map((value) =>
      value === undefined ? 0 : (new Float64Array(value.bytes.buffer, 0, 1)[0] ?? 0),
    );
    // The offset, the newest key and the last key move together.
    expect(values[0]).toBe(offset);
    for (let back = 0; back < Math.min(50, offset); back++)
      expect(values[1 + ((offset - back) % 50)]).toBe(offset - back);
    await store.close();
  }
});
