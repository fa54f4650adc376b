import { feature, gateway, inference, registry, retrieval } from "@weft/contracts";
import { Code, createErrors } from "@weft/errors";
import type { Client } from "@weft/rpc";
import type { Index, Scenario } from "@weft/scenario";
import { type Progress, startProgress } from "../progress.ts";
import { recommendRequest, scoreRequest } from "../requests.ts";
import { whileUnavailable } from "../retry.ts";
import type { Pushed } from "./push.ts";

/** The clients that a deployment needs. */
export interface DeployClients {
  readonly gateway: Client<typeof gateway.GatewayService>;
  readonly registry: Client<typeof registry.RegistryService>;
  readonly feature: Client<typeof feature.FeatureService>;
  readonly ranking: Client<typeof inference.GRPCInferenceService>;
  readonly retrieval: Client<typeof retrieval.RetrievalService>;
}

/** Clients from whatever dials. */
export function deployClients(dial: <S extends Parameters<DialAny>[0]>(service: S) => Client<S>): DeployClients {
  return {
    gateway: dial(gateway.GatewayService),
    registry: dial(registry.RegistryService),
    feature: dial(feature.FeatureService),
    ranking: dial(inference.GRPCInferenceService),
    retrieval: dial(retrieval.RetrievalService),
  };
}
type DialAny = (service: import("@bufbuild/protobuf").DescService) => unknown;

const errors = createErrors("weft.cli", {
  RELEASE_PENDING: {
    code: Code.Unavailable,
    message: (m: { release: string; serving: string }) => `the gateway serves ${m.serving} and not yet ${m.release}`,
  },
});

const loadTimeoutMs = 120_000;
const embedRows = 500;

/** The release that a label of a scenario points at. */
export async function labelledRelease(client: DeployClients["registry"], scenario: string, label: string) {
  for await (const { releases } of client.watchReleases({ scenario }))
    return releases.find((entry) => entry.label === label)?.release;
  return undefined;
}

/**
 * Makes a release of what was pushed and points a label at it. Where the scenario's indexes must be built, the release
 * first runs without them as challenger: its own feature views and item model fill them. The label moves only when the
 * gateway has answered by the release. A release whose parts are the labelled ones already is left alone. Answers the
 * release's id.
 */
export async function releaseScenario(
  clients: DeployClients,
  scenario: Scenario,
  pushed: Pushed,
  options: { readonly label: string },
): Promise<{ readonly id: string; readonly unchanged: boolean }> {
  const current = await labelledRelease(clients.registry, scenario.name, options.label);
  if (current !== undefined && sameParts(current, pushed)) return { id: current.id, unchanged: true };
  const parts = {
    scenario: scenario.name,
    codeDigest: pushed.codeDigest,
    models: pushed.models.map((model) => ({ ...model })),
    featureViews: pushed.featureViews.map((view) => ({ ...view })),
  };
  const first = await createRelease(clients, parts);
  await clients.registry.setLabel({ scenario: scenario.name, label: "challenger", releaseId: first });
  await materialize(clients, scenario, first);
  const indexes = [];
  for (const index of scenario.indexes)
    indexes.push({ index: index.name, generation: await fillIndex(clients, scenario, index, first) });
  const id = indexes.length === 0 ? first : await createRelease(clients, { ...parts, indexes });
  if (id !== first) await clients.registry.setLabel({ scenario: scenario.name, label: "challenger", releaseId: id });
  await awaitAnswers(clients.gateway, scenario, id, { pinned: true });
  await clients.registry.setLabel({ scenario: scenario.name, label: options.label, releaseId: id });
  if (options.label !== "challenger")
    await clients.registry.setLabel({ scenario: scenario.name, label: "challenger", releaseId: "" });
  return { id, unchanged: false };
}

/**
 * Waits until the gateway answers the scenario's first example by a release: services load it some moments after its
 * label has moved. `pinned`: the request names the release; otherwise the release must have become champion.
 */
export async function awaitAnswers(
  client: DeployClients["gateway"],
  scenario: Scenario,
  release: string,
  { pinned }: { readonly pinned: boolean },
): Promise<void> {
  const [example] = scenario.examples;
  if (example === undefined) return;
  const options = pinned ? { release } : {};
  await whileUnavailable(loadTimeoutMs, async () => {
    const { releaseId } =
      scenario.pipeline.type === "recommend"
        ? await client.recommend(recommendRequest(scenario, example, 1), options)
        : await client.score(scoreRequest(scenario, example), options);
    if (releaseId !== release) throw errors.RELEASE_PENDING({ release, serving: releaseId });
  });
}

function sameParts(release: registry.Release, pushed: Pushed): boolean {
  const key = (parts: readonly { readonly name: string; readonly version: string }[]) =>
    parts
      .map(({ name, version }) => `${name}@${version}`)
      .sort()
      .join(" ");
  return (
    release.codeDigest === pushed.codeDigest &&
    key(release.models) === key(pushed.models) &&
    key(release.featureViews) === key(pushed.featureViews)
  );
}

async function createRelease(
  clients: DeployClients,
  parts: Parameters<DeployClients["registry"]["createRelease"]>[0],
): Promise<string> {
  return (await clients.registry.createRelease(parts)).release?.id ?? "";
}

/** Loads the history of a scenario's sources into the online store, under a release's views. */
export async function materialize(clients: DeployClients, scenario: Scenario, release: string): Promise<void> {
  const progress = startProgress(`${scenario.name}: replaying history into features`);
  let last: feature.MaterializeResponse | undefined;
  try {
    await whileUnavailable(loadTimeoutMs, async () => {
      for await (const step of clients.feature.materialize({ scenario: scenario.name }, { release })) {
        last = step;
        progress.update(Number(step.rowsRead), Number(step.rowsTotal));
      }
    });
  } catch (error) {
    progress.end("failed");
    throw error;
  }
  progress.end(`${last?.rowsRead ?? 0n} rows, ${last?.entitiesWritten ?? 0n} entities`);
}

/** Embeds every item of an index's catalog with the index's model and builds a generation. Answers its number. */
async function fillIndex(clients: DeployClients, scenario: Scenario, index: Index, release: string): Promise<bigint> {
  const progress = startProgress(`${scenario.name}: building index ${index.name}`);
  try {
    const { generation, itemCount, recall } = await whileUnavailable(loadTimeoutMs, () =>
      clients.retrieval.buildIndex(indexParts(clients, scenario, index, release, progress), { release }),
    );
    progress.end(`${itemCount} items, recall ${recall.toFixed(3)}`);
    return generation;
  } catch (error) {
    progress.end("failed");
    throw error;
  }
}

type IndexPart = Parameters<DeployClients["retrieval"]["buildIndex"]>[0] extends AsyncIterable<infer P> ? P : never;

async function* indexParts(
  clients: DeployClients,
  scenario: Scenario,
  index: Index,
  release: string,
  progress: Progress,
): AsyncIterable<IndexPart> {
  const metric = index.metric === "cosine" ? retrieval.Metric.COSINE : retrieval.Metric.INNER_PRODUCT;
  let headerSent = false;
  let done = 0;
  for await (const keys of catalogKeys(clients, scenario, index, release)) {
    const { vectors, dimension } = await embed(clients, scenario, index, release, keys);
    if (!headerSent) {
      headerSent = true;
      const header = {
        scenario: scenario.name,
        index: index.name,
        dimension,
        metric,
        requestId: `${release}/${index.name}`,
      };
      yield { part: { case: "header", value: header } };
    }
    const attributes = await attributesOf(clients, scenario, index, release, keys);
    yield { part: { case: "items", value: { keys, vectors, attributes } } };
    done += keys.texts.length + keys.integers.length;
    progress.update(done, 0);
  }
}

type Keys = { texts: string[]; integers: bigint[] };

async function* catalogKeys(
  clients: DeployClients,
  scenario: Scenario,
  index: Index,
  release: string,
): AsyncIterable<Keys> {
  let pageToken = "";
  do {
    const request = { scenario: scenario.name, view: index.catalog.name, pageSize: embedRows, pageToken };
    const page = await whileUnavailable(loadTimeoutMs, () => clients.feature.listEntityKeys(request, { release }));
    const { texts = [], integers = [] } = page.keys ?? {};
    if (texts.length + integers.length > 0) yield { texts, integers };
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

/** Time as of which items are embedded: the newest example, since a scenario's history need not reach to now. */
function asOf(scenario: Scenario) {
  const newestUs =
    scenario.examples
      .map(({ eventTimeUs }) => eventTimeUs)
      .sort((a, b) => Number(a - b))
      .at(-1) ?? 0n;
  return { seconds: newestUs / 1_000_000n, nanos: Number(newestUs % 1_000_000n) * 1000 };
}

async function embed(clients: DeployClients, scenario: Scenario, index: Index, release: string, keys: Keys) {
  const rows = keys.texts.length + keys.integers.length;
  const { matrix } = await clients.feature.getOnlineFeatures(
    {
      scenario: scenario.name,
      featureService: index.model.name,
      entities: [{ entity: index.item.name, ...keys }],
      asOf: asOf(scenario),
      layout: feature.GetOnlineFeaturesRequest_Layout.MATRIX,
    },
    { release },
  );
  if (matrix === undefined) throw new TypeError("the feature service answered no matrix");
  const answer = await whileUnavailable(loadTimeoutMs, () =>
    clients.ranking.modelInfer(
      {
        modelName: index.model.name,
        inputs: [{ name: "features", datatype: "FP32", shape: [BigInt(rows), BigInt(matrix.names.length)] }],
        outputs: [{ name: index.model.output }],
        rawInputContents: [matrix.values],
      },
      { release },
    ),
  );
  const vectors = answer.rawOutputContents[0] ?? new Uint8Array();
  return { vectors, dimension: vectors.length / 4 / rows };
}

async function attributesOf(clients: DeployClients, scenario: Scenario, index: Index, release: string, keys: Keys) {
  if (index.attributes.length === 0) return [];
  const { columns } = await clients.feature.getOnlineFeatures(
    {
      scenario: scenario.name,
      features: [...index.attributes],
      entities: [{ entity: index.item.name, ...keys }],
      asOf: asOf(scenario),
    },
    { release },
  );
  return columns.map(({ name, values, statuses }) => ({ name, values: attributeValues(values, statuses) }));
}

const absent = new Set<feature.FeatureStatus>([feature.FeatureStatus.NULL, feature.FeatureStatus.NOT_FOUND]);

function attributeValues(values: feature.Column["values"], statuses: readonly feature.FeatureStatus[]) {
  const map = <T>(list: readonly T[], wrap: (value: T) => NonNullable<Parameters<typeof toValue>[0]>) =>
    list.map((value, row) => toValue(absent.has(statuses[row] ?? 0) ? undefined : wrap(value)));
  switch (values.case) {
    case "strings":
      return map(values.value.values, (value) => ({ case: "text", value }));
    case "int64s":
      return map(values.value.values, (value) => ({ case: "integer", value }));
    case "bools":
      return map(values.value.values, (value) => ({ case: "flag", value }));
    case "float32s":
    case "float64s":
      return map(values.value.values, (value) => ({ case: "number", value }));
    default:
      throw new TypeError(`attribute values of type ${values.case} cannot be filtered on`);
  }
}

function toValue(kind: Exclude<retrieval.AttributeValue["kind"], { case: undefined }> | undefined) {
  return { kind: kind ?? { case: undefined } } as const;
}
