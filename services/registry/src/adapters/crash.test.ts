import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, expect, test } from "@jest/globals";
import { FolderArtifactStore } from "./folder-artifact-store.ts";
import { SqliteCatalog } from "./sqlite-catalog.ts";

const folder = mkdtempSync(join(tmpdir(), "weft-crash-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the writer until it has acknowledged this many lines, then kills it; answers every line. */
async function writeAndKill(lineCount: number): Promise<string[]> {
  const child = spawn(process.execPath, [join(__dirname, "crash-writer.js"), folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines: string[] = [];
  const exited = new Promise((resolve) => child.once("exit", resolve));
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (lines.length === lineCount) child.kill("SIGKILL");
  }
  await exited;
  return lines;
}

test("everything acknowledged before kill -9 is there, whole, when the stores are opened again", async () => {
  const acknowledged: string[] = [];
  for (const lineCount of [1, 30, 77, 120]) {
    const lines = await writeAndKill(lineCount);
    expect(lines.length).toBeGreaterThanOrEqual(lineCount);
    acknowledged.push(...lines);
    const artifacts = await FolderArtifactStore.open(join(folder, "artifacts"));
    expect(readdirSync(join(folder, "artifacts", "incoming"))).toEqual([]);
    const catalog = SqliteCatalog.open(join(folder, "catalog.db"), { requestIdsMax: 10 });
    for (const line of acknowledged) {
      const [kind, key = "", digest] = line.split(" ");
      if (kind === "artifact") expect((await artifacts.readWhole(key, 1_000_000))?.length).toBeGreaterThan(0);
      else expect((await catalog.featureView("fraud", "card", key))?.digest).toBe(digest);
    }
    catalog.close();
  }
});
