import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import { seededRandom } from "@weft/testkit";
import { open } from "lmdb";
import { fileKeys, openService, pushedKeys, versionOf, writeVersion } from "./materialize.crash.ts";

const root = mkdtempSync(join(tmpdir(), "weft-materialize-"));
const children = new Set<ChildProcess>();
afterAll(() => {
  // Where a lane has failed, the others' writers are still there.
  for (const child of children) child.kill("SIGKILL");
  rmSync(root, { recursive: true, force: true });
});

const runs = 100;
const lanes = 4;
const seed = Number(process.argv.find((argument) => argument.startsWith("--seed="))?.slice(7) ?? 41);

/** Databases of views in the online store. */
function generationsIn(path: string): number {
  const environment = open({ path: join(path, "online"), readOnly: true });
  const count = [...environment.getKeys()].filter((name) => String(name).includes("@")).length;
  void environment.close();
  return count;
}

interface Killed {
  readonly pushed: number;
  readonly published: number;
  /** An answer of two versions, or without what had been acknowledged. */
  readonly wrong: string;
  readonly signal: NodeJS.Signals | null;
}

/** Runs the writer over a folder, and kills it: right at a flip, or any time after its first push. */
async function runAndKill(path: string, from: number, random: () => number): Promise<Killed> {
  const child = spawn(process.execPath, [join(__dirname, "materialize.crash.js"), path, String(from)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.add(child);
  child.once("close", () => children.delete(child));
  const isAtFlip = random() < 0.5;
  const waitMs = isAtFlip ? random() * 8 : random() * 600;
  let flips = 1 + Math.floor(random() * 4);
  let isAimed = false;
  let rest = "";
  let pushed = 0;
  let published = 0;
  let wrong = "";
  const aim = () => {
    if (isAimed) return;
    isAimed = true;
    setTimeout(() => child.kill("SIGKILL"), waitMs);
  };
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const [what, of] = line.split(" ", 2);
      if (what === "pushed") pushed = Number(of);
      else if (what === "published") published = Number(of);
      else if (what === "wrong") wrong = line;
      else if (what === "publishing") flips--;
      if (isAtFlip ? flips <= 0 : what === "pushed") aim();
    }
  });
  const signal = await new Promise<NodeJS.Signals | null>((resolve) =>
    child.on("close", (_code, name) => resolve(name)),
  );
  return { pushed, published, wrong, signal };
}

test(`killed ${runs} times while it materializes and publishes: nothing is lost, nothing counted twice, no answer of two generations`, async () => {
  let interrupted = 0;
  const lane = async (of: number) => {
    const random = seededRandom(seed + of);
    const path = join(root, String(of));
    let shown = 0;
    let version = 1;
    let acknowledged = 0;
    await openService(path).then(async (service) => {
      writeVersion(path, version);
      await service.close();
    });
    for (let run = 0; run < runs / lanes; run++) {
      const where = { seed, lane: of, run };
      const killed = await runAndKill(path, version, random);
      expect({ ...where, signal: killed.signal, wrong: killed.wrong }).toEqual({
        ...where,
        signal: "SIGKILL",
        wrong: "",
      });
      acknowledged = Math.max(acknowledged, killed.pushed);

      const service = await openService(path);
      const durable = await service.log.endOffset();
      expect({ ...where, lost: Math.max(0, acknowledged - durable) }).toEqual({ ...where, lost: 0 });
      const counted = () => service.read(pushedKeys).counts.reduce((sum, count) => sum + count, 0);
      expect({ ...where, counted: counted() }).toEqual({ ...where, counted: durable });
      // What was published is there, of one version; what was not yet may be.
      const found = versionOf(service.read(fileKeys));
      expect({ ...where, isWhole: found !== undefined }).toEqual({ ...where, isWhole: true });
      expect(found ?? 0).toBeGreaterThanOrEqual(Math.max(shown, killed.published));
      // What was interrupted is begun anew, and ends as if nothing had been; the file may be of the next version by now.
      interrupted += await service.resume();
      await service.materialize(() => undefined);
      shown = versionOf(service.read(fileKeys)) ?? Number.NaN;
      expect({ ...where, shown: shown >= (found ?? 0), counted: counted() }).toEqual({
        ...where,
        shown: true,
        counted: durable,
      });
      expect(
        service.catalog.list("s", 1_000).filter(({ state }) => state === "running" || state === "interrupted"),
      ).toEqual([]);
      await service.close();
      // Of each view what readers see and what they saw before, and no more.
      expect({ ...where, generations: generationsIn(path) }).toEqual({ ...where, generations: 4 });
      version = shown + 1;
    }
  };
  await Promise.all(Array.from({ length: lanes }, (_, of) => lane(of)));
  // The kills must have come while something ran.
  expect(interrupted).toBeGreaterThan(runs / 3);
}, 240_000);
