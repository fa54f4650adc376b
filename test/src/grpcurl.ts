import { execFile } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const execute = promisify(execFile);

/** Path of grpcurl: a client that this project did not write. Built once into the cache, outside the checkout. */
export async function grpcurlPath(): Promise<string> {
  const bin = join(process.env.WEFT_CACHE ?? join(homedir(), ".cache", "weft"), "bin");
  const path = join(bin, "grpcurl");
  if (existsSync(path)) return path;
  mkdirSync(bin, { recursive: true });
  const env = { ...process.env, GOBIN: bin };
  await execute("go", ["install", "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3"], {
    env,
    timeout: 280_000,
    maxBuffer: 16 * 1024 * 1024,
  });
  return path;
}
