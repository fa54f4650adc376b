import { createReadStream, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { toJson } from "@bufbuild/protobuf";
import { gateway } from "@weft/contracts";
import { cacheDirectory } from "@weft/local-servers";
import { loadScenario, type Scenario, type Value } from "@weft/scenario";
import { CommandFailure } from "../failure.ts";
import { startProgress } from "../progress.ts";
import { scoreRequest } from "../requests.ts";
import { program, runChild, startChild } from "./child.ts";
import { ghzPath, type Load, runGhz } from "./ghz.ts";
import {
  atLeast,
  atMost,
  type Bar,
  type BenchResult,
  below,
  commitOf,
  type LoadResult,
  machineName,
  median,
  round,
} from "./result.ts";

const root = join(__dirname, "..", "..", "..");
const scenarioFolder = join(root, "examples", "fraud");
const cards = 100_000;
/** Fewer payments a card than the scenario's default: the store has as many cards and less history to replay. */
const paymentsPerCardDay = 0.15;
const callers = 64;
const rounds = 3;
const openLoopRate = 5_000;
const requestsMax = 5_000;
const p99BarMs = 50;
const seed = 1;

/**
 * The fraud scenario collocated, with 100,000 cards in the store, behind real gRPC: closed loop beside the yardstick in
 * the same run, then open loop, then the highest rate whose p99 is below 50 ms.
 */
export async function benchScore(seconds: number): Promise<BenchResult> {
  await ghzPath();
  const scenario = loadScenario(scenarioFolder);
  if (scenario.pipeline.type !== "score") throw new CommandFailure("the scenario does not answer Score");
  const data = join(cacheDirectory(), "bench-score");
  mkdirSync(data, { recursive: true });
  const scratch = mkdtempSync(join(data, "run-"));
  const model = scenario.pipeline.stages.scoring.model;
  const weft = await startChild(join(__dirname, "..", "..", "bin", "weft.js"), [
    "up",
    scenarioFolder,
    "--json",
    "--free-ports",
    "--data-directory",
    data,
    "--data",
    `cards=${cards}`,
    "--data",
    `paymentsPerCardDay=${paymentsPerCardDay}`,
  ]);
  const yardstick = await startChild(program("yardstick"), [
    join(scenarioFolder, "artifacts", model.name, "model.onnx"),
    String(model.features.length),
  ]);
  try {
    const { addresses } = JSON.parse(weft.firstLine) as {
      addresses: { gateway: { port: number; metricsPort: number } };
    };
    const dataFile = join(scratch, "requests.json");
    writeFileSync(
      dataFile,
      JSON.stringify(await historyRequests(scenario, join(data, "feature", "offline", scenario.name))),
    );
    const call = `${gateway.GatewayService.typeName}.Score`;
    const to = (port: number | string) => ({ target: `127.0.0.1:${port}`, call, dataFile, callers });
    const closed = (port: number | string): Load => ({ ...to(port), seconds });
    const progress = startProgress("bench score: closed loop");
    await runGhz({ ...closed(addresses.gateway.port), seconds: 3 });
    await runGhz({ ...closed(yardstick.firstLine), seconds: 3 });
    const own: LoadResult[] = [];
    const bare: LoadResult[] = [];
    let cores = 0;
    for (let round = 0; round < rounds; round++) {
      bare.push(await runGhz(closed(yardstick.firstLine)));
      const before = await cpuSeconds(addresses.gateway.metricsPort);
      const start = performance.now();
      own.push(await runGhz(closed(addresses.gateway.port)));
      cores = ((await cpuSeconds(addresses.gateway.metricsPort)) - before) / ((performance.now() - start) / 1000);
      progress.update(round + 1, rounds);
    }
    progress.end();
    const opened = startProgress(`bench score: open loop at ${openLoopRate}/s`);
    const openLoop = async (rate: number, length: number): Promise<LoadResult> =>
      JSON.parse(
        await runChild(program("open-loop"), [
          `127.0.0.1:${addresses.gateway.port}`,
          String(rate),
          String(length),
          dataFile,
          String(seed),
        ]),
      );
    const open = await openLoop(openLoopRate, seconds);
    opened.end();
    const searching = startProgress("bench score: highest rate with p99 < 50 ms");
    const highest = await highestRate((rate) => openLoop(rate, Math.min(5, seconds)));
    searching.end(`${highest}/s`);
    const ratio = median(
      own.map((run, index) => run.acceptedPerSecond / (bare[index]?.acceptedPerSecond ?? Number.NaN)),
    );
    const p99Ratio = median(own.map((run, index) => run.p99 / (bare[index]?.p99 ?? Number.NaN)));
    const errors = [...own, open].reduce((total, run) => total + run.errors, 0);
    const bars: Bar[] = [
      atLeast("closed loop, rate over the yardstick", ratio, 0.7),
      atMost("closed loop, p99 over the yardstick", p99Ratio, 1.5),
      below(`open loop at ${openLoopRate}/s, p99 ms`, open.p99, p99BarMs),
      atMost("errors", errors, 0),
      atLeast(`open loop, accepted of ${openLoopRate}/s`, round(open.acceptedPerSecond / open.offeredPerSecond), 0.99),
    ];
    return {
      bench: "score",
      commit: commitOf(root),
      machine: machineName(),
      offeredPerSecond: openLoopRate,
      acceptedPerSecond: round(open.acceptedPerSecond),
      shedPerSecond: round(open.shedPerSecond),
      errors,
      latencyMs: { p50: round(open.p50), p99: round(open.p99), p999: round(open.p999) },
      cpuCores: round(cores),
      rows: [
        row("yardstick, 64 callers", bare),
        row("weft, 64 callers", own),
        { ...row(`weft, open loop ${openLoopRate}/s`, [open]), degraded: open.degraded },
        { "highest rate with p99 < 50 ms": highest },
      ],
      bars,
    };
  } finally {
    await Promise.all([weft.stop(), yardstick.stop()]);
    rmSync(scratch, { recursive: true, force: true });
  }
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
  };
}

/** Greatest offered rate, in steps of 500/s, that is accepted whole with p99 below the bar. */
async function highestRate(run: (rate: number) => Promise<LoadResult>): Promise<number> {
  let low = 0;
  let high = 40;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    const rate = middle * 500;
    const result = await run(rate);
    const held = result.p99 < p99BarMs && result.errors === 0 && result.acceptedPerSecond >= rate * 0.98;
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

/** Requests made from the last rows of the history, at the end of the history, where the online store stands: as JSON, for ghz. */
async function historyRequests(scenario: Scenario, directory: string): Promise<unknown[]> {
  const model = scenario.models[0];
  if (model === undefined) throw new CommandFailure("the scenario has no model");
  const { source, entities } = model.trainingSet;
  const eventTimeUs = BigInt(Math.max(...scenario.examples.map((example) => Number(example.eventTimeUs))));
  const types: Record<string, unknown> = { ...source.fields, [source.eventTime]: "int64" };
  let header: string[] = [];
  const last: string[] = [];
  for await (const line of createInterface({ input: createReadStream(join(directory, source.file)) })) {
    if (header.length === 0) {
      header = line.split(",");
      continue;
    }
    last.push(line);
    if (last.length > requestsMax * 2) last.splice(0, requestsMax);
  }
  return last.slice(-requestsMax).map((line) => {
    const cells = new Map(line.split(",").map((cell, index) => [header[index] ?? "", cell]));
    const value = (field: string): Value => typed(cells.get(field) ?? "", types[field]);
    const example = {
      entities: Object.fromEntries(
        Object.entries(entities).map(([entity, field]) => [entity, value(field) as string | bigint]),
      ),
      request: Object.fromEntries(Object.keys(scenario.request).map((field) => [field, value(field)])),
      eventTimeUs,
    };
    return toJson(gateway.ScoreRequestSchema, scoreRequest(scenario, example));
  });
}

function typed(cell: string, type: unknown): Value {
  if (type === "int64") return BigInt(cell);
  if (type === "bool") return cell === "true" || cell === "1";
  return type === "string" ? cell : Number(cell);
}
