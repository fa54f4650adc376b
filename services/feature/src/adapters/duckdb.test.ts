import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { isWeftError } from "@weft/errors";
import { defineSource } from "@weft/scenario";
import { offlineStoreContract } from "../domain/offline/offline-store.contract.ts";
import { createDuckDbStore } from "./duckdb.ts";

const create = (directory: string, temporaryDirectory: string) =>
  createDuckDbStore({ directory, temporaryDirectory, memoryBytesMax: 256 << 20, threads: 2 });

offlineStoreContract("DuckDB", create);

describe("what DuckDB says of a row", () => {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "weft-duckdb-"));
    await mkdir(join(root, "shop"));
  });
  afterAll(() => rm(root, { recursive: true }));

  const fields = { id: "int64", place: { vector: 3 } } as const;
  const header = "t,id,place";

  test.each<[string, string[], string]>([
    ["type", [header, "1,2,", "2,7x,"], ':3, column "id": Could not convert string "7x" to'],
    ["vector", [header, '2,7,"[1,2]"'], ':2, column "place": Could not convert'],
    ["short", [header, "1,2"], ":2: Expected Number of Columns: 3 Found: 2"],
    ["time", [header, "1,2,", ",7,"], ':3, column "t": the event time is missing'],
    ["far", [header, "9007199254740992,7,"], ':2, column "t": a time must be'],
    ["column", ["t"], 'has no column "id", "place"'],
    ["twice", ["t,id,id"], 'two columns are named "id"'],
    ["empty", [], "the file is empty"],
  ])("becomes the line and column of the file: %s", async (name, lines, text) => {
    await writeFile(join(root, "shop", `${name}.csv`), lines.map((line) => `${line}\n`).join(""));
    const workspace = await create(root, join(root, "tmp")).open({ scenario: "shop" });
    const source = defineSource({ name: "visits", file: `${name}.csv`, eventTime: "t", fields });
    const error: unknown = await workspace.load(source).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    await workspace.close();
    expect(isWeftError(error) ? error.message : "").toContain(text);
  });
});
