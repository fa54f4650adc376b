import { join, resolve } from "node:path";
import { toJson } from "@bufbuild/protobuf";
import { processEnvironment } from "@weft/config";
import { gateway, registry, serviceNames } from "@weft/contracts";
import { loadScenario, type Scenario } from "@weft/scenario";
import { prepareData } from "../deploy/data.ts";
import { pushScenario } from "../deploy/push.ts";
import { awaitAnswers, deployClients, releaseScenario } from "../deploy/release.ts";
import { CommandFailure } from "../failure.ts";
import { callerTls } from "../peers.ts";
import { startProgress } from "../progress.ts";
import { pasteLines, recommendRequest, scoreRequest } from "../requests.ts";
import { allServices } from "../services.ts";
import { showDecision, showRecommendation } from "../show.ts";
import { startCollocated, startMesh, type Topology } from "../topology.ts";

/** Options of `weft up`. */
export interface UpOptions {
  readonly mesh: boolean;
  /** Print and exit instead of serving until a signal. */
  readonly once: boolean;
  readonly json: boolean;
  readonly freePorts: boolean;
  /** Folder for all state. */
  readonly data: string;
  readonly parameters: Readonly<Record<string, string>>;
  readonly settings: readonly string[];
}

const readyTimeoutMs = 60_000;
/** Longest wait for the services to stop; what has not ended by then is left to the end of the process. */
const stopTimeoutMs = 20_000;
const shownItems = 5;
const shownDecisions = 3;

/** Starts every service, deploys scenarios, shows what they answer and serves. */
export async function up(folders: readonly string[], options: UpOptions): Promise<void> {
  const data = resolve(options.data);
  const offlineDirectory = join(data, "feature", "offline");
  const deployable = await prepareAll(folders, { ...options, offlineDirectory });
  if (deployable.length === 0) throw new CommandFailure("no scenario can be served");
  const starting = startProgress(
    `starting ${serviceNames.length} services ${options.mesh ? "as a mesh" : "in one process"}`,
  );
  const settings = [
    "--process.log-level=warn",
    ...(options.freePorts && !options.mesh ? freePortSettings() : []),
    ...options.settings,
    `--process.data-directory=${data}`,
    `--feature.offline-directory=${offlineDirectory}`,
  ];
  const topology = options.mesh
    ? await startMesh({ settings, freePorts: options.freePorts, logDirectory: join(data, "logs") })
    : await startCollocated(settings, processEnvironment());
  starting.end();
  const stopped = stopOnSignal(topology);
  try {
    const clients = deployClients(topology.dial);
    const releases: Record<string, string> = {};
    for (const { folder, scenario } of deployable) {
      const pushed = await pushScenario(topology.dial(registry.RegistryService), folder, scenario);
      const { id, unchanged } = await releaseScenario(clients, scenario, pushed, { label: "champion" });
      releases[scenario.name] = id;
      process.stderr.write(`${scenario.name}: release ${id}${unchanged ? " (as before)" : ""} is champion\n`);
    }
    const warming = startProgress("warming up");
    await topology.ready(readyTimeoutMs);
    for (const { scenario } of deployable)
      await awaitAnswers(clients.gateway, scenario, releases[scenario.name] ?? "", { pinned: false });
    warming.end("ready");
    await present(
      topology,
      deployable.map(({ scenario }) => scenario),
      releases,
      options,
    );
    if (options.once) return await stopped.stop();
    process.stdout.write(options.json ? "" : "\nServing until Ctrl-C.\n");
    await stopped.signalled;
  } catch (error) {
    await stopped.stop();
    throw error;
  }
}

function freePortSettings(): string[] {
  return allServices.flatMap(({ name, edge }) => [
    `--${name}.port=0`,
    `--${name}.metrics-port=0`,
    ...(edge === undefined ? [] : [`--${name}.edge-port=0`]),
  ]);
}

interface Deployable {
  readonly folder: string;
  readonly scenario: Scenario;
}

/** Loads scenarios and writes their data. One whose data cannot be had is named and left out, so that the others serve. */
async function prepareAll(
  folders: readonly string[],
  options: UpOptions & { readonly offlineDirectory: string },
): Promise<Deployable[]> {
  const deployable: Deployable[] = [];
  for (const folder of folders) {
    const scenario = loadScenario(folder);
    try {
      await prepareData({
        folder: resolve(folder),
        scenario: scenario.name,
        offlineDirectory: options.offlineDirectory,
        parameters: options.parameters,
      });
      deployable.push({ folder: resolve(folder), scenario });
    } catch (error) {
      if (!(error instanceof CommandFailure)) throw error;
      process.stderr.write(`${scenario.name} lacks its data and is left out: ${error.message}\n`);
    }
  }
  return deployable;
}

/** Stops the services on SIGINT or SIGTERM, or when asked to. */
function stopOnSignal(topology: Topology): { readonly signalled: Promise<void>; stop(): Promise<void> } {
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= Promise.race([
      topology.stop(),
      new Promise<void>((done) => {
        setTimeout(() => {
          process.stderr.write("not all services have ended in time\n");
          done();
          setImmediate(() => process.exit(1));
        }, stopTimeoutMs).unref();
      }),
    ]);
    return stopping;
  };
  const signalled = new Promise<void>((done) => {
    const end = () => {
      process.stderr.write("draining\n");
      stop().then(done, done);
    };
    process.once("SIGINT", end);
    process.once("SIGTERM", end);
  });
  return {
    signalled,
    async stop() {
      await stop();
      process.removeAllListeners("SIGINT");
      process.removeAllListeners("SIGTERM");
    },
  };
}

async function present(
  topology: Topology,
  scenarios: readonly Scenario[],
  releases: Readonly<Record<string, string>>,
  options: UpOptions,
): Promise<void> {
  const client = topology.dial(gateway.GatewayService);
  const own = topology.addresses.get("gateway");
  if (own === undefined) throw new CommandFailure("the gateway is not running");
  const grpc = `${own.host}:${own.port}`;
  const edge = `${own.host}:${own.edgePort}`;
  const tls = callerTls(options.settings);
  const results: Record<string, unknown>[] = [];
  const out = (text: string) => options.json || process.stdout.write(text);
  const paste: { grpcurl: string; curl: string }[] = [];
  for (const scenario of scenarios) {
    const simulated = scenario.simulated ? " (simulated data)" : "";
    if (scenario.pipeline.type === "recommend") {
      const example = scenario.examples[0];
      if (example === undefined) continue;
      const request = recommendRequest(scenario, example, shownItems);
      const response = await client.recommend(request);
      const who = Object.entries(example.entities)
        .map(([entity, key]) => `${entity} ${key}`)
        .join(", ");
      out(
        `\n${scenario.name}${simulated}: ${response.items.length} recommendations for ${who}\n${showRecommendation(response)}`,
      );
      results.push({
        scenario: scenario.name,
        simulated: scenario.simulated,
        recommend: toJson(gateway.RecommendResponseSchema, response),
      });
      paste.push(pasteLines("Recommend", request, grpc, edge, tls));
    } else {
      out(`\n${scenario.name}${simulated}: decisions\n`);
      for (const [index, example] of scenario.examples.slice(0, shownDecisions).entries()) {
        const request = scoreRequest(scenario, example);
        const response = await client.score(request);
        out(showDecision(response));
        results.push({
          scenario: scenario.name,
          simulated: scenario.simulated,
          score: toJson(gateway.ScoreResponseSchema, response),
        });
        if (index === 0) paste.push(pasteLines("Score", request, grpc, edge, tls));
      }
    }
  }
  if (options.json) {
    const addresses = Object.fromEntries(topology.addresses);
    process.stdout.write(`${JSON.stringify({ releases, addresses, results, paste })}\n`);
    return;
  }
  out("\nservice      gRPC              metrics, health\n");
  for (const [name, address] of topology.addresses)
    out(
      `${name.padEnd(12)} ${`${address.host}:${address.port}`.padEnd(17)} http://${address.host}:${address.metricsPort}/metrics\n`,
    );
  out(`HTTP edge    ${tls === undefined ? "http" : "https"}://${edge}\n\nTry:\n`);
  for (const { grpcurl, curl } of paste) out(`${grpcurl}\n${curl}\n`);
}
