import type { Entity, FeatureReference, Scenario, Value } from "@weft/scenario";
import { errors } from "../../errors.ts";
import { type CompiledView, Status } from "../views/view-state.ts";
import { addTransformColumns, requestValue, toFloats, typeOfFeature } from "./computed-columns.ts";
import { type FeatureNeeds, featureNeeds, viewsOf } from "./feature-needs.ts";
import type { OfflineStore, PushedRows } from "./offline-store.ts";
import { ParityReplay, type PastRead } from "./parity-replay.ts";
import {
  type Circumstance,
  compareValues,
  type FeatureParity,
  type NumericType,
  type ParityDifference,
  type ParityReport,
  type Tolerances,
} from "./parity-report.ts";

/** A vector as it was served. */
export interface ServedVector extends PastRead {
  readonly id: string;
  /** Request fields by name. */
  readonly request: Readonly<Record<string, Value>>;
  /** In the order of the references; NaN where there was no value. */
  readonly values: Float32Array;
  /** Statuses in the same order; may be empty. */
  readonly statuses: Uint8Array;
}

export interface ParityOptions {
  readonly scenario: Scenario;
  /** The scenario's views, compiled. */
  readonly views: readonly CompiledView[];
  /** Features of the vectors, in their order. */
  readonly references: readonly FeatureReference[];
  readonly vectors: readonly ServedVector[];
  readonly tolerances: Tolerances;
  /** How close to a read a row's arrival must be for the read to have seen it or not, microseconds. */
  readonly settleUs: number;
  readonly store: OfflineStore;
  readonly pushed?: PushedRows | undefined;
  readonly signal?: AbortSignal | undefined;
}

const differencesMax = 100;

/**
 * Recomputes served vectors from the offline store by the rules of training sets, as known at their event times and when
 * they were read, and compares them value by value.
 */
export async function checkParity(options: ParityOptions): Promise<ParityReport> {
  const { scenario, views, references, store, pushed, signal } = options;
  const needs = featureNeeds(scenario, references, views, (fault) => errors.DEFINITION_INVALID({ fault }));
  const entities = entitiesOf(needs);
  const vectors = options.vectors
    .filter((vector) => isComplete(vector, entities, needs))
    .sort((a, b) => a.readTimeUs - b.readTimeUs);
  const incomplete = options.vectors.length - vectors.length;
  const workspace = await store.open({ scenario: scenario.name, pushed, arrivals: true, signal });
  try {
    const replay = await ParityReplay.open(workspace, entities, vectors);
    const recomputed = await recompute(replay, needs, references, vectors);
    const circumstances = new Circumstances(replay, options.settleUs);
    const unexplained: ParityDifference[] = [];
    const explained: ParityDifference[] = [];
    const features: FeatureParity[] = [];
    for (const [column, reference] of references.entries()) {
      const type = typeOfFeature(needs, reference);
      const feature = {
        reference,
        type,
        matching: 0,
        missing: 0,
        extra: 0,
        different: 0,
        inFlight: 0,
        hindsight: 0,
        unavailable: 0,
        absoluteErrorMax: 0,
        relativeErrorMax: 0,
      };
      features.push(feature);
      const tolerance = options.tolerances[type as NumericType] ?? 0;
      const computed = recomputed[column] ?? new Float32Array(vectors.length);
      for (const [row, { id, values, statuses }] of vectors.entries()) {
        const served = values[column] ?? Number.NaN;
        const expected = computed[row] ?? Number.NaN;
        const verdict = compareValues(feature, served, expected, tolerance);
        if (verdict === "matching") {
          feature.matching++;
          continue;
        }
        const status = statuses[column] ?? 0;
        const circumstance =
          status === Status.Unavailable ? "unavailable" : await circumstances.of(viewsOf(needs, reference), row);
        feature[circumstance ?? verdict]++;
        const list = circumstance === undefined ? unexplained : explained;
        if (list.length === differencesMax) continue;
        list.push({ id, reference, served, recomputed: expected, status, circumstance });
      }
    }
    const differences = [...unexplained, ...explained].slice(0, differencesMax);
    return { compared: vectors.length, incomplete, features, differences };
  } finally {
    await workspace.close();
  }
}

/** Features of every vector from the offline store, a list a reference; NaN where there is no value. */
async function recompute(
  replay: ParityReplay,
  needs: FeatureNeeds,
  references: readonly FeatureReference[],
  vectors: readonly ServedVector[],
): Promise<Float32Array[]> {
  const computed = new Map<FeatureReference, readonly Value[]>();
  for (const { name, type } of needs.requestFields) {
    computed.set(
      `request:${name}`,
      vectors.map(({ request }) => requestValue(request[name] ?? null, type)),
    );
  }
  for (const needed of needs.views) {
    const columns = await replay.values(needed);
    for (const [index, name] of needed.features.entries()) {
      computed.set(`${needed.view.name}:${name}`, columns[index] ?? []);
    }
  }
  for (const transform of needs.transforms) addTransformColumns(transform, vectors.length, computed);
  return references.map((reference) => toFloats(computed.get(reference) ?? [], vectors.length));
}

/** What explains a value that disagrees; each view is asked once, when a value of it does. */
class Circumstances {
  readonly #replay: ParityReplay;
  readonly #settleUs: number;
  readonly #flags = new Map<CompiledView, { readonly hindsight: Uint8Array; readonly inFlight: Uint8Array }>();

  constructor(replay: ParityReplay, settleUs: number) {
    this.#replay = replay;
    this.#settleUs = settleUs;
  }

  async of(views: readonly CompiledView[], read: number): Promise<Circumstance | undefined> {
    for (const view of views) {
      let flags = this.#flags.get(view);
      if (flags === undefined) {
        flags = {
          hindsight: await this.#replay.inHindsight(view),
          inFlight: await this.#replay.inFlight(view, this.#settleUs),
        };
        this.#flags.set(view, flags);
      }
      if (flags.hindsight[read] === 1) return "hindsight";
      if (flags.inFlight[read] === 1) return "inFlight";
    }
    return undefined;
  }
}

function entitiesOf({ views }: FeatureNeeds): readonly Entity[] {
  const entities = new Map<string, Entity>();
  for (const { view } of views) for (const { entity } of view.view.entities) entities.set(entity.name, entity);
  return [...entities.values()];
}

function isComplete(vector: ServedVector, entities: readonly Entity[], { requestFields }: FeatureNeeds): boolean {
  return (
    entities.every(({ name }) => vector.keys[name] !== undefined) &&
    requestFields.every(({ name }) => vector.request[name] !== undefined)
  );
}
