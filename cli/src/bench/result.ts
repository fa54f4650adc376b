import { execFileSync } from "node:child_process";
import { cpus, totalmem } from "node:os";

/** A figure and the bar that it must reach. */
export interface Bar {
  readonly name: string;
  readonly value: number;
  /** For a reader, for example ">= 0.7". */
  readonly bar: string;
  readonly pass: boolean;
}

/** What every bench prints with `--json`. */
export interface BenchResult {
  readonly bench: string;
  readonly commit: string;
  readonly machine: string;
  readonly offeredPerSecond: number;
  readonly acceptedPerSecond: number;
  readonly shedPerSecond: number;
  readonly errors: number;
  readonly latencyMs: { readonly p50: number; readonly p99: number; readonly p999: number };
  readonly cpuCores: number;
  readonly bars: readonly Bar[];
  /** Further rows of the table. */
  readonly rows: readonly Readonly<Record<string, string | number>>[];
}

/** What came back of one load. Latencies are of accepted calls, in milliseconds. */
export interface LoadResult {
  readonly offeredPerSecond: number;
  readonly acceptedPerSecond: number;
  readonly shedPerSecond: number;
  readonly errors: number;
  /** Accepted answers that were degraded; counted in open loop only. */
  readonly degraded: number;
  /** Accepted answers of which a stage was answered by its fallback; counted in open loop only. */
  readonly fallbacks: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
}

/** The commit of the working tree, with "+" where it has changes. */
export function commitOf(directory: string): string {
  try {
    const git = (...args: string[]) =>
      execFileSync("git", ["-C", directory, ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    return git("rev-parse", "--short", "HEAD") + (git("status", "--porcelain") === "" ? "" : "+");
  } catch {
    return "unknown";
  }
}

/** The machine in words. */
export function machineName(): string {
  const [first] = cpus();
  return `${cpus().length} x ${first?.model.trim() ?? "cpu"}, ${Math.round(totalmem() / 2 ** 30)} GiB, node ${process.version}`;
}

/** A bar that a value must be at least. */
export function atLeast(name: string, value: number, bar: number): Bar {
  return { name, value: round(value), bar: `>= ${bar}`, pass: value >= bar };
}

/** A bar that a value must be below. */
export function below(name: string, value: number, bar: number): Bar {
  return { name, value: round(value), bar: `< ${bar}`, pass: value < bar };
}

/** A bar that a value may reach and not pass. */
export function atMost(name: string, value: number, bar: number): Bar {
  return { name, value: round(value), bar: `<= ${bar}`, pass: value <= bar };
}

/** Three significant decimals. */
export function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

/** The middle one of several measurements. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** The value that a share of the sorted values lies at or below. */
export function percentile(sorted: ArrayLike<number>, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(sorted.length * share) - 1))] ?? Number.NaN;
}

/** Prints a result: a table with the bars' summary last, or one JSON object. Sets exit status 1 where a bar fails. */
export function printResult(result: BenchResult, json: boolean): void {
  if (result.bars.some(({ pass }) => !pass)) process.exitCode = 1;
  if (json) {
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return;
  }
  const { bench, commit, machine, offeredPerSecond, acceptedPerSecond, shedPerSecond, errors, latencyMs, cpuCores } =
    result;
  const out = (text: string) => process.stdout.write(`${text}\n`);
  out(`\nbench ${bench}  commit ${commit}\n${machine}\n`);
  for (const row of result.rows)
    out(
      Object.entries(row)
        .map(([key, value]) => `${key} ${value}`)
        .join("  "),
    );
  out(
    `\noffered/s ${offeredPerSecond}  accepted/s ${acceptedPerSecond}  shed/s ${shedPerSecond}  errors ${errors}  cpu cores ${cpuCores}`,
  );
  out(`latency ms  p50 ${latencyMs.p50}  p99 ${latencyMs.p99}  p99.9 ${latencyMs.p999}\n`);
  for (const bar of result.bars) out(`${bar.pass ? "pass" : "FAIL"}  ${bar.name}: ${bar.value} (bar ${bar.bar})`);
  const passed = result.bars.filter(({ pass }) => pass).length;
  out(`${bench}: ${passed} of ${result.bars.length} bars passed`);
}
