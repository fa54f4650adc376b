import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { registry } from "@weft/contracts";
import type { Client } from "@weft/rpc";
import { clientOf, quietTelemetry } from "@weft/testkit";
import { MemoryArtifactStore } from "./adapters/memory-artifact-store.ts";
import { MemoryCatalog } from "./adapters/memory-catalog.ts";
import type { Settings } from "./config.ts";
import { sha256 } from "./domain/canonical.ts";
import { onnxFile, scoringGraph } from "./domain/onnx-fixture.ts";
import { ReleaseFeed } from "./domain/release-feed.ts";
import { createRegistryMetrics } from "./metrics.ts";
import { createRegistryService } from "./service.ts";

const defaults: Settings = {
  artifactBytesMax: 3_000_000,
  onnxBytesMax: 10_000,
  onnxNodesMax: 10,
  uploadsMax: 2,
  downloadsMax: 2,
  registrationsMax: 2,
  watchersMax: 2,
  scenariosMax: 2,
  requestIdsMax: 10,
};

let artifacts: MemoryArtifactStore;
let catalog: MemoryCatalog;
let feed: ReleaseFeed;
let client: Client<typeof registry.RegistryService>;

function open(change: Partial<Settings> = {}): void {
  const telemetry = quietTelemetry();
  const settings = { ...defaults, ...change };
  artifacts = new MemoryArtifactStore();
  catalog = new MemoryCatalog(settings);
  feed = new ReleaseFeed(() => catalog.labelState(), settings.watchersMax);
  const metrics = createRegistryMetrics(telemetry.metrics);
  let us = 1_700_000_000_000_000;
  const handlers = createRegistryService({ catalog, artifacts, feed, settings, metrics, nowUs: () => us++ });
  client = clientOf(registry.RegistryService, handlers, telemetry);
}
beforeEach(() => open());
afterEach(() => feed.close());

async function* upload(bytes: Uint8Array, digest = "", chunkBytes = 1_000_000) {
  for (let start = 0; start === 0 || start < bytes.length; start += chunkBytes) {
    yield { digest: start === 0 ? digest : "", chunk: bytes.subarray(start, start + chunkBytes) };
  }
}
const put = async (bytes: Uint8Array | string) => (await client.putArtifact(upload(Buffer.from(bytes)))).digest;

const tensor = (name: string, shape: number[]) => ({ name, datatype: "FP32", shape: shape.map(BigInt) });
function exampleModel(artifactDigest: string, auc = 0.9) {
  return {
    scenario: "fraud",
    name: "tree",
    artifactDigest,
    inputs: [tensor("features", [-1, 2])],
    outputs: [tensor("probability", [-1])],
    features: ["card:count_1h", "request:amount"],
    metrics: { auc },
    lineage: { trainer: "lightgbm", trainingRows: 10n, libraries: { lightgbm: "4.6.0" } },
  };
}
const putModel = () => put(onnxFile(scoringGraph(2)));

async function release(generation = 1n, scenario = "fraud"): Promise<string> {
  const model = { ...exampleModel(await putModel()), scenario };
  await client.registerModel({ model });
  const made = await client.createRelease({
    scenario,
    codeDigest: await put('{"files":{}}'),
    models: [{ name: "tree" }],
    indexes: [{ index: "items", generation }],
  });
  return made.release?.id ?? "";
}

describe("artifacts", () => {
  test("go up and come down in parts", async () => {
    const bytes = Buffer.alloc(2_500_000, 3);
    const digest = sha256(bytes);
    const first = await client.putArtifact(upload(bytes, digest));
    expect(first).toMatchObject({ digest, sizeBytes: 2_500_000n });
    expect(await client.putArtifact(upload(bytes, digest))).toEqual(first);
    const parts: Uint8Array[] = [];
    for await (const { chunk } of client.getArtifact({ digest })) parts.push(chunk);
    expect(parts.length).toBeGreaterThan(1);
    expect(Buffer.concat(parts).equals(bytes)).toBe(true);
  });

  test("wrong, oversize and empty uploads are refused with their reason", async () => {
    const reason = (bytes: Uint8Array, digest = "", chunkBytes?: number) =>
      expect(client.putArtifact(upload(bytes, digest, chunkBytes))).rejects;
    await reason(Buffer.from("x"), "0".repeat(64)).toMatchObject({ reason: "DIGEST_MISMATCH" });
    await reason(Buffer.from("x"), "XYZ").toMatchObject({
      reason: "REQUEST_INVALID",
      violations: [{ field: "digest" }],
    });
    await reason(Buffer.alloc(3_000_001)).toMatchObject({ reason: "ARTIFACT_TOO_LARGE" });
    await reason(Buffer.alloc(1_500_000), "", 1_500_000).toMatchObject({ reason: "REQUEST_INVALID" });
    async function* none() {}
    await expect(client.putArtifact(none())).rejects.toMatchObject({ reason: "REQUEST_INVALID" });
  });

  test("unknown and corrupt ones are never served", async () => {
    const read = async (digest: string) => {
      for await (const { chunk } of client.getArtifact({ digest })) expect(chunk).toBeUndefined();
    };
    await expect(read("0".repeat(64))).rejects.toMatchObject({ reason: "ARTIFACT_NOT_FOUND", code: 5 });
    await expect(read("../../etc/passwd")).rejects.toMatchObject({ reason: "REQUEST_INVALID" });
    const digest = await put("hello");
    artifacts.spoil(digest);
    await expect(read(digest)).rejects.toMatchObject({ reason: "ARTIFACT_CORRUPT", code: 15, metadata: { digest } });
  });

  test("more uploads than the bound are refused at once, with when to retry", async () => {
    const waiting = Promise.withResolvers<void>();
    async function* slow() {
      yield { chunk: Buffer.from("a") };
      await waiting.promise;
    }
    const running = [client.putArtifact(slow()), client.putArtifact(slow())];
    await new Promise(setImmediate);
    const refused = client.putArtifact(upload(Buffer.from("b")));
    await expect(refused).rejects.toMatchObject({ reason: "UPLOADS_FULL", code: 8, retryAfterMs: 200 });
    waiting.resolve();
    await Promise.all(running);
    await put("b");
  });
});

describe("feature views", () => {
  test("are versions of canonical definitions", async () => {
    const register = async (definition: string) =>
      (await client.registerFeatureView({ scenario: "fraud", name: "card", definition })).featureView;
    const first = await register('{"b":1,"a":2}');
    expect(first).toMatchObject({ version: "1", definition: '{"a":2,"b":1}', digest: sha256('{"a":2,"b":1}') });
    expect(first?.createTime?.seconds).toBe(1_700_000_000n);
    expect(await register('{ "a": 2, "b": 1 }')).toEqual(first);
    expect((await register('{"a":3}'))?.version).toBe("2");
    await expect(register("not JSON")).rejects.toMatchObject({ reason: "REQUEST_INVALID" });
    await expect(register(`{"a":"${"x".repeat(1_048_576)}"}`)).rejects.toMatchObject({ reason: "REQUEST_INVALID" });
    const wrong = client.registerFeatureView({ scenario: "Fraud", name: "a/b", definition: "{}" });
    await expect(wrong).rejects.toMatchObject({ violations: [{ field: "scenario" }, { field: "name" }] });
  });

  test("list in pages, newest first", async () => {
    for (let ttl = 0; ttl < 5; ttl++) {
      await client.registerFeatureView({ scenario: "fraud", name: "card", definition: `{"ttl":${ttl}}` });
    }
    const versions: string[] = [];
    let pageToken = "";
    do {
      const page = await client.listFeatureViews({ scenario: "fraud", pageSize: 2, pageToken });
      versions.push(page.featureViews.map((view) => view.version).join(""));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(versions).toEqual(["54", "32", "1"]);
    const other = await client.listFeatureViews({ scenario: "fraud", pageSize: 2 });
    const stolen = client.listModels({ scenario: "fraud", pageToken: other.nextPageToken });
    await expect(stolen).rejects.toMatchObject({ reason: "PAGE_TOKEN_INVALID" });
    await expect(client.listModels({ pageSize: 1_001 })).rejects.toMatchObject({
      violations: [{ field: "page_size" }],
    });
  });
});

describe("models", () => {
  test("register once for the same content and come back whole", async () => {
    const model = exampleModel(await putModel());
    const first = (await client.registerModel({ model })).model;
    expect(first).toMatchObject({ ...model, version: "1", lineage: { trainer: "lightgbm", trainingRows: 10n } });
    expect((await client.registerModel({ model })).model).toEqual(first);
    expect((await client.registerModel({ model: { ...model, metrics: { auc: 0.8 } } })).model?.version).toBe("2");
    expect((await client.getModel({ scenario: "fraud", name: "tree", version: "1" })).model).toEqual(first);
    expect((await client.getModel({ scenario: "fraud", name: "tree" })).model?.version).toBe("2");
    expect((await client.listModels({})).models.map(({ version }) => version)).toEqual(["2", "1"]);
    const none = client.getModel({ scenario: "fraud", name: "tree", version: "9" });
    await expect(none).rejects.toMatchObject({ reason: "MODEL_NOT_FOUND" });
  });

  test("are refused where anything they name is missing or wrong", async () => {
    const good = exampleModel(await putModel());
    const refused = (change: object) => expect(client.registerModel({ model: { ...good, ...change } })).rejects;
    const unknown = "0".repeat(64);
    await expect(client.registerModel({})).rejects.toMatchObject({ reason: "REQUEST_INVALID" });
    await refused({ artifactDigest: unknown }).toMatchObject({
      reason: "ARTIFACT_MISSING",
      metadata: { digest: unknown },
    });
    await refused({ referenceDigest: unknown }).toMatchObject({ reason: "ARTIFACT_MISSING" });
    await refused({ lineage: { featureViews: ["card@3"] } }).toMatchObject({ reason: "FEATURE_VIEW_NOT_FOUND" });
    await refused({ artifactDigest: await put("not onnx") }).toMatchObject({ reason: "ONNX_INVALID" });
    await refused({ artifactDigest: await put(Buffer.alloc(10_001)) }).toMatchObject({ reason: "ONNX_TOO_LARGE" });
    await refused({ outputs: [tensor("score", [-1])] }).toMatchObject({
      reason: "SIGNATURE_MISMATCH",
      violations: [{ field: "outputs[0]", description: 'the file has no output "score"; it has "probability"' }],
    });
    await refused({
      scenario: "",
      name: "Tree",
      artifactDigest: "x",
      inputs: [],
      outputs: [{ name: "", datatype: "FLOAT", shape: [0n] }],
      features: ["a b", "x:y", "x:y"],
      metrics: { auc: Number.NaN },
      lineage: { featureViews: ["card"], trainingRows: -1n },
    }).toMatchObject({
      reason: "REQUEST_INVALID",
      violations: [
        { field: "model.scenario" },
        { field: "model.name" },
        { field: "model.artifact_digest" },
        { field: "model.features[0]" },
        { field: "model.features" },
        { field: "model.metrics.auc" },
        { field: "model.inputs" },
        { field: "model.outputs[0].name" },
        { field: "model.outputs[0].datatype" },
        { field: "model.outputs[0].shape" },
        { field: "model.lineage.training_rows" },
        { field: "model.lineage.feature_views[0]" },
      ],
    });
    expect((await client.listModels({})).models).toEqual([]);
    const { artifactDigest } = good;
    artifacts.spoil(artifactDigest);
    await refused({}).toMatchObject({ reason: "ARTIFACT_CORRUPT", code: 15 });
  });
});

describe("releases", () => {
  test("hold the newest of what is not named, and are one for the same parts", async () => {
    await client.registerFeatureView({ scenario: "fraud", name: "card", definition: "{}" });
    const id = await release();
    expect(id).toMatch(/^fraud-[0-9a-f]{12}$/);
    const found = (await client.getRelease({ id })).release;
    expect(found).toMatchObject({
      id,
      scenario: "fraud",
      models: [{ name: "tree", version: "1", artifactDigest: await putModel(), metrics: { auc: 0.9 } }],
      featureViews: [{ name: "card", version: "1" }],
      indexes: [{ index: "items", generation: 1n }],
    });
    expect(await release()).toBe(id);
    const other = await release(2n);
    expect((await client.listReleases({ scenario: "fraud" })).releases.map((r) => r.id)).toEqual([other, id]);
    await expect(client.getRelease({ id: "fraud-0" })).rejects.toMatchObject({ reason: "RELEASE_NOT_FOUND" });
  });

  test("are refused where a part is missing", async () => {
    const codeDigest = await put("{}");
    const models = [{ name: "tree" }];
    const create = (change: object) =>
      expect(client.createRelease({ scenario: "fraud", codeDigest, models, ...change })).rejects;
    await create({}).toMatchObject({ reason: "MODEL_NOT_FOUND", metadata: { model: "tree" } });
    await create({ codeDigest: "0".repeat(64) }).toMatchObject({ reason: "ARTIFACT_MISSING" });
    await release();
    await create({ models: [{ name: "tree", version: "7" }] }).toMatchObject({ reason: "MODEL_NOT_FOUND" });
    await create({ featureViews: [{ name: "none" }] }).toMatchObject({ reason: "FEATURE_VIEW_NOT_FOUND" });
    await create({ models: [], indexes: [{ index: "items", generation: 0n }] }).toMatchObject({
      violations: [{ field: "indexes[0].generation" }],
    });
    await create({ models: [...models, ...models] }).toMatchObject({ violations: [{ field: "models" }] });
  });
});

describe("labels", () => {
  test("move by compare-and-set, and watchers get the whole state", async () => {
    const [first, second] = [await release(1n), await release(2n)];
    const abort = new AbortController();
    const watch = client.watchReleases({}, { signal: abort.signal })[Symbol.asyncIterator]();
    const state = async () => {
      const { value } = await watch.next();
      return `${value.revision}: ${value.releases.map((r: registry.LabelledRelease) => `${r.label}=${r.release?.id}`).join(" ")}`;
    };
    expect(await state()).toBe("0: ");
    const champion = { scenario: "fraud", label: "champion" };
    const moved = await client.setLabel({ ...champion, releaseId: first, expectedReleaseId: "", requestId: "r1" });
    expect(moved.revision).toBe(1n);
    expect(await state()).toBe(`1: champion=${first}`);
    const late = client.setLabel({ ...champion, releaseId: second, expectedReleaseId: "" });
    await expect(late).rejects.toMatchObject({ reason: "LABEL_MOVED", code: 10, metadata: { actual: first } });
    await client.setLabel({ ...champion, releaseId: second, expectedReleaseId: first });
    await client.setLabel({ ...champion, label: "shadow", releaseId: first });
    expect(await state()).toBe(`3: champion=${second} shadow=${first}`);
    expect(
      (await client.setLabel({ ...champion, releaseId: first, expectedReleaseId: "", requestId: "r1" })).revision,
    ).toBe(1n);
    await client.setLabel({ ...champion, releaseId: "" });
    expect(await state()).toBe(`4: shadow=${first}`);
    abort.abort();
    await expect(watch.next()).rejects.toMatchObject({ code: 1 });
    await new Promise(setImmediate);
    expect(feed.watchers).toBe(0);
  });

  test("a watcher hears of a move well within a second, and only of its scenario", async () => {
    const [fraud, other] = [await release(1n), await release(1n, "other")];
    const watch = client.watchReleases({ scenario: "other" })[Symbol.asyncIterator]();
    await watch.next();
    const heard = watch.next();
    const startMs = performance.now();
    await client.setLabel({ scenario: "fraud", label: "champion", releaseId: fraud });
    await client.setLabel({ scenario: "other", label: "champion", releaseId: other });
    const { value } = await heard;
    expect(performance.now() - startMs).toBeLessThan(1_000);
    expect(value.releases).toMatchObject([{ label: "champion", release: { id: other } }]);
    await watch.return?.();
  });

  test("wrong moves are refused", async () => {
    const id = await release();
    const move = (change: object) =>
      expect(client.setLabel({ scenario: "fraud", label: "champion", releaseId: id, ...change })).rejects;
    await move({ label: "best" }).toMatchObject({ violations: [{ field: "label" }] });
    await move({ releaseId: "fraud-0" }).toMatchObject({ reason: "RELEASE_NOT_FOUND" });
    await move({ scenario: "other" }).toMatchObject({ reason: "RELEASE_OF_OTHER_SCENARIO" });
    await move({ requestId: "x".repeat(129) }).toMatchObject({ violations: [{ field: "request_id" }] });
    open({ scenariosMax: 1 });
    const [first, second] = [await release(), await release(1n, "other")];
    await client.setLabel({ scenario: "fraud", label: "champion", releaseId: first });
    const full = client.setLabel({ scenario: "other", label: "champion", releaseId: second });
    await expect(full).rejects.toMatchObject({ reason: "SCENARIOS_FULL" });
  });
});
