import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { goTool } from "@weft/local-servers";

const execute = promisify(execFile);

/** A conformance suite that this project did not write. */
const h2spec = { module: "github.com/summerwind/h2spec/cmd/h2spec", version: "v2.2.1+incompatible" };

/** What h2spec found. */
export interface H2specReport {
  readonly passed: number;
  readonly failed: number;
  /** All that it printed. */
  readonly text: string;
}

/** Runs every test of generic, http2 and hpack against a server of this machine. */
export async function runH2spec(port: number, args: readonly string[] = []): Promise<H2specReport> {
  const path = await goTool(h2spec);
  let text = "";
  try {
    const all = ["-h", "127.0.0.1", "-p", String(port), "-o", "2", ...args];
    text = (await execute(path, all, { maxBuffer: 16 * 1024 * 1024 })).stdout;
  } catch (error) {
    text = error instanceof Error && "stdout" in error ? String(error.stdout) : String(error);
  }
  const [, passed, failed] = /\d+ tests, (\d+) passed, \d+ skipped, (\d+) failed/.exec(text) ?? [];
  return { passed: Number(passed ?? 0), failed: Number(failed ?? Number.NaN), text };
}
