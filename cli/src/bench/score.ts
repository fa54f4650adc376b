import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gateway } from "@weft/contracts";
import { cacheDirectory } from "@weft/local-servers";
import { loadScenario } from "@weft/scenario";
import { CommandFailure } from "../failure.ts";
import { startProgress } from "../progress.ts";
import { type BenchChild, program, runChild, startChild } from "./child.ts";
import { ghzPath, type Load, runGhz } from "./ghz.ts";
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
import { historyRequests } from "./score-requests.ts";

const root = join(__dirname, "..", "..", "..");
const scenarioFolder = join(root, "examples", "fraud");
const cards = 100_000;
/** Fewer payments a card than the scenario's default: the store has as many cards and less history to replay. */
const paymentsPerCardDay = 0.15;
const callers = 64;
const rounds = 3;
const moderateRate = 5_000;
const fullRate = 10_000;
/** How much longer the full rate is held than other loads: 60 seconds by default. */
const fullFactor = 6;
const p99BarMs = 50;
const collocatedP99BarMs = 10;
const searchSecondsMax = 5;
const warmUpSeconds = 3;
const seed = 1;

/** Services that a bench has started, with requests for them. */
interface Target {
  readonly child: BenchChild;
  readonly port: number;
  readonly metricsPort: number;
}

/**
 * The fraud scenario with 100,000 cards in the store, behind real gRPC. Collocated: closed loop beside the yardstick in
 * the same run, then open loop at two rates, then the highest rate whose p99 is below 50 ms. Then as a mesh, open loop.
 */
export async function benchScore(seconds: number): Promise<BenchResult> {
  await ghzPath();
  const scenario = loadScenario(scenarioFolder);
  if (scenario.pipeline.type !== "score") throw new CommandFailure("the scenario does not answer Score");
  const data = join(cacheDirectory(), "bench-score");
  mkdirSync(data, { recursive: true });
  const scratch = mkdtempSync(join(data, "run-"));
  const dataFile = join(scratch, "requests.json");
  const openLoop = async (target: Target, rate: number, length: number): Promise<LoadResult> => {
    const args = [`127.0.0.1:${target.port}`, String(rate), String(length), dataFile, String(seed)];
    return JSON.parse(await runChild(program("open-loop"), args));
  };
  const children = new Set<BenchChild>();
  const end = async (child: BenchChild) => {
    await child.stop();
    children.delete(child);
  };
  try {
    const weft = await startWeft(data, []);
    children.add(weft.child);
    const requests = await historyRequests(scenario, join(data, "feature", "offline", scenario.name));
    writeFileSync(dataFile, JSON.stringify(requests));
    const { name, features } = scenario.pipeline.stages.scoring.model;
    const model = join(scenarioFolder, "artifacts", name, "model.onnx");
    const yardstick = await startChild(program("yardstick"), [model, String(features.length)]);
    children.add(yardstick);
    const closed = await closedLoops(weft, yardstick.firstLine, dataFile, seconds);
    await end(yardstick);

    const opening = startProgress(`bench score: open loop at ${moderateRate}/s and ${fullRate}/s`);
    const moderate = await openLoop(weft, moderateRate, seconds);
    const before = await cpuSeconds(weft.metricsPort);
    const full = await openLoop(weft, fullRate, fullFactor * seconds);
    const cores = ((await cpuSeconds(weft.metricsPort)) - before) / (fullFactor * seconds);
    opening.end();
    const searching = startProgress(`bench score: highest rate with p99 < ${p99BarMs} ms`);
    const searchSeconds = Math.min(searchSecondsMax, seconds);
    const highest = await highestRate(searchSeconds, (rate) => openLoop(weft, rate, searchSeconds));
    searching.end(`${highest}/s`);
    await end(weft.child);

    const meshing = startProgress("bench score: as a mesh");
    const mesh = await startWeft(data, ["--mesh"]);
    children.add(mesh.child);
    await openLoop(mesh, moderateRate, warmUpSeconds);
    const meshed = await openLoop(mesh, fullRate, 2 * seconds);
    await end(mesh.child);
    meshing.end();

    const errors = [...closed.own, moderate, full].reduce((total, run) => total + run.errors, 0);
    return {
      bench: "score",
      commit: commitOf(root),
      machine: machineName(),
      offeredPerSecond: round(full.offeredPerSecond),
      acceptedPerSecond: round(full.acceptedPerSecond),
      shedPerSecond: round(full.shedPerSecond),
      errors: full.errors,
      latencyMs: { p50: round(full.p50), p99: round(full.p99), p999: round(full.p999) },
      cpuCores: round(cores),
      rows: [
        row(`yardstick, ${callers} callers`, closed.bare),
        row(`weft, ${callers} callers`, closed.own),
        row(`weft, open loop ${moderateRate}/s`, [moderate]),
        row(`weft, open loop ${fullRate}/s, ${fullFactor * seconds} s`, [full]),
        row(`weft as a mesh, open loop ${fullRate}/s`, [meshed]),
        { [`highest rate with p99 < ${p99BarMs} ms`]: highest },
      ],
      bars: [
        atLeast("closed loop, rate over the yardstick", closed.rateRatio, 0.7),
        atMost("closed loop, p99 over the yardstick", closed.p99Ratio, 1.5),
        below(`open loop at ${moderateRate}/s, p99 ms`, moderate.p99, p99BarMs),
        atLeast(`open loop at ${moderateRate}/s, share answered by the model`, answeredShare(moderate, seconds), 0.99),
        below(`open loop at ${fullRate}/s, p99 ms`, full.p99, collocatedP99BarMs),
        atLeast(
          `open loop at ${fullRate}/s, share answered by the model`,
          answeredShare(full, fullFactor * seconds),
          0.99,
        ),
        atMost("errors", errors, 0),
        below(`as a mesh at ${fullRate}/s, p99 ms`, meshed.p99, p99BarMs),
        atLeast(`as a mesh at ${fullRate}/s, share answered by the model`, answeredShare(meshed, 2 * seconds), 0.99),
        atMost("errors as a mesh", meshed.errors, 0),
      ],
    };
  } finally {
    await Promise.all([...children].map((child) => child.stop()));
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Starts the scenario on a store that is kept from run to run, with an empty prediction log. */
async function startWeft(data: string, options: readonly string[]): Promise<Target> {
  rmSync(join(data, "monitoring"), { recursive: true, force: true });
  const child = await startChild(join(__dirname, "..", "..", "bin", "weft.js"), [
    "up",
    scenarioFolder,
    ...options,
    "--json",
    "--free-ports",
    "--data-directory",
    data,
    "--data",
    `cards=${cards}`,
    "--data",
    `paymentsPerCardDay=${paymentsPerCardDay}`,
  ]);
  const { addresses } = JSON.parse(child.firstLine) as {
    addresses: { gateway: { port: number; metricsPort: number } };
  };
  return { child, ...addresses.gateway };
}

/** Both servers in turn under the same callers, so that a drift of the machine's speed meets both. */
async function closedLoops(weft: Target, yardstickPort: string, dataFile: string, seconds: number) {
  const call = `${gateway.GatewayService.typeName}.Score`;
  const load = (port: number | string): Load => ({ target: `127.0.0.1:${port}`, call, dataFile, callers, seconds });
  const progress = startProgress("bench score: closed loop");
  await runGhz({ ...load(weft.port), seconds: warmUpSeconds });
  await runGhz({ ...load(yardstickPort), seconds: warmUpSeconds });
  const own: LoadResult[] = [];
  const bare: LoadResult[] = [];
  for (let round = 0; round < rounds; round++) {
    bare.push(await runGhz(load(yardstickPort)));
    own.push(await runGhz(load(weft.port)));
    progress.update(round + 1, rounds);
  }
  progress.end();
  const ratio = (figure: "acceptedPerSecond" | "p99") =>
    median(own.map((run, index) => run[figure] / (bare[index]?.[figure] ?? Number.NaN)));
  return { own, bare, rateRatio: ratio("acceptedPerSecond"), p99Ratio: ratio("p99") };
}

function row(name: string, runs: readonly LoadResult[]) {
  const of = (figure: keyof LoadResult) => round(median(runs.map((run) => run[figure])));
  return {
    load: name,
    "accepted/s": Math.round(of("acceptedPerSecond")),
    "p50 ms": of("p50"),
    "p99 ms": of("p99"),
    "p99.9 ms": of("p999"),
    errors: of("errors"),
    degraded: of("degraded"),
    fallbacks: of("fallbacks"),
  };
}

/** Share of what was offered that was answered by the model: accepted, and no stage by its fallback. */
function answeredShare({ acceptedPerSecond, offeredPerSecond, fallbacks }: LoadResult, seconds: number): number {
  return round((acceptedPerSecond - fallbacks / seconds) / offeredPerSecond);
}

/** Greatest offered rate, in steps of 500/s, that the model answers with p99 below the bar. */
async function highestRate(seconds: number, run: (rate: number) => Promise<LoadResult>): Promise<number> {
  let low = 0;
  let high = 100;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    const rate = middle * 500;
    const result = await run(rate);
    const held = result.p99 < p99BarMs && result.errors === 0 && answeredShare(result, seconds) >= 0.98;
    if (held) low = middle;
    else high = middle;
  }
  return low * 500;
}

/** CPU seconds that the server's process has used. */
async function cpuSeconds(metricsPort: number): Promise<number> {
  const body = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  return Number(/^process_cpu_seconds_total (\S+)/m.exec(body)?.[1] ?? Number.NaN);
}
