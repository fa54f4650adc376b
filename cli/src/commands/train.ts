import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";
import { processEnvironment } from "@weft/config";
import { feature, registry } from "@weft/contracts";
import type { Client } from "@weft/rpc";
import { type Gate, loadScenario, type Model, type Scenario, type TrainingSet } from "@weft/scenario";
import { startServices } from "@weft/service";
import { fileDigest, manifestFiles } from "../deploy/artifacts.ts";
import { prepareData } from "../deploy/data.ts";
import { inputsDigest } from "../deploy/model-inputs.ts";
import { pushDefinitions, pushScenario } from "../deploy/push.ts";
import { CommandFailure } from "../failure.ts";
import { startProgress } from "../progress.ts";
import { whileUnavailable } from "../retry.ts";
import { servicesNamed } from "../services.ts";
import { runTrainer, trainingPython } from "../training-environment.ts";

/** Options of `weft train`. */
export interface TrainOptions {
  readonly json: boolean;
  readonly data: string;
  readonly parameters: Readonly<Record<string, string>>;
  /** Only these models; all when empty. */
  readonly models: readonly string[];
  readonly settings: readonly string[];
}

interface BuiltSet {
  readonly file: string;
  readonly hash: string;
  readonly rows: number;
  readonly testFromUs: bigint;
}

const loadTimeoutMs = 60_000;
const seed = 1;

/** Point-in-time training set → trainer → gates → artifacts → registry with lineage. */
export async function train(folder: string, options: TrainOptions): Promise<void> {
  const scenario = loadScenario(folder);
  const wanted = scenario.models.filter(({ name }) => options.models.length === 0 || options.models.includes(name));
  const unknown = options.models.filter((name) => !scenario.models.some((model) => model.name === name));
  if (unknown.length > 0) throw new CommandFailure(`${folder} has no model ${unknown.join(", ")}`);
  const data = resolve(options.data);
  const offlineDirectory = join(data, "feature", "offline");
  const sourcesDirectory = await prepareData({
    folder: resolve(folder),
    scenario: scenario.name,
    offlineDirectory,
    parameters: options.parameters,
  });
  const python = await trainingPython();
  const services = servicesNamed(["registry", "feature"]);
  const running = await startServices(services, {
    arguments: [
      "--process.log-level=warn",
      ...options.settings,
      `--process.data-directory=${data}`,
      `--feature.offline-directory=${offlineDirectory}`,
      ...services.flatMap(({ name }) => [`--${name}.port=0`, `--${name}.metrics-port=0`]),
    ],
    environment: processEnvironment(),
  });
  try {
    const client = running.dial(registry.RegistryService);
    const { codeDigest, featureViews } = await pushDefinitions(client, resolve(folder), scenario);
    const created = await client.createRelease({
      scenario: scenario.name,
      codeDigest,
      featureViews: featureViews.map((view) => ({ ...view })),
    });
    const release = created.release?.id ?? "";
    await client.setLabel({ scenario: scenario.name, label: "challenger", releaseId: release });
    const sets = new Map<TrainingSet, BuiltSet>();
    const replayed = options.models.length === 0 ? scenario.evaluation?.trainingSet : undefined;
    for (const trainingSet of [
      ...wanted.map((model) => model.trainingSet),
      ...(replayed === undefined ? [] : [replayed]),
    ])
      if (!sets.has(trainingSet))
        sets.set(
          trainingSet,
          await buildTrainingSet(running.dial(feature.FeatureService), scenario, trainingSet, release),
        );
    const work = join(data, "train", scenario.name);
    for (const model of wanted) {
      const set = sets.get(model.trainingSet);
      if (set === undefined) continue;
      const lineage = { codeDigest, featureViews: featureViews.map(({ name, version }) => `${name}@${version}`) };
      await trainModel({ python, folder: resolve(folder), work, scenario, model, set, lineage });
    }
    if (scenario.evaluation !== undefined && options.models.length === 0)
      await evaluate({ python, folder: resolve(folder), work, scenario, sets, sourcesDirectory });
    writeManifest(resolve(folder), scenario);
    const pushed = await pushScenario(client, resolve(folder), scenario);
    await client.setLabel({ scenario: scenario.name, label: "challenger", releaseId: "" });
    report(resolve(folder), scenario, pushed.models, options.json);
  } finally {
    await running.stop();
  }
}

async function buildTrainingSet(
  client: Client<typeof feature.FeatureService>,
  scenario: Scenario,
  set: TrainingSet,
  release: string,
): Promise<BuiltSet> {
  const progress = startProgress(`${scenario.name}: training set ${set.name}`);
  let last: feature.BuildTrainingSetResponse | undefined;
  try {
    await whileUnavailable(loadTimeoutMs, async () => {
      for await (const step of client.buildTrainingSet(
        { scenario: scenario.name, trainingSet: set.name },
        { release },
      )) {
        last = step;
        progress.update(Number(step.rows), Number(step.rowsTotal));
      }
    });
  } catch (error) {
    progress.end("failed");
    throw error;
  }
  if (last?.done !== true) throw new CommandFailure(`training set ${set.name} was not finished`);
  progress.end(`${last.rows} rows, ${last.contentHash.slice(0, 12)}`);
  const testFrom = last.testFrom;
  const testFromUs =
    testFrom === undefined ? 0n : testFrom.seconds * 1_000_000n + BigInt(Math.floor(testFrom.nanos / 1000));
  return { file: last.uri, hash: last.contentHash, rows: Number(last.rows), testFromUs };
}

async function trainModel(job: {
  readonly python: string;
  readonly folder: string;
  readonly work: string;
  readonly scenario: Scenario;
  readonly model: Model;
  readonly set: BuiltSet;
  readonly lineage: { readonly codeDigest: string; readonly featureViews: readonly string[] };
}): Promise<void> {
  const { model, scenario, set } = job;
  const out = join(job.work, model.name);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const spec = {
    scenario: scenario.name,
    model: model.name,
    features: model.features,
    output: model.output,
    train_file: set.file,
    content_hash: set.hash,
    test_from_us: set.testFromUs.toString(),
    parameters: model.trainer.parameters,
    seed,
  };
  const specFile = join(out, "spec.json");
  writeFileSync(specFile, JSON.stringify(spec, null, 2));
  const progress = startProgress(`${scenario.name}: training ${model.name} (${model.trainer.name})`);
  try {
    await runTrainer(job.python, [model.trainer.name, "--spec", specFile, "--out", out]);
    checkGates(model.name, model.gates, readMetrics(out));
  } catch (error) {
    progress.end("failed");
    throw error;
  }
  const lineagePath = join(out, "lineage.json");
  const lineage: Record<string, unknown> = JSON.parse(readFileSync(lineagePath, "utf8"));
  lineage.training_set_hash = set.hash;
  lineage.feature_views = job.lineage.featureViews;
  lineage.code_digest = job.lineage.codeDigest;
  lineage.inputs_digest = inputsDigest(scenario, model);
  writeFileSync(lineagePath, `${JSON.stringify(lineage, null, 2)}\n`);
  const target = join(job.folder, "artifacts", model.name);
  mkdirSync(target, { recursive: true });
  for (const name of manifestFiles) if (existsSync(join(out, name))) copyFileSync(join(out, name), join(target, name));
  progress.end(
    Object.entries(readMetrics(out))
      .slice(0, 6)
      .map(([name, value]) => `${name} ${value.toPrecision(4)}`)
      .join(", "),
  );
}

function readMetrics(directory: string): Record<string, number> {
  const content: { metrics: Record<string, number> } = JSON.parse(
    readFileSync(join(directory, "metrics.json"), "utf8"),
  );
  return content.metrics;
}

/** Throws CommandFailure with every gate that the metrics do not pass. */
export function checkGates(model: string, gates: readonly Gate[], metrics: Readonly<Record<string, number>>): void {
  const failed = gates.flatMap(({ metric, atLeast, atMost }) => {
    const value = metrics[metric];
    if (value === undefined || Number.isNaN(value)) return [`${metric} was not measured`];
    if (atLeast !== undefined && value < atLeast) return [`${metric} ${value} is below ${atLeast}`];
    return atMost !== undefined && value > atMost ? [`${metric} ${value} is above ${atMost}`] : [];
  });
  if (failed.length > 0)
    throw new CommandFailure(`${model} does not pass its gates and is not registered: ${failed.join("; ")}`);
}

async function evaluate(job: {
  readonly python: string;
  readonly folder: string;
  readonly work: string;
  readonly scenario: Scenario;
  readonly sets: ReadonlyMap<TrainingSet, BuiltSet>;
  readonly sourcesDirectory: string;
}): Promise<void> {
  const { scenario } = job;
  if (scenario.evaluation === undefined) return;
  const out = join(job.folder, "artifacts");
  const spec = {
    scenario: scenario.name,
    training_sets: Object.fromEntries(
      [...job.sets].map(([set, { file, testFromUs }]) => [
        set.name,
        { train_file: file, test_from_us: testFromUs.toString() },
      ]),
    ),
    models: Object.fromEntries(scenario.models.map(({ name }) => [name, join(out, name)])),
    features: Object.fromEntries(scenario.models.map(({ name, features }) => [name, features])),
    sources_directory: job.sourcesDirectory,
    parameters: scenario.evaluation.parameters,
    out,
    seed,
  };
  const specFile = join(job.work, "evaluation.json");
  writeFileSync(specFile, JSON.stringify(spec, null, 2));
  const progress = startProgress(`${scenario.name}: evaluating the pipeline`);
  try {
    await runTrainer(job.python, [scenario.evaluation.name, "--spec", specFile, "--out", out]);
  } catch (error) {
    progress.end("failed");
    throw error;
  }
  progress.end(`report in ${relative(process.cwd(), join(out, "REPORT.md"))}`);
}

/** Names every artifact file with its digest and the command that made it. */
function writeManifest(folder: string, scenario: Scenario): void {
  const artifacts = join(folder, "artifacts");
  const files: Record<string, string> = {};
  for (const { name } of scenario.models) {
    if (!existsSync(join(artifacts, name))) continue;
    for (const file of readdirSync(join(artifacts, name)).sort())
      files[`${name}/${file}`] = fileDigest(join(artifacts, name, file));
  }
  const near = relative(process.cwd(), folder);
  const command = `npx weft train ${near.startsWith("..") ? basename(folder) : near}`;
  writeFileSync(
    join(artifacts, "manifest.json"),
    `${JSON.stringify({ scenario: scenario.name, command, files }, null, 2)}\n`,
  );
}

function report(
  folder: string,
  scenario: Scenario,
  models: readonly { readonly name: string; readonly version: string }[],
  json: boolean,
): void {
  const results = models.map(({ name, version }) => ({
    model: name,
    version,
    metrics: readMetrics(join(folder, "artifacts", name)),
  }));
  if (json) process.stdout.write(`${JSON.stringify({ scenario: scenario.name, models: results })}\n`);
  else
    for (const { model, version, metrics } of results)
      process.stdout.write(
        `${model} version ${version}: ${Object.entries(metrics)
          .map(([name, value]) => `${name} ${Number(value).toPrecision(4)}`)
          .join(", ")}\n`,
      );
}
