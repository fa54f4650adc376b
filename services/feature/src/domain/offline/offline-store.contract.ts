import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { isWeftError } from "@weft/errors";
import { defineSource, type Source, type Value } from "@weft/scenario";
import { sourceFields } from "../views/view-state.ts";
import {
  type ColumnSpec,
  fieldColumn,
  type OfflineStore,
  type OfflineWorkspace,
  type PushedRows,
} from "./offline-store.ts";

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

/** What every offline store must do. `create` gives a store over a folder of scenarios' files and one for what is temporary. */
export function offlineStoreContract(
  name: string,
  create: (directory: string, temporaryDirectory: string) => OfflineStore,
): void {
  describe(`${name} offline store`, () => {
    let root: string;
    let store: OfflineStore;
    let opened: OfflineWorkspace[] = [];

    beforeAll(async () => {
      root = await mkdtemp(join(tmpdir(), "weft-offline-"));
      await mkdir(join(root, "shop"));
      store = create(root, join(root, "tmp"));
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
      const workspace = await open();
      const specs: ColumnSpec[] = [
        { name: "t", type: "count" },
        ...Object.entries(fields).map(([name, type]) => ({ name, type })),
      ];
      const writer = await workspace.createTable("rows", specs);
      writer.write(2, [[1, 2], ...decoded.map((value) => [value, null])]);
      writer.close();
      await workspace.exportParquet("rows", join(root, "shop", "all.parquet"));
      expect(await rows(await open(), source("all.parquet"))).toEqual([
        [1, 1, ...decoded],
        [2, 2, ...absent],
      ]);
      const wrong = source("all.parquet", { fields: { id: "string", score: "float32", place: { vector: 3 } } });
      expect((await reason((await open()).load(wrong))).reason).toBe("SOURCE_COLUMN_TYPE");
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

    test("knows what a file holds up to a time: rows, the newest, and whether any of them is another", async () => {
      const created = (...lines: string[]) => csv("extent.csv", "t,known,id", ...lines);
      const more = { createdTime: "known", fields: { id: "int64" } } as const;
      const extent = async (until?: number, pushed?: PushedRows) =>
        (await open(pushed)).extent(source("extent.csv", more), until);
      await created("5,9,1", "4,,2", "4,4,2");
      const all = await extent();
      expect(all).toMatchObject({ rowCount: 3, newestUs: 9 });
      const until = await extent(4);
      expect(until).toMatchObject({ rowCount: 2, newestUs: 4 });
      const pushed: PushedRows = async function* () {
        yield { rows: [{ eventTimeUs: 1, createdTimeUs: 1, values: [7n] }], receivedUs: 8 };
      };
      expect(await extent(undefined, pushed)).toEqual(all);
      await created("4,4,2", "5,9,1", "4,,2", "6,10,3");
      expect(await extent(9)).toEqual(all);
      for (const lines of [
        ["4,4,2", "5,9,1", "4,,3"],
        ["4,4,2", "5,9,1", "4,,"],
        ["4,4,2", "5,9,1", "3,4,2"],
        ["5,9,1", "5,9,1", "4,,2"],
        ["4,4,2", "5,9,1", "4,,2", "1,9,1"],
      ]) {
        await created(...lines);
        expect((await extent(9)).fingerprint).not.toBe(all.fingerprint);
      }
      await created();
      expect(await extent()).toMatchObject({ rowCount: 0, newestUs: undefined });
      expect(await extent(-5)).toEqual(await extent());
    });

    test("leaves rows out that the source's expectations set aside, wherever they come from, and keeps them beside", async () => {
      await csv("aside.csv", "t,id", "1,5", "2,50", "3,");
      const pushed: PushedRows = async function* () {
        yield { rows: [{ eventTimeUs: 4, createdTimeUs: 4, values: [60n] }], receivedUs: 8 };
      };
      const from = source("aside.csv", {
        fields: { id: "int64" },
        expectations: [
          { expect: "between", field: "id", max: 10, policy: "quarantine" },
          { expect: "not_null", field: "id", policy: "reject" },
        ],
      });
      const workspace = await open(pushed);
      expect(await rows(workspace, from)).toEqual([
        [1, 1, 5n],
        [3, 3, null],
      ]);
      const { aside } = await workspace.load(from);
      const times: Value[] = [];
      const sql = `SELECT event_us FROM ${aside} ORDER BY event_us`;
      for await (const { columns } of workspace.query(sql, [{ name: "event_us", type: "count" }]))
        times.push(...(columns[0] ?? []));
      expect(times).toEqual([2, 4]);
      expect((await (await open()).load(await csv("plain.csv", header, full))).aside).toBeUndefined();
    });

    test("workspaces do not see each other's tables", async () => {
      const [one, other] = [await open(), await open()];
      await one.createTable("own", [{ name: "n", type: "count" }]).then((writer) => writer.close());
      await one.execute("CREATE TABLE copy AS SELECT n FROM own");
      expect((await reason(other.execute("CREATE TABLE copy AS SELECT n FROM own"))).reason).toBe(
        "OFFLINE_QUERY_FAILED",
      );
    });

    test.each<[string, string[], string]>([
      ["type", [header, full, "2,7x,,,,,,,,"], "SOURCE_ROW_INVALID"],
      ["vector", [header, '2,7,1,1,"[1,2]",,,,,'], "SOURCE_ROW_INVALID"],
      ["short", [header, "1,2"], "SOURCE_ROW_INVALID"],
      ["time", [header, full, ",7,,,,,,,,"], "SOURCE_ROW_INVALID"],
      ["far", [header, "9007199254740992,7,,,,,,,,"], "SOURCE_ROW_INVALID"],
      ["column", ["t,id"], "SOURCE_COLUMN_MISSING"],
      ["twice", ["t,id,id"], "SOURCE_FILE_INVALID"],
      ["empty", [], "SOURCE_FILE_INVALID"],
    ])("refuses a CSV file that is wrong: %s", async (name, lines, expected) => {
      expect((await reason((await open()).load(await csv(`${name}.csv`, ...lines)))).reason).toBe(expected);
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
        { name: "t", type: "count" },
        ...Object.entries(fields).map(([name, type]) => ({ name, type })),
      ];
      const writer = await workspace.createTable("copy", specs);
      const count = 5_000;
      const numbers = Float64Array.from({ length: count }, (_, row) => row);
      const values = decoded.map((value) => Array.from({ length: count }, (_, row) => (row % 3 === 0 ? null : value)));
      writer.write(count, [numbers, ...values]);
      writer.close();
      await workspace.exportParquet("copy", join(root, "shop", "copy.parquet"));
      expect((await readdir(join(root, "shop"))).filter((name) => name.startsWith("copy"))).toEqual(["copy.parquet"]);
      const found = await rows(await open(), source("copy.parquet"));
      for (const [row, [time, , ...cells]] of found.entries()) {
        expect(time).toBe(row);
        if (row % 997 === 0) expect(cells).toEqual(row % 3 === 0 ? absent : decoded);
      }
      expect(found).toHaveLength(count);
    });

    test("stops when it is told to, and leaves nothing behind", async () => {
      const controller = new AbortController();
      const workspace = await open(undefined, controller.signal);
      const writer = await workspace.createTable("n", [{ name: "n", type: "count" }]);
      writer.write(20_000, [Array.from({ length: 20_000 }, (_, row) => row)]);
      writer.close();
      const endless = workspace.execute(
        "CREATE TABLE t AS SELECT COUNT(DISTINCT a.n * b.n + c.n) AS m FROM n a CROSS JOIN n b CROSS JOIN n c",
      );
      controller.abort(new Error("enough"));
      await expect(endless).rejects.toThrow("enough");
      await workspace.close();
      opened = [];
      expect(await readdir(join(root, "tmp")).catch(() => [])).toEqual([]);
    });
  });
}
