import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { goTool, hasGoTool } from "@weft/local-servers";
import { CommandFailure } from "../failure.ts";
import { startProgress } from "../progress.ts";
import { type LoadResult, percentile } from "./result.ts";

const execute = promisify(execFile);

/** The ghz that every figure is measured with. */
export const ghz = { module: "github.com/bojand/ghz/cmd/ghz", version: "v0.120.0" } as const;

/** Path of ghz; built into the cache on first use. */
export async function ghzPath(): Promise<string> {
  if (hasGoTool(ghz)) return goTool(ghz);
  const progress = startProgress("building ghz");
  try {
    const path = await goTool(ghz);
    progress.end();
    return path;
  } catch (error) {
    progress.end("failed");
    throw new CommandFailure(
      `ghz could not be built; it needs Go 1.22 or newer: ${error instanceof Error ? error.message : error}`,
    );
  }
}

/** One load on a server. */
export interface Load {
  readonly target: string;
  readonly call: string;
  /** JSON file with an array of requests, sent in turn. */
  readonly dataFile: string;
  readonly seconds: number;
  /** Each sends when it has its answer. */
  readonly callers: number;
}

interface GhzReport {
  readonly count: number;
  readonly total: number;
  readonly details: readonly { readonly latency: number; readonly status: string; readonly error: string }[];
}

const connections = 4;
const protoDirectory = join(__dirname, "..", "..", "..", "proto");

/** Runs a load with ghz. Latencies are of accepted calls, in milliseconds. */
export async function runGhz(load: Load): Promise<LoadResult> {
  const args = [
    "--insecure",
    "--proto",
    "weft/gateway/v1/gateway.proto",
    "--import-paths",
    protoDirectory,
    "--call",
    load.call,
    "--concurrency",
    String(load.callers),
    "--connections",
    String(connections),
    "--data-file",
    load.dataFile,
    "--timeout",
    "5s",
    "--format",
    "json",
    "--duration",
    `${load.seconds}s`,
    "--duration-stop",
    "wait",
    load.target,
  ];
  const { stdout } = await execute(await ghzPath(), args, {
    maxBuffer: 1024 ** 3,
    timeout: (load.seconds + 120) * 1000,
  });
  const report: GhzReport = JSON.parse(stdout);
  const accepted = report.details.filter(({ status }) => status === "OK").map(({ latency }) => latency / 1e6);
  const sorted = Float64Array.from(accepted).sort();
  const shed = report.details.filter(({ status }) => status === "ResourceExhausted").length;
  const seconds = report.total / 1e9;
  return {
    offeredPerSecond: report.count / seconds,
    acceptedPerSecond: accepted.length / seconds,
    shedPerSecond: shed / seconds,
    errors: report.details.length - accepted.length - shed,
    degraded: 0,
    fallbacks: 0,
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
    p999: percentile(sorted, 0.999),
  };
}
