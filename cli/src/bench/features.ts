import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { freePort, isListening, pythonEnvironment, runCommand, ServerProcess, startRedis } from "@weft/local-servers";
import { CommandFailure } from "../failure.ts";
import { startProgress } from "../progress.ts";
import { type BenchChild, program, runChild, startChild } from "./child.ts";
import { featureNames, names, userCount } from "./features-scenario.ts";
import {
  atLeast,
  atMost,
  type BenchResult,
  below,
  commitOf,
  type LoadResult,
  machineName,
  median,
  round,
} from "./result.ts";

const callers = 8;
const rounds = 3;
const checkedRows = 100;
/** Rows of a request, with the bar of p99 in milliseconds. */
const shapes = [
  { rows: 1, p99BarMs: 2 },
  { rows: 100, p99BarMs: 5 },
] as const;
const rateBar = 40;
const version = "0.67.0";
const peerFolder = join(__dirname, "..", "..", "src", "bench", "feast");

/** Who is asked, and how its client is called. */
interface Subject {
  readonly name: string;
  readonly kind: "matrix" | "columns" | "feast";
  readonly port: string;
}

/**
 * `GetOnlineFeatures` over Redis beside Feast's Python server, in one run on one Redis: the same 10,000 rows of 50
 * float32 features, of which each request asks 1 or 100 at random, by 8 callers. The service keeps nothing in memory:
 * every request reads Redis, as Feast's do.
 */
export async function benchFeatures(seconds: number): Promise<BenchResult> {
  const python = await feastPython();
  const scratch = mkdtempSync(join(tmpdir(), "weft-bench-features-"));
  const closers: (() => Promise<void>)[] = [];
  try {
    const progress = startProgress("bench features: loading rows");
    const redis = await startRedis(["--appendonly", "no"]);
    closers.push(() => redis.server.close());
    const rows = join(scratch, "rows.csv");
    writeFileSync(rows, rowsText());
    const weft = await startServer(join(scratch, "uncached"), rows, redis.port, 0, closers);
    const cached = await startServer(join(scratch, "cached"), rows, redis.port, 4 * userCount, closers);
    const feast = await startFeast(python, scratch, rows, redis.port, closers);
    progress.end();
    const matrix: Subject = { name: "weft, matrix", kind: "matrix", port: weft.firstLine };
    const columns: Subject = { name: "weft, columns with event times", kind: "columns", port: weft.firstLine };
    const inMemory: Subject = { name: "weft, matrix, hot keys in memory", kind: "matrix", port: cached.firstLine };
    const peer: Subject = { name: `feast ${version}, http`, kind: "feast", port: String(feast) };
    const [own, ownColumns, theirs] = await Promise.all([matrix, columns, peer].map(valuesOf));
    const different = differences(own, theirs) + differences(ownColumns, theirs);

    const measured: { readonly subject: Subject; readonly rows: number; readonly runs: LoadResult[]; cpuUs: number }[] =
      [];
    for (const { rows } of shapes)
      for (const subject of [matrix, columns, inMemory, peer]) measured.push({ subject, rows, runs: [], cpuUs: 0 });
    const measuring = startProgress("bench features: measuring");
    const part = Math.max(1, Math.round(seconds / rounds));
    for (const { subject, rows } of measured) await load(subject, rows, 1);
    for (let round = 0; round < rounds; round++) {
      for (const one of measured) {
        const server = one.subject === peer ? undefined : one.subject === inMemory ? cached : weft;
        const before = Number((await server?.ask()) ?? 0);
        const run = await load(one.subject, one.rows, part);
        one.cpuUs = (Number((await server?.ask()) ?? 0) - before) / (run.acceptedPerSecond * part);
        one.runs.push(run);
      }
      measuring.update(round + 1, rounds);
    }
    measuring.end();
    const runsOf = (subject: Subject, rows: number) =>
      measured.find((one) => one.subject === subject && one.rows === rows)?.runs ?? [];
    const figure = (subject: Subject, rows: number, of: (run: LoadResult) => number) =>
      median(runsOf(subject, rows).map(of));
    // Round by round, as the machine's speed drifts.
    const ratio = (subject: Subject, rows: number) =>
      median(
        runsOf(subject, rows).map(
          (run, index) => run.acceptedPerSecond / (runsOf(peer, rows)[index]?.acceptedPerSecond ?? Number.NaN),
        ),
      );
    const errors = measured.reduce((sum, { runs }) => sum + runs.reduce((all, run) => all + run.errors, 0), 0);
    return {
      bench: "features",
      commit: commitOf(__dirname),
      machine: machineName(),
      offeredPerSecond: round(figure(matrix, 1, (run) => run.offeredPerSecond)),
      acceptedPerSecond: round(figure(matrix, 1, (run) => run.acceptedPerSecond)),
      shedPerSecond: 0,
      errors,
      latencyMs: {
        p50: round(figure(matrix, 1, (run) => run.p50)),
        p99: round(figure(matrix, 1, (run) => run.p99)),
        p999: round(figure(matrix, 1, (run) => run.p999)),
      },
      cpuCores: round(
        ((measured.find(({ subject }) => subject === matrix)?.cpuUs ?? 0) *
          figure(matrix, 1, (run) => run.acceptedPerSecond)) /
          1e6,
      ),
      rows: measured.map(({ subject, rows, cpuUs }) => ({
        server: subject.name,
        "rows x features": `${rows} x ${featureNames.length}`,
        "requests/s": Math.round(figure(subject, rows, (run) => run.acceptedPerSecond)),
        "p50 ms": round(figure(subject, rows, (run) => run.p50)),
        "p99 ms": round(figure(subject, rows, (run) => run.p99)),
        "over feast": round(ratio(subject, rows)),
        errors: runsOf(subject, rows).reduce((sum, run) => sum + run.errors, 0),
        ...(subject === peer ? {} : { "server us/request": Math.round(cpuUs) }),
      })),
      bars: [
        atMost(`values that differ from feast's, of ${2 * checkedRows * featureNames.length}`, different, 0),
        atMost("errors", errors, 0),
        ...shapes.flatMap(({ rows, p99BarMs }) => {
          const shape = `${rows} x ${featureNames.length}`;
          return [
            atLeast(`${shape}, rate over feast`, ratio(matrix, rows), rateBar),
            below(
              `${shape}, p99 ms at ${callers} callers`,
              figure(matrix, rows, (run) => run.p99),
              p99BarMs,
            ),
          ];
        }),
      ],
    };
  } finally {
    for (const close of closers.reverse()) await close();
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Simulated rows: float32 values, with a few decimals each, of a day ago. */
function rowsText(): string {
  const eventTime = (Date.now() - 86_400_000) * 1_000;
  const lines = [["user", "event_time", ...featureNames].join(",")];
  for (let user = 0; user < userCount; user++)
    lines.push(
      [user, eventTime + user, ...featureNames.map((_, at) => ((user * 7_919 + at * 104_729) % 99_991) / 16)].join(","),
    );
  return `${lines.join("\n")}\n`;
}

async function startServer(
  directory: string,
  rows: string,
  redisPort: number,
  cacheEntriesMax: number,
  closers: (() => Promise<void>)[],
): Promise<BenchChild> {
  const source = join(directory, "feature", "offline", names.scenario, "rows.csv");
  mkdirSync(dirname(source), { recursive: true });
  copyFileSync(rows, source);
  const child = await startChild(program("features-server"), [directory, String(redisPort), String(cacheEntriesMax)]);
  closers.push(() => child.stop());
  return child;
}

async function feastPython(): Promise<string> {
  const progress = startProgress("installing feast");
  try {
    const requirements = readFileSync(join(peerFolder, "requirements.txt"), "utf8").split("\n").filter(Boolean);
    return await pythonEnvironment(`feast-${version}`, requirements);
  } catch (error) {
    throw new CommandFailure(
      `feast could not be installed; it needs Python 3.11 with venv and pip: ${error instanceof Error ? error.message : error}`,
    );
  } finally {
    progress.end();
  }
}

/** Starts `feast serve` on the same Redis, under its own keys, as its documentation says; without an access log, for speed. */
async function startFeast(
  python: string,
  scratch: string,
  rows: string,
  redisPort: number,
  closers: (() => Promise<void>)[],
): Promise<number> {
  const repository = join(scratch, "feast");
  mkdirSync(repository);
  writeFileSync(
    join(repository, "feature_store.yaml"),
    [
      "project: bench",
      "registry: registry.db",
      "provider: local",
      `online_store: {type: redis, connection_string: "127.0.0.1:${redisPort}"}`,
      "offline_store: {type: file}",
      "entity_key_serialization_version: 3",
      "",
    ].join("\n"),
  );
  const env = { FEAST_USAGE: "False", PYTHONDONTWRITEBYTECODE: "1" };
  await runCommand(python, [join(peerFolder, "repository.py"), repository, rows], { cwd: repository, env });
  const port = await freePort();
  const server = await ServerProcess.start({
    name: "feast",
    command: join(dirname(python), "feast"),
    args: () => [
      ...["--chdir", repository, "serve", "--host", "127.0.0.1", "--port", String(port)],
      ...["--no-access-log", "--max-requests", "0"],
    ],
    env,
    isReady: () => isListening(port),
    readyTimeoutMs: 120_000,
  });
  closers.push(() => server.close());
  return port;
}

async function load({ kind, port }: Subject, rows: number, seconds: number): Promise<LoadResult> {
  return JSON.parse(
    await runChild(program("features-client"), [kind, port, String(callers), String(rows), String(seconds)]),
  );
}

/** What a server answers for the first users. */
async function valuesOf({ kind, port }: Subject): Promise<number[][]> {
  return JSON.parse(await runChild(program("features-client"), [kind, port, "1", String(checkedRows), "0"]));
}

function differences(one: readonly number[][] | undefined, other: readonly number[][] | undefined): number {
  let count = 0;
  for (let row = 0; row < checkedRows; row++)
    for (let at = 0; at < featureNames.length; at++) if (one?.[row]?.[at] !== other?.[row]?.[at]) count++;
  return count;
}
