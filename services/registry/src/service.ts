import type { registry } from "@weft/contracts";
import { isWeftError } from "@weft/errors";
import type { CallContext, Handlers } from "@weft/rpc";
import { Checks, check, labelOf, lineagePartOf, modelOf, releaseRequestOf, viewReferenceOf } from "./checks.ts";
import type { Settings } from "./config.ts";
import type { ArtifactStore } from "./domain/artifact-store.ts";
import type { Catalog, LabelMove, ModelContent, ModelVersion, Page, PageQuery } from "./domain/catalog.ts";
import { Gate } from "./domain/gate.ts";
import { describePart, lineageOf, wholeLineage } from "./domain/lineage.ts";
import { walkOnnx } from "./domain/onnx.ts";
import { decodePageToken, encodePageToken } from "./domain/page-token.ts";
import { featureViewContent } from "./domain/records.ts";
import { composeRelease } from "./domain/release.ts";
import type { ReleaseFeed } from "./domain/release-feed.ts";
import { compareSignature } from "./domain/signature.ts";
import { errors } from "./errors.ts";
import { featureViewMessage, labelStateMessage, lineageMessage, modelMessage, releaseMessage } from "./messages.ts";
import type { RegistryMetrics } from "./metrics.ts";

/** What the handlers work with. */
export interface RegistryParts {
  readonly catalog: Catalog;
  readonly artifacts: ArtifactStore;
  readonly feed: ReleaseFeed;
  readonly settings: Settings;
  readonly metrics: RegistryMetrics;
  /** Microseconds since 1970. */
  readonly nowUs: () => number;
}

const chunkBytesMax = 1_048_576;
const definitionBytesMax = 1_048_576;
/** Below the 4 MiB that gRPC clients take of a message by default. */
const pageBytesMax = 2_097_152;
const requestIdBytesMax = 128;
/** Most view versions, models and releases of a scenario that a lineage is made of. */
const lineageEntriesMax = 1_000;

/** The handlers of weft.registry.v1.RegistryService. */
export function createRegistryService(parts: RegistryParts): Handlers<typeof registry.RegistryService> {
  const { catalog, artifacts, feed, settings, metrics, nowUs } = parts;
  const uploads = new Gate(settings.uploadsMax, (limit) => errors.UPLOADS_FULL({ limit }));
  const downloads = new Gate(settings.downloadsMax, (limit) => errors.DOWNLOADS_FULL({ limit }));
  const registrations = new Gate(settings.registrationsMax, (limit) => errors.REGISTRATIONS_FULL({ limit }));

  return {
    async putArtifact(requests) {
      const leave = uploads.enter();
      try {
        const upload = await openUpload(requests);
        const facts = await artifacts.write(upload.chunks, {
          expectedDigest: upload.digest,
          bytesMax: settings.artifactBytesMax,
        });
        metrics.artifactBytes.add(facts.sizeBytes, { direction: "put" });
        return { digest: facts.digest, sizeBytes: BigInt(facts.sizeBytes) };
      } finally {
        leave();
      }
    },

    async *getArtifact({ digest }) {
      check((checks) => checks.digest("digest", digest));
      const leave = downloads.enter();
      try {
        for await (const chunk of artifacts.read(digest)) {
          metrics.artifactBytes.add(chunk.length, { direction: "get" });
          yield { chunk };
        }
      } catch (error) {
        countCorrupt(error);
        throw error;
      } finally {
        leave();
      }
    },

    async registerFeatureView({ scenario, name, definition }) {
      const checks = new Checks();
      checks.name("scenario", scenario);
      checks.name("name", name);
      checks.text("definition", definition, definitionBytesMax);
      checks.done();
      const content = featureViewContent(scenario, name, definition);
      if (content === undefined) throw errors.REQUEST_INVALID({ fault: "definition must be a JSON object" });
      return { featureView: featureViewMessage(await catalog.addFeatureView(content, nowUs())) };
    },

    async listFeatureViews(request) {
      const page = await list("feature_views", request, (query) => catalog.listFeatureViews(query));
      return { featureViews: page.entries.map(featureViewMessage), nextPageToken: page.nextPageToken };
    },

    async registerModel(request) {
      const leave = registrations.enter();
      try {
        return { model: modelMessage(await register(modelOf(request.model))) };
      } catch (error) {
        countCorrupt(error);
        if (isWeftError(error)) metrics.modelsRefused.add(1, { reason: error.reason });
        throw error;
      } finally {
        leave();
      }
    },

    async getModel({ scenario, name, version }) {
      const checks = new Checks();
      checks.name("scenario", scenario);
      checks.name("name", name);
      checks.optionalVersion("version", version);
      checks.done();
      const model = await catalog.model(scenario, name, version);
      if (model === undefined) throw errors.MODEL_NOT_FOUND({ scenario, model: name, version });
      return { model: modelMessage(model) };
    },

    async listModels(request) {
      const page = await list("models", request, (query) => catalog.listModels(query));
      return { models: page.entries.map(modelMessage), nextPageToken: page.nextPageToken };
    },

    async createRelease(request) {
      const asked = releaseRequestOf(request);
      await mustExist("code_digest", asked.codeDigest);
      const release = await catalog.addRelease(await composeRelease(catalog, asked), nowUs());
      return { release: releaseMessage(release) };
    },

    async getRelease({ id }) {
      check((checks) => checks.that(id !== "" && id.length <= 128, "id", "must be a release id"));
      const release = await catalog.release(id);
      if (release === undefined) throw errors.RELEASE_NOT_FOUND({ release: id });
      return { release: releaseMessage(release) };
    },

    async listReleases(request) {
      const page = await list("releases", request, (query) => catalog.listReleases(query));
      return { releases: page.entries.map(releaseMessage), nextPageToken: page.nextPageToken };
    },

    async getLineage(request) {
      const part = lineagePartOf(request);
      const { scenario } = request;
      const query = { scenario, limit: lineageEntriesMax, bytesMax: Number.POSITIVE_INFINITY, before: undefined };
      const [views, models, releases] = await Promise.all([
        catalog.listFeatureViews(query),
        catalog.listModels(query),
        catalog.listReleases(query),
      ]);
      const whole = wholeLineage({ views: views.entries, models: models.entries, releases: releases.entries });
      const found = part === undefined ? whole : lineageOf(whole, part);
      if (found === undefined) throw errors.LINEAGE_UNKNOWN({ scenario, part: describePart(part) });
      return {
        ...lineageMessage(found),
        truncated: [views, models, releases].some(({ before }) => before !== undefined),
      };
    },

    async setLabel(request) {
      const move = moveOf(request);
      await checkScenarios(move);
      const { revision, changed } = await catalog.moveLabel(move);
      if (changed) {
        feed.changed();
        metrics.labelMoves.add(1, { label: move.label });
        metrics.revision.set(revision);
      }
      return { revision: BigInt(revision) };
    },

    async *watchReleases({ scenario }, context: CallContext) {
      check((checks) => checks.optionalName("scenario", scenario));
      try {
        for await (const state of feed.watch(scenario, context.signal)) {
          metrics.watchers.set(feed.watchers);
          yield labelStateMessage(state);
        }
      } finally {
        metrics.watchers.set(feed.watchers);
      }
    },
  };

  /** Checks a model against its artifact and what else it names, then adds it. */
  async function register(model: ModelContent): Promise<ModelVersion> {
    await mustExist("model.artifact_digest", model.artifactDigest);
    if (model.referenceDigest !== "") await mustExist("model.reference_digest", model.referenceDigest);
    await checkLineage(model);
    const { onnxBytesMax: bytesMax, onnxNodesMax: nodesMax } = settings;
    const digest = model.artifactDigest;
    const bytes = await artifacts.readWhole(digest, bytesMax);
    if (bytes === undefined) throw errors.ONNX_TOO_LARGE({ digest, limitBytes: bytesMax });
    const violations = compareSignature(model, walkOnnx(bytes, digest, { bytesMax, nodesMax }));
    if (violations.length > 0) {
      const faults = violations.map((violation) => violation.description).join("; ");
      throw errors.SIGNATURE_MISMATCH({ model: model.name, faults }, { violations });
    }
    return catalog.addModel(model, nowUs());
  }

  async function checkLineage(model: ModelContent): Promise<void> {
    const { scenario, lineage } = model;
    await Promise.all(
      lineage.featureViews.flatMap((reference) => {
        const view = viewReferenceOf(reference);
        return view === undefined ? [] : [mustHaveView(scenario, view.name, view.version)];
      }),
    );
  }

  async function mustHaveView(scenario: string, view: string, version: string): Promise<void> {
    const found = await catalog.featureView(scenario, view, version);
    if (found === undefined) throw errors.FEATURE_VIEW_NOT_FOUND({ scenario, view, version });
  }

  async function mustExist(field: string, digest: string): Promise<void> {
    if ((await artifacts.stat(digest)) === undefined) throw errors.ARTIFACT_MISSING({ field, digest });
  }

  async function checkScenarios(move: LabelMove): Promise<void> {
    if (move.releaseId === "") return;
    const { releases } = await catalog.labelState();
    const scenarios = new Set(releases.map(({ release }) => release.scenario));
    const limit = settings.scenariosMax;
    if (!scenarios.has(move.scenario) && scenarios.size >= limit) throw errors.SCENARIOS_FULL({ limit });
  }

  async function list<T>(
    name: string,
    request: { readonly scenario: string; readonly pageSize: number; readonly pageToken: string },
    read: (query: PageQuery) => Promise<Page<T>>,
  ): Promise<{ readonly entries: readonly T[]; readonly nextPageToken: string }> {
    const { scenario, pageSize, pageToken } = request;
    check((checks) => {
      checks.optionalName("scenario", scenario);
      checks.that(pageSize >= 0 && pageSize <= 1_000, "page_size", "must be from 1 to 1,000, or 0 for 100");
    });
    const { entries, before } = await read({
      scenario,
      limit: pageSize === 0 ? 100 : pageSize,
      bytesMax: pageBytesMax,
      before: decodePageToken(name, scenario, pageToken),
    });
    return { entries, nextPageToken: before === undefined ? "" : encodePageToken(name, scenario, before) };
  }

  function countCorrupt(error: unknown): void {
    if (isWeftError(error) && error.reason === "ARTIFACT_CORRUPT") metrics.artifactsCorrupt.add(1);
  }
}

function moveOf(request: registry.SetLabelRequest): LabelMove {
  const { scenario, releaseId, expectedReleaseId, requestId } = request;
  const checks = new Checks();
  checks.name("scenario", scenario);
  const label = labelOf(checks, "label", request.label);
  checks.text("release_id", releaseId, 128);
  checks.text("expected_release_id", expectedReleaseId ?? "", 128);
  checks.text("request_id", requestId, requestIdBytesMax);
  checks.done();
  return { scenario, label, releaseId, expectedReleaseId, requestId };
}

/** Reads the first message of an upload; the chunks go on with the others. */
async function openUpload(
  requests: AsyncIterable<registry.PutArtifactRequest>,
): Promise<{ readonly digest: string; readonly chunks: AsyncIterable<Uint8Array> }> {
  const iterator = requests[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (first.done === true) throw errors.REQUEST_INVALID({ fault: "an upload must have a message" });
  const { digest } = first.value;
  check((checks) => checks.optionalDigest("digest", digest));
  return { digest, chunks: chunksOf(first.value, iterator) };
}

async function* chunksOf(
  first: registry.PutArtifactRequest,
  rest: AsyncIterator<registry.PutArtifactRequest>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for (let message = first; ; ) {
      const { length } = message.chunk;
      check((checks) => checks.that(length <= chunkBytesMax, "chunk", `must be at most ${chunkBytesMax} bytes`));
      yield message.chunk;
      const next = await rest.next();
      if (next.done === true) return;
      message = next.value;
    }
  } finally {
    await rest.return?.();
  }
}
