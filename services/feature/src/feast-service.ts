import { create } from "@bufbuild/protobuf";
import { feastServing, type feastTypes, feature } from "@weft/contracts";
import type { CallContext, Handlers } from "@weft/rpc";
import type { EntityKey } from "./domain/views/entity-key.ts";
import type { FeatureRelease } from "./domain/views/feature-release.ts";
import { errors } from "./errors.ts";
import { columnValues, feastStatus, feastValue, kindText, requestColumn } from "./feast-values.ts";

/** The version of Feast whose contract is served. */
const feastVersion = "0.67.0";
/** Metadata key that names the scenario. */
const scenarioKey = "x-weft-scenario";

export interface FeastServiceOptions {
  /** A loaded release of a scenario; the champion when `release` is "". */
  resolve(scenario: string, release: string): FeatureRelease;
  /** Scenarios that are served now. */
  scenarios(): readonly string[];
  /** Scenario of the calls that name none; empty where there is no such. */
  readonly scenario: string;
  readonly getOnlineFeatures: Handlers<typeof feature.FeatureService>["getOnlineFeatures"];
}

type FeastHandlers = Handlers<typeof feastServing.ServingService>;

/**
 * Handlers of Feast's serving contract over the service's own: the same plans, checks, limits and metrics. A Feast server
 * holds one project; here it is the scenario named by the metadata `x-weft-scenario`, else the one that is set, else the
 * only one that is served. Throws SCENARIO_AMBIGUOUS where none of these names one.
 */
export function createFeastHandlers(options: FeastServiceOptions): FeastHandlers {
  return {
    getFeastServingInfo: () => ({ version: feastVersion }),

    async getOnlineFeatures(request, context) {
      const scenario = scenarioOf(options, context);
      const release = options.resolve(scenario, context.release);
      const { entities, fields } = splitInputs(request, release);
      const asked = create(feature.GetOnlineFeaturesRequestSchema, {
        scenario,
        ...(request.kind.case === "featureService"
          ? { featureService: request.kind.value }
          : { features: request.kind.value?.val ?? [] }),
        entities: entities.map(({ name, keys, type }) =>
          type === "int64"
            ? { entity: name, integers: keys.filter((key) => typeof key === "bigint") }
            : { entity: name, texts: keys.filter((key) => typeof key === "string") },
        ),
        requestFeatures: fields,
        includeEventTimes: true,
      });
      const answer = create(feature.GetOnlineFeaturesResponseSchema, await options.getOnlineFeatures(asked, context));
      const rows = Math.max(1, ...answer.columns.map(({ statuses }) => statuses.length));
      const names = answer.columns.map(({ name }) => featureName(name, request.fullFeatureNames));
      refuseCollisions(names);
      return {
        metadata: {
          featureNames: { val: [...entities.map(({ name }) => name), ...names] },
          featureViewMetadata: request.includeFeatureViewVersionMetadata
            ? answer.views.map(({ view, version }) => ({ name: view, version: Number.parseInt(version, 10) || 0 }))
            : [],
        },
        results: [
          ...entities.map((entity) => entityVector(entity, rows)),
          ...answer.columns.map((column) => featureVector(column, release)),
        ],
        status: true,
      };
    },
  };
}

function scenarioOf({ scenario, scenarios }: FeastServiceOptions, { metadata }: CallContext): string {
  const named = metadata[scenarioKey] ?? scenario;
  if (named !== "") return named;
  const served = scenarios();
  const only = served.length === 1 ? served[0] : undefined;
  if (only !== undefined) return only;
  throw errors.SCENARIO_AMBIGUOUS({ scenarios: served.join(", "), metadata: scenarioKey });
}

type RequestColumn = ReturnType<typeof requestColumn>;

interface EntityColumn {
  readonly name: string;
  readonly type: "string" | "int64";
  readonly keys: readonly EntityKey[];
}

/** Keys of entities and columns of request fields, checked against the release. */
function splitInputs(
  { entities: given, requestContext }: feastServing.GetOnlineFeaturesRequest,
  release: FeatureRelease,
): { readonly entities: readonly EntityColumn[]; readonly fields: RequestColumn[] } {
  const entities: EntityColumn[] = [];
  const fields: RequestColumn[] = [];
  const addField = (name: string, values: readonly feastTypes.Value[]) => {
    const type = release.scenario.request[name];
    const fault = (text: string) => errors.REQUEST_FEATURE_INVALID({ field: name, fault: text });
    if (type === undefined) throw fault("the scenario has no such entity or request field");
    fields.push(requestColumn(name, type, values, fault));
  };
  // In the scenario's order: a map's own is that of its sender.
  for (const { name, key } of release.entities.values()) {
    const column = given[name];
    if (column !== undefined) entities.push({ name, type: key, keys: column.val.map((one) => keyOf(name, key, one)) });
  }
  for (const [name, { val }] of Object.entries(given)) if (!release.entities.has(name)) addField(name, val);
  for (const [name, { val }] of Object.entries(requestContext)) addField(name, val);
  return { entities, fields };
}

function keyOf(entity: string, type: "string" | "int64", { val }: feastTypes.Value): EntityKey {
  if (type === "string" && val.case === "stringVal") return val.value;
  if (type === "int64" && val.case === "int64Val") return val.value;
  if (type === "int64" && val.case === "int32Val") return BigInt(val.value);
  throw errors.KEY_INVALID({ entity, fault: `are ${type}, and ${kindText(val.case)} was sent` });
}

/** `view:feature` as Feast names it. */
function featureName(reference: string, isFull: boolean): string {
  const colon = reference.indexOf(":");
  const feature = reference.slice(colon + 1);
  return isFull ? `${reference.slice(0, colon)}__${feature}` : feature;
}

function refuseCollisions(names: readonly string[]): void {
  const repeated = names.find((name, index) => names.indexOf(name) !== index);
  if (repeated !== undefined)
    throw errors.REQUEST_INVALID({ fault: `two features are named "${repeated}"; ask for full_feature_names` });
}

const noTime = { seconds: 0n, nanos: 0 };

/** The keys as they were sent; a single one stands for all rows. */
function entityVector({ keys }: EntityColumn, rows: number) {
  const all = keys.length === 1 ? Array.from({ length: rows }, () => keys[0] ?? "") : keys;
  return {
    values: all.map((key) => feastValue(key, "other")),
    statuses: all.map(() => feastServing.FieldStatus.PRESENT),
    eventTimestamps: all.map(() => noTime),
  };
}

function featureVector(column: feature.Column, release: FeatureRelease) {
  const { name, statuses, eventTimesUs } = column;
  const values = columnValues(column);
  const type = column.values.case === "float32s" ? "float32" : "other";
  const servesStale = release.views.get(name.slice(0, name.indexOf(":")))?.compiled.view.ladder.includes("stale");
  const { PRESENT, DEFAULTED, OUTSIDE_MAX_AGE } = feature.FeatureStatus;
  const isThere = (status: feature.FeatureStatus) =>
    status === PRESENT || status === DEFAULTED || (status === OUTSIDE_MAX_AGE && servesStale === true);
  return {
    values: statuses.map((status, row) => feastValue(isThere(status) ? (values[row] ?? null) : null, type)),
    statuses: statuses.map(feastStatus),
    eventTimestamps: statuses.map((_, row) => timestamp(eventTimesUs[row] ?? 0n)),
  };
}

function timestamp(us: bigint) {
  const micros = ((us % 1_000_000n) + 1_000_000n) % 1_000_000n;
  return { seconds: (us - micros) / 1_000_000n, nanos: Number(micros) * 1_000 };
}
