import type { feature } from "@weft/contracts";
import type { Handlers } from "@weft/rpc";
import type { Scenario, Value } from "@weft/scenario";
import type { OfflineStore, PushedRows } from "./domain/offline/offline-store.ts";
import { checkParity, type ServedVector } from "./domain/offline/parity.ts";
import type { NumericType, ParityReport, Tolerances } from "./domain/offline/parity-report.ts";
import type { EntityKey } from "./domain/views/entity-key.ts";
import type { CompiledView } from "./domain/views/view-state.ts";
import { errors } from "./errors.ts";
import type { JobTurns } from "./job-turns.ts";

/** A release that vectors were served from. */
export interface ParityRelease {
  readonly id: string;
  readonly scenario: Scenario;
  readonly views: readonly CompiledView[];
}

export interface ParityServiceOptions {
  /** The release that a request is about: a release id, or "" for the scenario's champion. */
  resolve(scenario: string, release: string): ParityRelease;
  readonly store: OfflineStore;
  /** What has been pushed so far. */
  pushed(release: ParityRelease): Promise<PushedRows>;
  /** Shared by everything that uses the offline store. */
  readonly turns: JobTurns;
}

const vectorsMax = 100_000;
const idBytesMax = 1_100;
const settleDefaultUs = 1_000_000;
const numericTypes: readonly NumericType[] = ["float32", "float64", "int64", "bool"];

/** Handler of `CheckParity`. */
export function createParityHandlers(
  options: ParityServiceOptions,
): Pick<Handlers<typeof feature.FeatureService>, "checkParity"> {
  return {
    async checkParity(requests, context) {
      let release: ParityRelease | undefined;
      let references: readonly string[] = [];
      let tolerances: Tolerances = {};
      let settleUs = settleDefaultUs;
      const vectors: ServedVector[] = [];
      for await (const request of requests) {
        if (release === undefined) {
          release = options.resolve(request.scenario, context.release);
          references = referencesOf(release, request.featureService);
          tolerances = readTolerances(request.tolerances);
          if (request.settle !== undefined) settleUs = readSettle(request.settle);
        }
        if (vectors.length + request.vectors.length > vectorsMax)
          throw errors.ROWS_TOO_MANY({ rows: vectors.length + request.vectors.length, rowsMax: vectorsMax });
        for (const vector of request.vectors) vectors.push(readVector(vector, release, references.length));
      }
      if (release === undefined) throw errors.REQUEST_INVALID({ fault: "no message was sent" });
      const { id, scenario, views } = release;
      const turn = await options.turns.take(context);
      try {
        const pushed = await options.pushed(release);
        const { store } = options;
        const { signal } = context;
        return answer(
          id,
          await checkParity({ scenario, views, references, vectors, tolerances, settleUs, store, pushed, signal }),
        );
      } finally {
        turn.end();
      }
    },
  };
}

function referencesOf({ scenario }: ParityRelease, featureService: string): readonly string[] {
  const named = [...scenario.models, ...(scenario.featureServices ?? [])];
  const model = named.find(({ name }) => name === featureService);
  if (model === undefined) throw errors.FEATURE_SERVICE_UNKNOWN({ featureService, scenario: scenario.name });
  return model.features;
}

function readTolerances(given: readonly feature.ParityTolerance[]): Tolerances {
  const tolerances: Partial<Record<NumericType, number>> = {};
  for (const { type, tolerance } of given) {
    const known = numericTypes.find((name) => name === type);
    if (known === undefined)
      throw errors.REQUEST_INVALID({ fault: `"${type}" is none of the types ${numericTypes.join(", ")}` });
    if (!(tolerance >= 0)) throw errors.REQUEST_INVALID({ fault: `the tolerance of ${type} must be 0 or more` });
    tolerances[known] = tolerance;
  }
  return tolerances;
}

function readSettle({ seconds, nanos }: { readonly seconds: bigint; readonly nanos: number }): number {
  const us = Number(seconds) * 1e6 + Math.floor(nanos / 1e3);
  if (us < 0 || us > 3.6e9) throw errors.REQUEST_INVALID({ fault: "settle must be from 0 to an hour" });
  return us;
}

function readVector(vector: feature.ServedVector, { scenario }: ParityRelease, width: number): ServedVector {
  const { id, values, statuses } = vector;
  const fault = (text: string): Error => errors.REQUEST_INVALID({ fault: `vector "${id}": ${text}` });
  if (Buffer.byteLength(id) > idBytesMax)
    throw errors.REQUEST_INVALID({ fault: `the id of a vector is longer than ${idBytesMax} bytes` });
  if (values.length !== 4 * width) throw fault(`${values.length} bytes are not ${width} features`);
  if (statuses.length !== 0 && statuses.length !== width) throw fault(`${statuses.length} statuses, not ${width}`);
  const keys: Record<string, EntityKey> = {};
  for (const { entities } of scenario.views)
    for (const { entity } of entities) {
      const text = vector.entities[entity.name];
      if (text === undefined || text === "") continue;
      if (entity.key === "string") keys[entity.name] = text;
      else if (isInteger(text)) keys[entity.name] = BigInt(text);
      else throw errors.KEY_INVALID({ entity: entity.name, fault: `vector "${id}" has one that is no int64` });
    }
  const request: Record<string, Value> = {};
  for (const [name, { kind }] of Object.entries(vector.request)) request[name] = kind.value ?? null;
  const times = { event_time_us: vector.eventTimeUs, read_time_us: vector.readTimeUs };
  for (const [name, us] of Object.entries(times))
    if (us < -(2n ** 53n) || us > 2n ** 53n) throw fault(`${name} is no time`);
  const floats = new Float32Array(width);
  const bytes = new DataView(values.buffer, values.byteOffset, values.byteLength);
  for (let index = 0; index < width; index++) floats[index] = bytes.getFloat32(4 * index, true);
  return {
    id,
    keys,
    request,
    eventTimeUs: Number(vector.eventTimeUs),
    readTimeUs: vector.readTimeUs === 0n ? Number.MAX_SAFE_INTEGER : Number(vector.readTimeUs),
    values: floats,
    statuses,
  };
}

function isInteger(text: string): boolean {
  return /^-?\d{1,19}$/.test(text) && BigInt.asIntN(64, BigInt(text)) === BigInt(text);
}

function answer(releaseId: string, { compared, incomplete, features, differences }: ParityReport) {
  return {
    releaseId,
    comparedCount: BigInt(compared),
    incompleteCount: BigInt(incomplete),
    features: features.map((one) => ({
      reference: one.reference,
      type: String(one.type),
      matching: BigInt(one.matching),
      missing: BigInt(one.missing),
      extra: BigInt(one.extra),
      different: BigInt(one.different),
      inFlight: BigInt(one.inFlight),
      hindsight: BigInt(one.hindsight),
      unavailable: BigInt(one.unavailable),
      absoluteErrorMax: one.absoluteErrorMax,
      relativeErrorMax: one.relativeErrorMax,
    })),
    differences: differences.map(({ id, reference, served, recomputed, status, circumstance }) => ({
      id,
      reference,
      status,
      inFlight: circumstance === "inFlight",
      hindsight: circumstance === "hindsight",
      unavailable: circumstance === "unavailable",
      ...(Number.isNaN(served) ? {} : { served }),
      ...(Number.isNaN(recomputed) ? {} : { recomputed }),
    })),
  };
}
