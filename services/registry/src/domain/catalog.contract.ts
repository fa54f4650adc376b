import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { Catalog, LabelMove, ModelContent, PageQuery, ReleaseContent } from "./catalog.ts";
import { featureViewContent } from "./records.ts";
import { composeRelease } from "./release.ts";

/** A catalog under test. */
export interface CatalogBackend {
  readonly name: string;
  /** Opens an empty catalog that remembers this many request ids. */
  open(requestIdsMax: number): Promise<Catalog>;
}

const bytesMax = 1_000_000;

/** What every catalog does. */
export function catalogContract(backend: CatalogBackend): void {
  describe(`catalog: ${backend.name}`, () => {
    let catalog: Catalog;
    beforeEach(async () => {
      catalog = await backend.open(3);
    });
    afterEach(() => catalog.close());

    const view = (scenario: string, name: string, ttl: number) => {
      const content = featureViewContent(scenario, name, `{"ttl":${ttl}}`);
      if (content === undefined) throw new Error("not JSON");
      return content;
    };
    const release = async (scenario: string, generation: number): Promise<ReleaseContent> =>
      composeRelease(catalog, {
        scenario,
        codeDigest: "c".repeat(64),
        models: [{ name: "tree", version: "" }],
        featureViews: [],
        indexes: [{ index: "items", generation }],
      });
    const move = (scenario: string, releaseId: string, rest: Partial<LabelMove> = {}): LabelMove => ({
      scenario,
      label: "champion",
      releaseId,
      requestId: "",
      ...rest,
    });

    test("versions count up by name, and equal content answers the version it has", async () => {
      const first = await catalog.addFeatureView(view("fraud", "card", 1), 10);
      expect(first).toMatchObject({
        scenario: "fraud",
        name: "card",
        version: "1",
        definition: '{"ttl":1}',
        createTimeUs: 10,
      });
      expect((await catalog.addFeatureView(view("fraud", "card", 2), 20)).version).toBe("2");
      expect((await catalog.addFeatureView(view("fraud", "user", 1), 20)).version).toBe("1");
      expect((await catalog.addFeatureView(view("other", "card", 1), 20)).version).toBe("1");
      expect(await catalog.addFeatureView(view("fraud", "card", 1), 30)).toEqual(first);
      expect((await catalog.featureView("fraud", "card", ""))?.version).toBe("2");
      expect(await catalog.featureView("fraud", "card", "1")).toEqual(first);
      expect(await catalog.featureView("fraud", "card", "3")).toBeUndefined();
      expect(await catalog.featureView("fraud", "none", "")).toBeUndefined();
      const newest = await catalog.newestFeatureViews("fraud");
      expect(newest.map(({ name, version }) => `${name}@${version}`)).toEqual(["card@2", "user@1"]);
    });

    test("a model comes back whole, and any change of its content is a new version", async () => {
      const first = await catalog.addModel(exampleModel, 10);
      expect(first).toMatchObject({ ...exampleModel, version: "1", createTimeUs: 10 });
      expect(await catalog.addModel({ ...exampleModel }, 20)).toEqual(first);
      const second = await catalog.addModel({ ...exampleModel, metrics: { auc: 0.92 } }, 30);
      expect(second.version).toBe("2");
      expect(second.digest).not.toBe(first.digest);
      expect(await catalog.model("fraud", "tree", "")).toEqual(second);
      expect(await catalog.model("fraud", "tree", "1")).toEqual(first);
      expect(await catalog.model("other", "tree", "")).toBeUndefined();
    });

    test("lists go from the newest to the oldest in pages, steady while records are added", async () => {
      for (let ttl = 1; ttl <= 5; ttl++) {
        await catalog.addFeatureView(view("fraud", "card", ttl), ttl);
        await catalog.addFeatureView(view("other", "card", ttl), ttl);
      }
      const read = async (query: Omit<PageQuery, "limit" | "bytesMax">) => {
        const page = await catalog.listFeatureViews({ ...query, limit: 2, bytesMax });
        return { before: page.before, text: page.entries.map((e) => `${e.scenario}@${e.version}`).join(" ") };
      };
      const one = await read({ scenario: "fraud" });
      expect(one.text).toBe("fraud@5 fraud@4");
      await catalog.addFeatureView(view("fraud", "card", 6), 6);
      const two = await read({ scenario: "fraud", before: one.before });
      expect(two.text).toBe("fraud@3 fraud@2");
      const three = await read({ scenario: "fraud", before: two.before });
      expect(three).toEqual({ text: "fraud@1", before: undefined });
      expect((await read({ scenario: "" })).text).toBe("fraud@6 other@5");
      expect(await read({ scenario: "none" })).toEqual({ text: "", before: undefined });
      expect((await catalog.listFeatureViews({ scenario: "fraud", limit: 6, bytesMax })).before).toBeUndefined();
    });

    test("a page ends before it is too large, and gives one entry at least", async () => {
      for (let ttl = 1; ttl <= 3; ttl++) await catalog.addFeatureView(view("fraud", "card", ttl), ttl);
      const entryBytes = JSON.stringify(await catalog.featureView("fraud", "card", "1")).length;
      const query = { scenario: "", limit: 10, bytesMax: entryBytes * 2 };
      const page = await catalog.listFeatureViews(query);
      expect(page.entries.map((entry) => entry.version)).toEqual(["3", "2"]);
      const rest = await catalog.listFeatureViews({ ...query, bytesMax: 1, before: page.before });
      expect(rest.entries.map((entry) => entry.version)).toEqual(["1"]);
      expect(rest.before).toBeUndefined();
    });

    test("a release has its models whole; equal parts are one release, other parts under its id are refused", async () => {
      const model = await catalog.addModel(exampleModel, 1);
      await catalog.addFeatureView(view("fraud", "card", 1), 2);
      const content = await release("fraud", 1);
      expect(content.id).toMatch(/^fraud-[0-9a-f]{12}$/);
      const made = await catalog.addRelease(content, 3);
      expect(made).toMatchObject({
        id: content.id,
        models: [model],
        featureViews: [{ name: "card", version: "1" }],
        indexes: [{ index: "items", generation: 1 }],
        createTimeUs: 3,
      });
      expect(await catalog.addRelease(await release("fraud", 1), 4)).toEqual(made);
      expect(await catalog.release(content.id)).toEqual(made);
      expect(await catalog.release("fraud-000000000000")).toBeUndefined();
      const other = await catalog.addRelease(await release("fraud", 2), 5);
      expect(other.id).not.toBe(made.id);
      expect((await catalog.listReleases({ scenario: "fraud", limit: 10, bytesMax })).entries).toEqual([other, made]);
      await expect(catalog.addRelease({ ...content, digest: "0".repeat(64) }, 6)).rejects.toMatchObject({
        reason: "RELEASE_ID_TAKEN",
      });
      expect(await catalog.release(content.id)).toEqual(made);
    });

    test("a release of a missing part is refused", async () => {
      await expect(release("fraud", 1)).rejects.toMatchObject({ reason: "MODEL_NOT_FOUND" });
      await catalog.addModel(exampleModel, 1);
      const parts = { scenario: "fraud", codeDigest: "", models: [], indexes: [] };
      const asked = composeRelease(catalog, { ...parts, featureViews: [{ name: "card", version: "7" }] });
      await expect(asked).rejects.toMatchObject({ reason: "FEATURE_VIEW_NOT_FOUND", metadata: { version: "7" } });
      const versioned = composeRelease(catalog, {
        ...parts,
        models: [{ name: "tree", version: "2" }],
        featureViews: [],
      });
      await expect(versioned).rejects.toMatchObject({ reason: "MODEL_NOT_FOUND", metadata: { version: "2" } });
    });

    describe("labels", () => {
      let a: string;
      let b: string;
      beforeEach(async () => {
        await catalog.addModel(exampleModel, 1);
        a = (await catalog.addRelease(await release("fraud", 1), 2)).id;
        b = (await catalog.addRelease(await release("fraud", 2), 3)).id;
      });
      const state = async () => {
        const { revision, releases } = await catalog.labelState();
        return `${revision}: ${releases.map((r) => `${r.release.scenario} ${r.label} ${r.release.id}`).join(", ")}`;
      };

      test("point at one release each, and the revision counts what moved", async () => {
        expect(await state()).toBe("0: ");
        expect(await catalog.moveLabel(move("fraud", a))).toEqual({ revision: 1, changed: true });
        expect(await catalog.moveLabel(move("fraud", a))).toEqual({ revision: 1, changed: false });
        expect(await catalog.moveLabel(move("fraud", b, { label: "challenger" }))).toEqual({
          revision: 2,
          changed: true,
        });
        expect(await state()).toBe(`2: fraud challenger ${b}, fraud champion ${a}`);
        expect(await catalog.moveLabel(move("fraud", ""))).toEqual({ revision: 3, changed: true });
        expect(await catalog.moveLabel(move("fraud", ""))).toEqual({ revision: 3, changed: false });
        expect(await state()).toBe(`3: fraud challenger ${b}`);
        expect((await catalog.labelState()).releases[0]?.release).toEqual(await catalog.release(b));
      });

      test("move by compare-and-set", async () => {
        await catalog.moveLabel(move("fraud", a, { expectedReleaseId: "" }));
        const late = catalog.moveLabel(move("fraud", b, { expectedReleaseId: "" }));
        await expect(late).rejects.toMatchObject({ reason: "LABEL_MOVED", metadata: { actual: a, expected: "" } });
        await expect(catalog.moveLabel(move("fraud", "", { expectedReleaseId: b }))).rejects.toMatchObject({
          reason: "LABEL_MOVED",
        });
        expect(await state()).toBe(`1: fraud champion ${a}`);
        expect((await catalog.moveLabel(move("fraud", b, { expectedReleaseId: a }))).changed).toBe(true);
      });

      test("refuse a release that is not there or of another scenario", async () => {
        await expect(catalog.moveLabel(move("fraud", "fraud-0"))).rejects.toMatchObject({
          reason: "RELEASE_NOT_FOUND",
        });
        await expect(catalog.moveLabel(move("other", a))).rejects.toMatchObject({
          reason: "RELEASE_OF_OTHER_SCENARIO",
        });
        expect(await state()).toBe("0: ");
      });

      test("a repeated request changes nothing, one id for two moves is refused, and old ids are forgotten", async () => {
        const first = move("fraud", a, { requestId: "r1", expectedReleaseId: "" });
        expect(await catalog.moveLabel(first)).toEqual({ revision: 1, changed: true });
        await catalog.moveLabel(move("fraud", b));
        expect(await catalog.moveLabel(first)).toEqual({ revision: 1, changed: false });
        expect(await state()).toBe(`2: fraud champion ${b}`);
        await expect(catalog.moveLabel({ ...first, releaseId: b })).rejects.toMatchObject({
          reason: "REQUEST_ID_REUSED",
        });
        for (const requestId of ["r2", "r3", "r4"]) await catalog.moveLabel(move("fraud", b, { requestId }));
        await expect(catalog.moveLabel(first)).rejects.toMatchObject({ reason: "LABEL_MOVED" });
      });
    });
  });
}

/** A model with every field set. */
export const exampleModel: ModelContent = {
  scenario: "fraud",
  name: "tree",
  artifactDigest: "a".repeat(64),
  inputs: [{ name: "features", datatype: "FP32", shape: [-1, 2] }],
  outputs: [{ name: "probability", datatype: "FP32", shape: [-1] }],
  features: ["card:count_1h", "request:amount"],
  metrics: { auc: 0.91, log_loss: 0.1 },
  lineage: {
    trainingSetHash: "b".repeat(64),
    trainingRows: 1_000_000,
    featureViews: ["card@1"],
    codeDigest: "c".repeat(64),
    trainer: "lightgbm",
    libraries: { lightgbm: "4.6.0" },
  },
  referenceDigest: "",
};
