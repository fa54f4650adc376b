import { spawn } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { cacheDirectory } from "./cache-directory.ts";

const lockTimeoutSeconds = 1_800;

/**
 * Folder `name` of the cache, filled by `install` on first use. Processes that ask at the same time wait for the one that
 * installs; an installation that was cut short or threw is begun anew. The name should hold the version.
 */
export async function installOnce(name: string, install: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(cacheDirectory(), name);
  const marker = join(folder, ".installed");
  if (existsSync(marker)) return folder;
  mkdirSync(dirname(folder), { recursive: true });
  const unlock = await lock(`${folder}.lock`);
  try {
    if (existsSync(marker)) return folder;
    // In place, as virtual environments hold their own path: only the marker says that it is whole.
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    await install(folder);
    writeFileSync(marker, "");
    return folder;
  } finally {
    unlock();
  }
}

/** Takes a lock that the kernel gives back when its holder or this process ends, however it ends. */
function lock(path: string): Promise<() => void> {
  const holder = spawn("flock", ["--timeout", String(lockTimeoutSeconds), path, "sh", "-c", "echo locked; exec cat"], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  return new Promise((resolve, reject) => {
    holder.once("error", reject);
    holder.once("exit", () => reject(new Error(`the lock ${path} could not be had`)));
    holder.stdout.once("data", () => resolve(() => holder.stdin.end()));
  });
}
