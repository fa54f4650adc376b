import type { MessageInitShape } from "@bufbuild/protobuf";
import { beforeEach, describe, expect, test } from "@jest/globals";
import { registry } from "@weft/contracts";
import type { Client } from "@weft/rpc";
import { clientOf, quietTelemetry } from "@weft/testkit";
import { MemoryArtifactStore } from "./adapters/memory-artifact-store.ts";
import { MemoryCatalog } from "./adapters/memory-catalog.ts";
import { onnxFile, scoringGraph } from "./domain/onnx-fixture.ts";
import { ReleaseFeed } from "./domain/release-feed.ts";
import { createRegistryMetrics } from "./metrics.ts";
import { createRegistryService } from "./service.ts";

const hash = (digit: string) => digit.repeat(64);
let client: Client<typeof registry.RegistryService>;
let releaseIds: readonly string[];

async function* upload(bytes: Uint8Array) {
  yield { chunk: bytes };
}

/** Two sources, three views (one of them in two versions), two training sets, three models, two releases. */
beforeEach(async () => {
  const telemetry = quietTelemetry();
  const settings = {
    artifactBytesMax: 100_000,
    onnxBytesMax: 100_000,
    onnxNodesMax: 10,
    uploadsMax: 2,
    downloadsMax: 2,
    registrationsMax: 2,
    watchersMax: 2,
    scenariosMax: 2,
    requestIdsMax: 10,
  };
  const catalog = new MemoryCatalog(settings);
  let us = 1_700_000_000_000_000;
  const parts = { catalog, artifacts: new MemoryArtifactStore(), settings, nowUs: () => us++ };
  const feed = new ReleaseFeed(() => catalog.labelState(), 2);
  const metrics = createRegistryMetrics(telemetry.metrics);
  client = clientOf(registry.RegistryService, createRegistryService({ ...parts, feed, metrics }), telemetry);

  const view = (name: string, source: string, edit = 0) =>
    client.registerFeatureView({
      scenario: "shop",
      name,
      definition: JSON.stringify({ source: { name: source }, edit }),
    });
  await view("activity", "payments");
  await view("profile", "people");
  await view("activity", "payments", 1);
  await view("unread", "people");
  const artifactDigest = (await client.putArtifact(upload(onnxFile(scoringGraph(2))))).digest;
  const codeDigest = (await client.putArtifact(upload(Buffer.from("{}")))).digest;
  const tensor = (name: string, shape: number[]) => ({ name, datatype: "FP32", shape: shape.map(BigInt) });
  const model = (name: string, trainingSetHash: string, featureViews: string[], auc: number) =>
    client.registerModel({
      model: {
        scenario: "shop",
        name,
        artifactDigest,
        inputs: [tensor("features", [-1, 2])],
        outputs: [tensor("probability", [-1])],
        features: ["a:b", "c:d"],
        metrics: { auc },
        lineage: { trainingSetHash, featureViews },
      },
    });
  const release = async (models: { name: string; version: string }[], activity: string) => {
    const featureViews = [
      { name: "activity", version: activity },
      { name: "profile", version: "1" },
    ];
    return (await client.createRelease({ scenario: "shop", codeDigest, models, featureViews })).release?.id ?? "";
  };
  await model("tree", hash("a"), ["activity@1"], 0.8);
  await model("tower", hash("a"), ["activity@1", "profile@1"], 0.8);
  const first = await release([{ name: "tree", version: "1" }], "1");
  await model("tree", hash("b"), ["activity@2", "profile@1"], 0.9);
  releaseIds = [first, await release([{ name: "tree", version: "2" }], "2")];
});

type Part = MessageInitShape<typeof registry.GetLineageRequestSchema>["part"];
async function lineage(part?: Part) {
  const found = await client.getLineage({ scenario: "shop", ...(part === undefined ? {} : { part }) });
  const named = ({ name, version }: { name: string; version: string }) => `${name}@${version}`;
  return {
    sources: found.sources,
    views: found.featureViews.map(named).sort(),
    sets: found.trainingSets.map((set) => set.hash.slice(0, 1)).sort(),
    models: found.models.map(named).sort(),
    releases: found.releases.map(({ id }) => releaseIds.indexOf(id)).sort(),
  };
}

describe("lineage", () => {
  test("of a scenario is everything, newest first, each with what it came from", async () => {
    const found = await client.getLineage({ scenario: "shop" });
    expect(found).toMatchObject({
      sources: ["payments", "people"],
      trainingSets: [
        {
          hash: hash("b"),
          featureViews: [
            { name: "activity", version: "2" },
            { name: "profile", version: "1" },
          ],
        },
        {
          hash: hash("a"),
          featureViews: [
            { name: "activity", version: "1" },
            { name: "profile", version: "1" },
          ],
        },
      ],
      truncated: false,
    });
    expect(found.featureViews[0]).toMatchObject({ name: "unread", version: "1", source: "people" });
    expect(found.models[0]).toMatchObject({ name: "tree", version: "2", trainingSetHash: hash("b") });
    expect(found.releases[0]).toMatchObject({ id: releaseIds[1], models: [{ name: "tree", version: "2" }] });
  });

  test("of a source is what was made from it", async () => {
    expect(await lineage({ case: "source", value: "people" })).toEqual({
      sources: ["people"],
      views: ["profile@1", "unread@1"],
      sets: ["a", "b"],
      models: ["tower@1", "tree@1", "tree@2"],
      releases: [0, 1],
    });
  });

  test("of a view's version is its own models and releases, not those of another version", async () => {
    const part = { case: "featureView" as const, value: { name: "activity", version: "2" } };
    expect(await lineage(part)).toEqual({
      sources: ["payments"],
      views: ["activity@2"],
      sets: ["b"],
      models: ["tree@2"],
      releases: [1],
    });
  });

  test("of a model and of a release is what they came from, up to the sources", async () => {
    const model = { case: "model" as const, value: { name: "tree", version: "2" } };
    expect(await lineage(model)).toEqual({
      sources: ["payments", "people"],
      views: ["activity@2", "profile@1"],
      sets: ["b"],
      models: ["tree@2"],
      releases: [1],
    });
    expect(await lineage({ case: "releaseId", value: releaseIds[0] ?? "" })).toEqual({
      sources: ["payments", "people"],
      views: ["activity@1", "profile@1"],
      sets: ["a"],
      models: ["tree@1"],
      releases: [0],
    });
    expect((await lineage({ case: "trainingSetHash", value: hash("a") })).models).toEqual(["tower@1", "tree@1"]);
  });

  test.each<[string, string, NonNullable<Part>]>([
    ["an unknown source", "LINEAGE_UNKNOWN", { case: "source", value: "nowhere" }],
    ["an unknown version", "LINEAGE_UNKNOWN", { case: "featureView", value: { name: "activity", version: "3" } }],
    ["a model without a version", "REQUEST_INVALID", { case: "model", value: { name: "tree" } }],
    ["a hash that is none", "REQUEST_INVALID", { case: "trainingSetHash", value: "abc" }],
    ["an unknown release", "LINEAGE_UNKNOWN", { case: "releaseId", value: "shop-000000000000" }],
  ])("is refused for %s: %s", async (_what, reason, part) => {
    await expect(client.getLineage({ scenario: "shop", part })).rejects.toMatchObject({ reason });
  });
});
