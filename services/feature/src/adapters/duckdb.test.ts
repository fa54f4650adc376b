import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { isWeftError } from "@weft/errors";
import { defineSource, type Source, type Value } from "@weft/scenario";
import { type ColumnSpec, fieldColumn, type OfflineWorkspace, type PushedRows } from "../domain/offline-store.ts";
import { sourceFields } from "../domain/view-state.ts";
import { createDuckDbStore } from "./duckdb.ts";

const fields = {
  id: "int64",
  amount: "float32",
  score: "float64",
  place: { vector: 3 },
  seen: { keys: "int64" },
  tags: { keys: "string" },
  good: "bool",
  raw: "bytes",
  note: "string",
} as const;
const header = "t,id,amount,score,place,seen,tags,good,raw,note";
const full = '1,9007199254740993,1.5,0.1,"[1, 2.5, 3]","[9007199254740993, 2]","[a, b]",true,\\x01ab,""';

let root: string;
let opened: OfflineWorkspace[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "weft-offline-"));
  await mkdir(join(root, "shop"));
});
afterEach(async () => {
  for (const workspace of opened) await workspace.close();
  opened = [];
});
afterAll(() => rm(root, { recursive: true }));

function source(file: string, more: Partial<Source> = {}): Source {
  return defineSource({ name: "visits", file, eventTime: "t", fields, ...more });
}

async function open(pushed?: PushedRows, signal?: AbortSignal, arrivals = false): Promise<OfflineWorkspace> {
  const store = createDuckDbStore({
    directory: root,
    temporaryDirectory: join(root, "tmp"),
    memoryBytesMax: 256 << 20,
    threads: 2,
  });
  const workspace = await store.open({ scenario: "shop", pushed, arrivals, signal });
  opened.push(workspace);
  return workspace;
}

async function csv(name: string, ...lines: string[]): Promise<Source> {
  await writeFile(join(root, "shop", name), lines.map((line) => `${line}\n`).join(""));
  return source(name);
}

async function rows(workspace: OfflineWorkspace, from: Source): Promise<Value[][]> {
  const { table, rowCount } = await workspace.load(from);
  const specs: ColumnSpec[] = [
    { name: "event_us", type: "count" },
    { name: "created_us", type: "count" },
    ...sourceFields(from).map(({ name, type }) => ({ name: fieldColumn(from, name), type })),
  ];
  const result: Value[][] = [];
  const sql = `SELECT ${specs.map(({ name }) => name).join(", ")} FROM ${table} ORDER BY event_us, created_us`;
  for await (const batch of workspace.query(sql, specs)) {
    for (let row = 0; row < batch.count; row++) result.push(batch.columns.map((column) => column[row] ?? null));
  }
  expect(result).toHaveLength(rowCount);
  return result;
}

async function reason(promise: Promise<unknown>): Promise<{ reason: string; text: string }> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!isWeftError(error)) throw new Error(`expected an error of the catalogue, got ${String(error)}`);
  return { reason: error.reason, text: error.message };
}

describe("DuckDB offline store", () => {
  const decoded = [
    9007199254740993n,
    1.5,
    0.1,
    Float32Array.of(1, 2.5, 3),
    [9007199254740993n, 2n],
    ["a", "b"],
    true,
    Uint8Array.of(1, 97, 98),
    "",
  ];
  const absent = decoded.map(() => null);

  test("reads every type from CSV, in time order, with columns in any order and more than declared", async () => {
    const from = await csv("all.csv", `\uFEFF${header},more`, "2,,,,,,,,,,x", `${full},y`);
    expect(await rows(await open(), from)).toEqual([
      [1, 1, ...decoded],
      [2, 2, ...absent],
    ]);
  });

  test("reads every type from Parquet", async () => {
    await csv("for-parquet.csv", header, full, "2,,,,,,,,,");
    const instance = await DuckDBInstance.create(":memory:");
    const connection = await instance.connect();
    const [from, to] = [join(root, "shop", "for-parquet.csv"), join(root, "shop", "all.parquet")];
    const types =
      "{t: BIGINT, id: BIGINT, amount: FLOAT, score: DOUBLE, place: 'FLOAT[]', seen: 'BIGINT[]', tags: 'VARCHAR[]', good: BOOLEAN, raw: BLOB, note: VARCHAR}".replaceAll(
        /: '?([A-Z[\]]+)'?/g,
        ": '$1'",
      );
    await connection.run(
      `COPY (SELECT * FROM read_csv('${from}', header = true, auto_detect = false, allow_quoted_nulls = false, columns = ${types})) TO '${to}'`,
    );
    expect(await rows(await open(), source("all.parquet"))).toEqual([
      [1, 1, ...decoded],
      [2, 2, ...absent],
    ]);
    const wrong = source("all.parquet", { fields: { id: "string", score: "float32", place: { vector: 3 } } });
    expect(await reason((await open()).load(wrong))).toEqual({
      reason: "SOURCE_COLUMN_TYPE",
      text: 'source "visits": all.parquet: column "id" is declared string and holds BIGINT',
    });
    connection.closeSync();
    instance.closeSync();
  });

  test("takes the event time where a created time is absent", async () => {
    await csv("created.csv", "t,known,id", "5,9,1", "4,,2");
    const from = source("created.csv", { createdTime: "known", fields: { id: "int64" } });
    expect(await rows(await open(), from)).toEqual([
      [4, 4, 2n],
      [5, 9, 1n],
    ]);
  });

  test("adds the rows that were pushed", async () => {
    const from = await csv("pushed.csv", header, full);
    const pushed: PushedRows = async function* ({ name }) {
      expect(name).toBe("visits");
      yield { rows: [{ eventTimeUs: 0, createdTimeUs: 7, values: decoded }], receivedUs: 8 };
      yield { rows: [{ eventTimeUs: 3, createdTimeUs: 3, values: absent }], receivedUs: 9 };
    };
    expect(await rows(await open(pushed), from)).toEqual([
      [0, 7, ...decoded],
      [1, 1, ...decoded],
      [3, 3, ...absent],
    ]);
    const workspace = await open(pushed, undefined, true);
    const { table } = await workspace.load(from);
    const arrivals: Value[] = [];
    const sql = `SELECT received_us FROM ${table} ORDER BY event_us`;
    for await (const { columns } of workspace.query(sql, [{ name: "received_us", type: "count" }]))
      arrivals.push(...(columns[0] ?? []));
    expect(arrivals).toEqual([8, 0, 9]);
  });

  test.each<[string, string[], string, string]>([
    ["type", [header, full, "2,7x,,,,,,,,"], "SOURCE_ROW_INVALID", ':3, column "id": Could not convert string "7x" to'],
    ["vector", [header, '2,7,1,1,"[1,2]",,,,,'], "SOURCE_ROW_INVALID", ':2, column "place": Could not convert'],
    ["short", [header, "1,2"], "SOURCE_ROW_INVALID", ":2: Expected Number of Columns: 10 Found: 2"],
    ["time", [header, full, ",7,,,,,,,,"], "SOURCE_ROW_INVALID", ':3, column "t": the event time is missing'],
    ["far", [header, "9007199254740992,7,,,,,,,,"], "SOURCE_ROW_INVALID", ':2, column "t": a time must be'],
    ["column", ["t,id"], "SOURCE_COLUMN_MISSING", 'has no column "amount", "score"'],
    ["twice", ["t,id,id"], "SOURCE_FILE_INVALID", 'two columns are named "id"'],
    ["empty", [], "SOURCE_FILE_INVALID", "the file is empty"],
  ])("says what is wrong with a CSV file: %s", async (name, lines, expected, text) => {
    const error = await reason((await open()).load(await csv(`${name}.csv`, ...lines)));
    expect(error).toEqual({ reason: expected, text: expect.stringContaining(text) });
  });

  test("says what is wrong with the file itself", async () => {
    await writeFile(join(root, "shop", "broken.parquet"), "not a Parquet file");
    const faults = [];
    for (const file of ["none.csv", "broken.parquet", "../all.csv", "a*.csv", "all.json"]) {
      if (file === "all.json") await writeFile(join(root, "shop", file), "{}");
      faults.push((await reason((await open()).load(source(file)))).reason);
    }
    expect(faults).toEqual(["SOURCE_FILE_MISSING", ...new Array(4).fill("SOURCE_FILE_INVALID")]);
  });

  test("writes tables of every type and exports them whole", async () => {
    const workspace = await open();
    const specs: ColumnSpec[] = [
      { name: "n", type: "count" },
      ...Object.entries(fields).map(([name, type]) => ({ name, type })),
    ];
    const writer = await workspace.createTable("copy", specs);
    const count = 5_000;
    const numbers = Float64Array.from({ length: count }, (_, row) => row);
    const values = decoded.map((value) => Array.from({ length: count }, (_, row) => (row % 3 === 0 ? null : value)));
    writer.write(count, [numbers, ...values]);
    writer.close();
    await workspace.exportParquet("copy", join(root, "out", "copy.parquet"));
    expect(await readdir(join(root, "out"))).toEqual(["copy.parquet"]);
    let row = 0;
    const from = `SELECT * FROM read_parquet('${join(root, "out", "copy.parquet")}')`;
    for await (const batch of workspace.query(from, specs)) {
      for (let at = 0; at < batch.count; at++, row++) {
        expect(batch.columns[0]?.[at]).toBe(row);
        if (row % 997 === 0) {
          const expected = row % 3 === 0 ? absent : decoded;
          expect(batch.columns.slice(1).map((column) => column[at])).toEqual(expected);
        }
      }
    }
    expect(row).toBe(count);
  });

  test("stops when it is told to, and leaves nothing behind", async () => {
    const controller = new AbortController();
    const workspace = await open(undefined, controller.signal);
    const endless = workspace.execute("CREATE TABLE t AS SELECT COUNT(*) FROM range(100000000) a, range(100000) b");
    controller.abort(new Error("enough"));
    await expect(endless).rejects.toThrow("enough");
    await workspace.close();
    opened = [];
    expect(await readdir(join(root, "tmp")).catch(() => [])).toEqual([]);
  });
});
