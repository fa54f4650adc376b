import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadDefaultExport, type PrepareData } from "@weft/scenario";
import { CommandFailure } from "../failure.ts";
import { startProgress } from "../progress.ts";
import { pythonPackageFiles } from "./python-package.ts";

/**
 * Writes a scenario's source files by its `data.ts`, once: they are made again only when its code or the parameters
 * change. The folder appears whole or not at all.
 */
export async function prepareData(options: {
  readonly folder: string;
  readonly scenario: string;
  /** Folder of the offline store. */
  readonly offlineDirectory: string;
  readonly parameters: Readonly<Record<string, string>>;
}): Promise<string> {
  const script = join(options.folder, "data.ts");
  const target = join(options.offlineDirectory, options.scenario);
  if (!existsSync(script)) {
    if (!existsSync(target))
      throw new CommandFailure(`${options.folder} has no data.ts and ${target} holds no source files`);
    return target;
  }
  const stamp = stampOf(options.folder, options.parameters);
  const stampFile = join(target, ".prepared");
  if (existsSync(stampFile) && readFileSync(stampFile, "utf8") === stamp) return target;
  const prepare = loadDefaultExport(script);
  if (typeof prepare !== "function") throw new CommandFailure(`${script} must export a default function (PrepareData)`);
  const partial = `${target}.partial`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  const progress = startProgress(`${options.scenario}: preparing data`);
  try {
    await (prepare as PrepareData)({
      directory: partial,
      parameters: options.parameters,
      progress: (done, total) => progress.update(done, total),
      pythonPackageFiles: (requirement, files) => pythonPackageFiles(requirement, files, partial),
    });
  } catch (error) {
    progress.end("failed");
    rmSync(partial, { recursive: true, force: true });
    throw error;
  }
  writeFileSync(join(partial, ".prepared"), stamp);
  rmSync(target, { recursive: true, force: true });
  renameSync(partial, target);
  progress.end();
  return target;
}

/** Identifies what the data is made from: the scenario's TypeScript and the parameters. */
function stampOf(folder: string, parameters: Readonly<Record<string, string>>): string {
  const hash = createHash("sha256");
  for (const name of readdirSync(folder).sort())
    if (name.endsWith(".ts")) hash.update(`${name}\0`).update(readFileSync(join(folder, name)));
  return hash.update(JSON.stringify(Object.entries(parameters).sort())).digest("hex");
}
