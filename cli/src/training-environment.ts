import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { processEnvironment } from "@weft/config";
import { cacheDirectory } from "@weft/local-servers";
import { CommandFailure } from "./failure.ts";
import { startProgress } from "./progress.ts";

const execute = promisify(execFile);
const installTimeoutMs = 1_800_000;

/** Folder of the Python side. */
export const trainingDirectory = join(__dirname, "..", "..", "training");

/** The interpreter of the locked environment, installed on first use into the cache, one for each state of the lock. */
export async function trainingPython(): Promise<string> {
  const lock = join(trainingDirectory, "requirements.lock");
  const digest = createHash("sha256").update(readFileSync(lock)).digest("hex").slice(0, 12);
  const directory = join(cacheDirectory(), `training-${digest}`);
  const python = join(directory, "bin", "python");
  if (existsSync(join(directory, ".installed"))) return python;
  const progress = startProgress("installing the training environment");
  try {
    mkdirSync(cacheDirectory(), { recursive: true });
    rmSync(directory, { recursive: true, force: true });
    await execute("python3", ["-m", "venv", directory], { timeout: installTimeoutMs });
    await execute(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", lock], {
      timeout: installTimeoutMs,
      maxBuffer: 64 * 1024 * 1024,
    });
    await execute(python, [
      "-c",
      "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()",
      join(directory, ".installed.new"),
    ]);
    renameSync(join(directory, ".installed.new"), join(directory, ".installed"));
  } catch (error) {
    progress.end("failed");
    const detail =
      error instanceof Error && "stderr" in error
        ? String(error.stderr).trim().split("\n").slice(-3).join("\n")
        : String(error);
    throw new CommandFailure(
      `the training environment could not be installed (Python 3.11 with venv and pip): ${detail}`,
    );
  }
  progress.end();
  return python;
}

/** Runs a module of the training package; its output goes to stderr. Throws CommandFailure with its last lines. */
export async function runTrainer(python: string, args: readonly string[]): Promise<void> {
  const child = spawn(python, ["-m", "weft_training", ...args], {
    cwd: trainingDirectory,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...processEnvironment(), PYTHONDONTWRITEBYTECODE: "1", JAX_PLATFORMS: "cpu" },
  });
  const tail: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => {
      for (const line of text.split("\n")) if (line.trim() !== "") tail.push(line);
      tail.splice(0, Math.max(0, tail.length - 20));
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", resolve);
  });
  if (code !== 0) throw new CommandFailure(`trainer ${args[0]} failed:\n${tail.join("\n")}`);
}
