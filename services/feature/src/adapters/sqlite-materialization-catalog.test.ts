import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import { SqliteMaterializationCatalog } from "./sqlite-materialization-catalog.ts";

const root = mkdtempSync(join(tmpdir(), "weft-catalog-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const spec = { scenario: "s", release: "r1", views: ["a", "b"], mode: "incremental" } as const;
const done = [{ view: "a", outcome: "full", generation: 2, rows: 9 }] as const;
const report = {
  timeUs: 5,
  results: [{ source: "p", expectation: "x", policy: "warn", isMet: false, rows: 3, violations: 1, observed: "o" }],
} as const;

test("what was written down is there after the process has gone; what ran then is interrupted", () => {
  const path = join(root, "kept.db");
  const before = SqliteMaterializationCatalog.open(path);
  const ended = before.begin(spec, 100);
  before.change(ended.id, { state: "succeeded", endedUs: 200, done });
  const running = before.begin({ ...spec, scenario: "t", endUs: 7 }, 300);
  before.change(running.id, { rowsRead: 4, rowsTotal: 8 });
  before.setWatermark("s/a/1", 2, {
    createdUs: -7,
    rowCount: 9,
    fingerprint: "340282366920938463463374607431768211455",
  });
  before.setReport(ended.id, "s", report);
  before.close();

  const after = SqliteMaterializationCatalog.open(path);
  expect(after.list("s", 9)).toEqual([{ ...ended, state: "succeeded", endedUs: 200, done }]);
  expect(after.list("", 9).map(({ id }) => id)).toEqual([running.id, ended.id]);
  const interrupted = { ...running, state: "interrupted", rowsRead: 4, rowsTotal: 8 };
  expect(after.interrupted()).toEqual([interrupted]);
  expect(after.interrupted()).toEqual([interrupted]);
  after.change(running.id, { state: "failed", fault: "why" });
  expect(after.interrupted()).toEqual([]);
  expect(after.watermark("s/a/1", 2)).toEqual({
    createdUs: -7,
    rowCount: 9,
    fingerprint: "340282366920938463463374607431768211455",
  });
  expect([after.watermark("s/a/1", 3), after.watermark("s/b/1", 2)]).toEqual([undefined, undefined]);
  expect(after.report("s")).toEqual({ id: ended.id, report });
  expect([after.report("s", ended.id)?.id, after.report("s", 99), after.report("t")]).toEqual([
    ended.id,
    undefined,
    undefined,
  ]);
  after.setWatermark("s/a/1", 2, undefined);
  expect(after.watermark("s/a/1", 2)).toBeUndefined();
  after.close();
});

test("what is kept is bounded: the oldest go first, and never what is to be begun anew", () => {
  const catalog = SqliteMaterializationCatalog.open(":memory:");
  const first = catalog.begin(spec, 0);
  for (let count = 0; count < 1_100; count++) catalog.change(catalog.begin(spec, count).id, { state: "succeeded" });
  const kept = catalog.list("s", 5_000);
  expect(kept).toHaveLength(1_001);
  expect(kept.at(-1)).toMatchObject({ id: first.id, state: "running" });
  for (let generation = 1; generation <= 40; generation++)
    catalog.setWatermark("s/a/1", generation, { createdUs: generation, rowCount: 0, fingerprint: "" });
  expect([24, 25, 40].map((generation) => catalog.watermark("s/a/1", generation)?.createdUs)).toEqual([
    undefined,
    25,
    40,
  ]);
  for (let id = 1; id <= 150; id++) catalog.setReport(id, "s", report);
  expect([catalog.report("s", 50), catalog.report("s", 51)?.id, catalog.report("s")?.id]).toEqual([undefined, 51, 150]);
  const reference = { rows: 1, distribution: { edges: [], shares: [1], missingRatio: 0 } };
  for (let release = 1; release <= 20; release++) catalog.references("s", `r${release}`).set("p", "amount", reference);
  expect([4, 5, 20].map((release) => catalog.references("s", `r${release}`).get("p", "amount"))).toEqual([
    undefined,
    reference,
    reference,
  ]);
  expect(catalog.references("s", "r20").get("p", "other")).toBeUndefined();
  catalog.close();
});
