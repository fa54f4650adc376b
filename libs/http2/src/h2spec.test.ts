import { execFile } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "@jest/globals";
import { listenEcho } from "./testing/echo-server.ts";

const execute = promisify(execFile);

/** Path of h2spec: a conformance suite that this project did not write. Built once into the cache. */
async function h2specPath(): Promise<string> {
  const bin = join(process.env.WEFT_CACHE ?? join(homedir(), ".cache", "weft"), "bin");
  const path = join(bin, "h2spec");
  if (existsSync(path)) return path;
  mkdirSync(bin, { recursive: true });
  await execute("go", ["install", "github.com/summerwind/h2spec/cmd/h2spec@latest"], {
    env: { ...process.env, GOBIN: bin },
    timeout: 280_000,
  });
  return path;
}

test("h2spec: every test of generic, http2 and hpack passes", async () => {
  const path = await h2specPath();
  const server = await listenEcho({ concurrentStreamsMax: 100 });
  let report = "";
  try {
    const args = ["-h", "127.0.0.1", "-p", String(server.port), "-o", "2"];
    report = (await execute(path, args, { maxBuffer: 16 * 1024 * 1024 })).stdout;
  } catch (error) {
    report = String((error as { stdout?: string }).stdout);
  }
  await server.drain(0);
  const summary = /(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed/.exec(report);
  expect([summary?.[0], summary?.[4], report.includes("×") ? report : ""]).toEqual([summary?.[0], "0", ""]);
  expect(Number(summary?.[2])).toBeGreaterThanOrEqual(145);
}, 300_000);
