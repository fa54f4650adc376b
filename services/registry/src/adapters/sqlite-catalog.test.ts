import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, expect, test } from "@jest/globals";
import { catalogContract, exampleModel } from "../domain/catalog.contract.ts";
import { featureViewContent } from "../domain/records.ts";
import { SqliteCatalog } from "./sqlite-catalog.ts";

const folder = mkdtempSync(join(tmpdir(), "weft-catalog-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;
const freshPath = () => join(folder, `catalog-${files++}.db`);

catalogContract({
  name: "sqlite",
  open: async (requestIdsMax) => SqliteCatalog.open(freshPath(), { requestIdsMax }),
});

test("what was answered is there after the file is opened again", async () => {
  const path = freshPath();
  const first = SqliteCatalog.open(path, { requestIdsMax: 10 });
  const model = await first.addModel(exampleModel, 7);
  first.close();
  const second = SqliteCatalog.open(path, { requestIdsMax: 10 });
  expect(await second.model("fraud", "tree", "")).toEqual(model);
  second.close();
});

test("the log is flushed at every commit, and one process holds the file", () => {
  const path = freshPath();
  const first = SqliteCatalog.open(path, { requestIdsMax: 10 });
  expect(() => SqliteCatalog.open(path, { requestIdsMax: 10 })).toThrow(/another registry has/);
  first.close();
  SqliteCatalog.open(path, { requestIdsMax: 10 }).close();
});

test("records cannot be changed, whoever asks", async () => {
  const path = freshPath();
  const catalog = SqliteCatalog.open(path, { requestIdsMax: 10 });
  await catalog.addModel(exampleModel, 7);
  catalog.close();
  const database = new DatabaseSync(path);
  expect(() => database.exec("UPDATE models SET content = '{}'")).toThrow("models never change");
  expect(() => database.exec("DELETE FROM models")).toThrow("models never change");
  database.close();
});

test("a file of a newer registry is refused and left as it is", () => {
  const path = freshPath();
  SqliteCatalog.open(path, { requestIdsMax: 10 }).close();
  const database = new DatabaseSync(path);
  database.exec("PRAGMA user_version = 99");
  database.close();
  expect(() => SqliteCatalog.open(path, { requestIdsMax: 10 })).toThrow(/schema 99/);
});

test("a full disk refuses the write and keeps what is there", async () => {
  const catalog = SqliteCatalog.open(freshPath(), { requestIdsMax: 10, pagesMax: 40 });
  let kept = 0;
  const add = async (ttl: number) => {
    const view = featureViewContent("fraud", "card", JSON.stringify({ ttl, text: "x".repeat(10_000) }));
    if (view !== undefined) await catalog.addFeatureView(view, ttl);
    kept++;
  };
  await expect(
    (async () => {
      for (let ttl = 0; ttl < 1_000; ttl++) await add(ttl);
    })(),
  ).rejects.toMatchObject({ reason: "DISK_FULL", code: 8 });
  expect(kept).toBeGreaterThan(0);
  expect((await catalog.listFeatureViews({ scenario: "", limit: 1_000, bytesMax: 1e9 })).entries).toHaveLength(kept);
  catalog.close();
});
