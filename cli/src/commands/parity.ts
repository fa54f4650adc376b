import { existsSync } from "node:fs";
import { join } from "node:path";
import { feature, monitoring } from "@weft/contracts";
import { isWeftError } from "@weft/errors";
import type { Client } from "@weft/rpc";
import { loadScenario } from "@weft/scenario";
import { CommandFailure } from "../failure.ts";
import { peersOf } from "../peers.ts";
import { startProgress } from "../progress.ts";
import { disagreements, type ModelParity, showParity, type Unchecked } from "../show-parity.ts";
import { dialWire } from "../topology.ts";

/** Options of `weft parity`. */
export interface ParityOptions {
  readonly json: boolean;
  /** Share of the entity keys to check, over 0 to 1. */
  readonly share: number;
  /** Greatest number of vectors, the newest first. */
  readonly vectors: number;
  /** Release; all that have predictions when empty. */
  readonly release: string;
  /** Pairs `type=tolerance`. */
  readonly tolerance: readonly string[];
  readonly settleMs: number;
  /** Values that something explains must agree too. */
  readonly strict: boolean;
  readonly timeoutMs: number;
  readonly settings: readonly string[];
}

const messageVectors = 500;
const messageBytes = 1_048_576;
const listTimeoutMs = 30_000;

/**
 * Recomputes what was served from the offline store and compares: exits with 1 where a value disagrees, or where there
 * is nothing to compare.
 */
export async function parity(nameOrFolder: string, options: ParityOptions): Promise<void> {
  const isFolder = existsSync(join(nameOrFolder, "scenario.ts"));
  const scenario = isFolder ? loadScenario(nameOrFolder).name : nameOrFolder;
  const tolerances = options.tolerance.map(readTolerance);
  const wire = dialWire(peersOf(options.settings));
  try {
    const served = await listServed(wire.dial(monitoring.MonitoringService), scenario, options);
    const features = wire.dial(feature.FeatureService);
    const unchecked: Unchecked = { withoutFeatures: 0, notLoaded: {} };
    const groups = new Map<string, monitoring.LoggedPrediction[]>();
    for (const prediction of served) {
      if (prediction.featureModel === "" || prediction.features.length === 0) {
        unchecked.withoutFeatures++;
        continue;
      }
      const key = JSON.stringify([prediction.releaseId, prediction.featureModel]);
      groups.set(key, [...(groups.get(key) ?? []), prediction]);
    }
    const results: ModelParity[] = [];
    for (const group of groups.values()) {
      const { releaseId = "", featureModel = "" } = group[0] ?? {};
      const progress = startProgress(`recomputing ${group.length} vectors of ${featureModel}, ${releaseId}`);
      try {
        const settle = { seconds: BigInt(Math.floor(options.settleMs / 1e3)), nanos: (options.settleMs % 1e3) * 1e6 };
        const first = { scenario, featureService: featureModel, tolerances, settle };
        const { timeoutMs } = options;
        const report = await features.checkParity(messages(first, group), { release: releaseId, timeoutMs });
        results.push({ release: releaseId, model: featureModel, report });
        progress.end();
      } catch (error) {
        progress.end("not done");
        if (!isWeftError(error) || error.reason !== "RELEASE_NOT_LOADED") throw error;
        unchecked.notLoaded[releaseId] = (unchecked.notLoaded[releaseId] ?? 0) + group.length;
      }
    }
    if (options.json) process.stdout.write(`${JSON.stringify(asJson(scenario, results, unchecked))}\n`);
    else process.stdout.write(showParity(results, unchecked));
    if (results.every(({ report }) => report.comparedCount === 0n))
      throw new CommandFailure(`no vector of scenario "${scenario}" could be compared`);
    const disagreeing = results.reduce((sum, { report }) => sum + disagreements(report, options.strict), 0);
    if (disagreeing > 0) throw new CommandFailure(`${disagreeing} values disagree with the offline store`);
  } finally {
    wire.close();
  }
}

function readTolerance(pair: string): { type: string; tolerance: number } {
  const [, type = "", text = ""] = /^(\w+)=(.+)$/.exec(pair) ?? [];
  const tolerance = Number(text);
  if (type === "" || text.trim() === "" || !(tolerance >= 0))
    throw new CommandFailure(`--tolerance "${pair}" must be <type>=<number>, such as float64=1e-6`);
  return { type, tolerance };
}

async function listServed(
  client: Client<typeof monitoring.MonitoringService>,
  scenario: string,
  { share, vectors, release }: ParityOptions,
): Promise<readonly monitoring.LoggedPrediction[]> {
  const found: monitoring.LoggedPrediction[] = [];
  const progress = startProgress(`listing what was served of ${scenario}`);
  let pageToken = "";
  do {
    const pageSize = Math.min(messageVectors, vectors - found.length);
    const request = { scenario, releaseId: release, keyShare: share, pageSize, pageToken };
    const page = await client.listPredictions(request, { timeoutMs: listTimeoutMs });
    found.push(...page.predictions);
    pageToken = page.nextPageToken;
    progress.update(found.length, vectors);
  } while (pageToken !== "" && found.length < vectors);
  progress.end(`${found.length} predictions`);
  return found;
}

/** The vectors in messages of a bounded size; the first one says what they are. */
async function* messages<First extends object>(first: First, predictions: readonly monitoring.LoggedPrediction[]) {
  let vectors: ReturnType<typeof servedVector>[] = [];
  let bytes = 0;
  let isFirst = true;
  const message = () => {
    const made = { ...(isFirst ? first : {}), vectors };
    isFirst = false;
    vectors = [];
    bytes = 0;
    return made;
  };
  for (const prediction of predictions) {
    vectors.push(servedVector(prediction));
    bytes += prediction.features.length + prediction.statuses.length;
    if (vectors.length === messageVectors || bytes >= messageBytes) yield message();
  }
  if (vectors.length > 0 || isFirst) yield message();
}

function servedVector(prediction: monitoring.LoggedPrediction) {
  const { requestId, item, entities, request, eventTimeUs, readTimeUs, features, statuses } = prediction;
  return {
    id: item === "" ? requestId : `${requestId}/${item}`,
    entities,
    request: Object.fromEntries(Object.entries(request).map(([name, { kind }]) => [name, { kind }])),
    eventTimeUs,
    readTimeUs,
    values: features,
    statuses,
  };
}

function asJson(scenario: string, results: readonly ModelParity[], unchecked: Unchecked) {
  return {
    scenario,
    disagreements: results.reduce((sum, { report }) => sum + disagreements(report), 0),
    models: results.map(({ release, model, report }) => ({
      release,
      model,
      compared: Number(report.comparedCount),
      incomplete: Number(report.incompleteCount),
      features: report.features.map((one) => ({
        reference: one.reference,
        type: one.type,
        matching: Number(one.matching),
        missing: Number(one.missing),
        extra: Number(one.extra),
        different: Number(one.different),
        inFlight: Number(one.inFlight),
        hindsight: Number(one.hindsight),
        unavailable: Number(one.unavailable),
        absoluteErrorMax: one.absoluteErrorMax,
        // JSON has no infinity.
        relativeErrorMax: Number.isFinite(one.relativeErrorMax) ? one.relativeErrorMax : null,
      })),
      differences: report.differences.map(
        ({ id, reference, served, recomputed, status, inFlight, hindsight, unavailable }) => ({
          id,
          reference,
          served: served ?? null,
          recomputed: recomputed ?? null,
          status: feature.FeatureStatus[status],
          inFlight,
          hindsight,
          unavailable,
        }),
      ),
    })),
    ...unchecked,
  };
}
