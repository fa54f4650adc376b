import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";
import { startProgress } from "../progress.ts";
import { program, runChild } from "./child.ts";
import { atLeast, atMost, type BenchResult, commitOf, machineName, round } from "./result.ts";
import type { BuiltTrainingSet } from "./training-set-build.ts";
import {
  featuresPerView,
  labelRows,
  trainingSetNames,
  trainingSetScenario,
  trainingSetSources,
  viewCount,
} from "./training-set-scenario.ts";

const secondsBar = 60;
const gibBar = 4;
const rounds = 2;

/**
 * `BuildTrainingSet` of 1,000,000 rows over five views of ten features (three of windows, two of fields), rows known late
 * among them, out of Parquet files; each time in a process of its own, whose greatest size counts.
 */
export async function benchTrainingSet(): Promise<BenchResult> {
  const scratch = mkdtempSync(join(tmpdir(), "weft-bench-training-set-"));
  try {
    const folder = join(scratch, "scenario");
    mkdirSync(folder);
    writeFileSync(join(folder, "scenario.ts"), trainingSetScenario());
    const writing = startProgress("bench training-set: writing Parquet");
    const sources = join(scratch, "data", "feature", "offline", trainingSetNames.scenario);
    mkdirSync(sources, { recursive: true });
    await writeSources(sources);
    writing.end();
    const built: BuiltTrainingSet[] = [];
    for (let round = 1; round <= rounds; round++) {
      const progress = startProgress(`bench training-set: build ${round} of ${rounds}`);
      const line = await runChild(program("training-set-build"), [folder, join(scratch, "data")]);
      const one = JSON.parse(line) as BuiltTrainingSet;
      built.push(one);
      progress.end(`${one.rows} rows, ${one.seconds.toFixed(1)} s`);
    }
    const seconds = Math.max(...built.map((one) => one.seconds));
    const gib = Math.max(...built.map((one) => one.peakBytes)) / 2 ** 30;
    const [first] = built;
    const rate = round(labelRows / seconds);
    return {
      bench: "training-set",
      commit: commitOf(join(__dirname, "..", "..", "..")),
      machine: machineName(),
      offeredPerSecond: rate,
      acceptedPerSecond: rate,
      shedPerSecond: 0,
      errors: 0,
      latencyMs: { p50: round(1e3 * seconds), p99: round(1e3 * seconds), p999: round(1e3 * seconds) },
      cpuCores: round(Math.max(...built.map((one) => one.cpuSeconds / one.seconds))),
      rows: built.map((one) => ({
        rows: one.rows,
        columns: one.columns,
        seconds: round(one.seconds),
        "cpu s": round(one.cpuSeconds),
        "peak GiB": round(one.peakBytes / 2 ** 30),
        hash: one.contentHash.slice(0, 12),
      })),
      bars: [
        atLeast("rows", first?.rows ?? 0, labelRows),
        atLeast("features", (first?.columns ?? 0) - 2, viewCount * featuresPerView),
        atMost("seconds", seconds, secondsBar),
        atMost("peak memory, GiB", gib, gibBar),
        atMost("different content hashes", new Set(built.map((one) => one.contentHash)).size, 1),
      ],
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function writeSources(directory: string): Promise<void> {
  const instance = await DuckDBInstance.create(":memory:", { threads: "2", memory_limit: "2GiB" });
  try {
    const connection = await instance.connect();
    for (const [file, sql] of Object.entries(trainingSetSources))
      await connection.run(`COPY (${sql}) TO '${join(directory, file).replaceAll("'", "''")}' (FORMAT parquet)`);
    connection.closeSync();
  } finally {
    instance.closeSync();
  }
}
