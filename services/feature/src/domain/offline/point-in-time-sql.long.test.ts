import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { pythonEnvironment, runCommand } from "@weft/local-servers";
import { defineSource, type Value } from "@weft/scenario";
import { seededRandom } from "@weft/testkit";
import { createDuckDbStore } from "../../adapters/duckdb.ts";
import { type ColumnSpec, fieldColumn, fieldType, type OfflineWorkspace } from "./offline-store.ts";
import { asOfSql, eventsSql, keysSql, newestSql, orderedSql, readsSql, spineSql } from "./point-in-time-sql.ts";

const seed = 20_296;
const cards = 1_500;
const program = join(__dirname, "..", "..", "..", "src", "testing", "spark_sql.py");

/** Fields of every type that decide between rows of equal times. */
const fields = {
  card: "int64",
  shop: "string",
  amount: "float64",
  score: "float32",
  item: "int64",
  good: "bool",
  note: "string",
  photo: "bytes",
  place: { vector: 2 },
  seen: { keys: "int64" },
} as const;
const facts = defineSource({ name: "facts", file: "facts.parquet", eventTime: "t", createdTime: "known", fields });
const labels = defineSource({
  name: "labels",
  file: "labels.parquet",
  eventTime: "t",
  fields: { card: "int64", shop: "string", label: "int64", due: "int64" },
});
const read = ["amount", "score", "item", "good", "note", "photo", "place", "seen"] as const;

type Row = readonly Value[];

/** Few different times, so that ties, edges, late rows, duplicates and empty histories come up all the time. */
function history(random: () => number): { readonly facts: Row[]; readonly labels: Row[] } {
  const upTo = (count: number) => Math.floor(random() * count);
  const maybe = <T>(value: T): T | null => (random() < 0.2 ? null : value);
  const all: Row[] = [];
  const asked: Row[] = [];
  for (let index = 0; index < cards; index++) {
    const card = random() < 0.02 ? null : 9_007_199_254_740_993n + BigInt(index);
    for (let count = upTo(9); count > 0; count--) {
      const eventUs = upTo(12) - 3;
      const fact: Row = [
        eventUs,
        random() < 0.4 ? eventUs + upTo(6) - 1 : eventUs,
        card,
        random() < 0.05 ? "" : `s${upTo(2)}`,
        maybe(upTo(3) / 4),
        maybe(Math.fround(upTo(3) / 3)),
        maybe(BigInt(upTo(3)) - 1n),
        maybe(upTo(2) === 0),
        maybe(["é", "z", "Ω", ""][upTo(4)] ?? ""),
        maybe(Uint8Array.of(upTo(2) * 255, upTo(2))),
        maybe(Float32Array.of(upTo(2), -upTo(2))),
        maybe(Array.from({ length: upTo(3) }, () => BigInt(upTo(2)))),
      ];
      all.push(fact);
      if (random() < 0.1) all.push(fact);
    }
    for (let count = 1 + upTo(4); count > 0; count--) {
      const eventUs = upTo(16) - 4;
      const label = random() < 0.1 ? null : BigInt(upTo(2));
      asked.push([
        eventUs,
        eventUs,
        card,
        random() < 0.05 ? "" : `s${upTo(2)}`,
        label,
        maybe(BigInt(eventUs + upTo(5))),
      ]);
    }
  }
  return { facts: all, labels: asked };
}

const times: readonly ColumnSpec[] = [
  { name: "event_us", type: "count" },
  { name: "created_us", type: "count" },
];
const columnsOf = (source: typeof facts): ColumnSpec[] => [
  ...times,
  ...Object.keys(source.fields).map((name) => ({ name: fieldColumn(source, name), type: fieldType(source, name) })),
];
const readColumns = read.map((name) => fieldColumn(facts, name));
const readSpecs = read.map(
  (name): ColumnSpec => ({ name: fieldColumn(facts, name), type: facts.fields[name] ?? "string" }),
);
const counts = (...names: string[]): ColumnSpec[] => names.map((name) => ({ name, type: "count" }));

/** A query as both engines run it. */
interface Query {
  readonly name: string;
  readonly sql: string;
  readonly columns: readonly ColumnSpec[];
  /** False where the statement promises no order: the answers are compared as sets of rows. */
  readonly ordered: boolean;
}

const keyings: readonly (readonly [string, readonly string[]])[] = [
  ["keys_card", ["f_card"]],
  ["keys_both", ["f_card", "f_shop"]],
  ["keys_none", []],
];
const views = [
  {
    view: "spine",
    sql: spineSql({
      from: "labels",
      source: labels,
      label: "label",
      labelTime: "due",
      fields: ["card", "shop"],
      startUs: -3,
      endUs: 11,
    }),
  },
  ...keyings.map(([view, columns]) => ({ view, sql: keysSql("spine", columns) })),
];
const queries: readonly Query[] = [
  {
    name: "spine",
    sql: "SELECT row_id, event_us, label, f_card, f_shop FROM spine ORDER BY row_id",
    columns: [
      ...counts("row_id", "event_us"),
      { name: "label", type: "float64" },
      { name: "f_card", type: "int64" },
      { name: "f_shop", type: "string" },
    ],
    ordered: true,
  },
  ...keyings.flatMap(([keys, keyColumns]): Query[] => {
    const rows = { from: "facts", keys, keyColumns, columns: readColumns };
    return [
      {
        name: keys,
        sql: `SELECT row_id, read_id, event_us, key_id FROM ${keys} ORDER BY row_id`,
        columns: counts("row_id", "read_id", "event_us", "key_id"),
        ordered: true,
      },
      {
        name: `as of, ${keys}`,
        sql: asOfSql(rows),
        columns: [...counts("row_id", "event_us", "created_us"), ...readSpecs],
        ordered: false,
      },
      {
        name: `events, ${keys}`,
        sql: eventsSql(rows),
        columns: [...counts("key_id", "event_us", "created_us", "known_us"), ...readSpecs],
        ordered: true,
      },
      {
        name: `rows of a field view, ${keys}`,
        sql: eventsSql(rows, "fields"),
        columns: [...counts("key_id", "event_us", "created_us", "known_us"), ...readSpecs],
        ordered: true,
      },
      { name: `reads, ${keys}`, sql: readsSql(keys), columns: counts("key_id", "event_us", "row_id"), ordered: true },
      ...[undefined, 4].flatMap((endUs): Query[] => {
        const query = { from: "facts", keyColumns, columns: [...keyColumns, ...readColumns], endUs };
        const columns = [...times, ...columnsOf(facts).filter(({ name }) => query.columns.includes(name))];
        const until = endUs === undefined ? "" : `, known by ${endUs}`;
        return [
          { name: `newest, ${keys}${until}`, sql: newestSql(query), columns, ordered: true },
          { name: `in order, ${keys}${until}`, sql: orderedSql(query), columns, ordered: true },
        ];
      }),
    ];
  }),
];

/** A value as the program on Spark writes it. */
function plain(value: Value): unknown {
  if (typeof value === "bigint") return String(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (value instanceof Float32Array) return [...value];
  if (Array.isArray(value)) return value.map(plain);
  return value;
}

describe(`point-in-time SQL on Spark and on DuckDB (seed ${seed})`, () => {
  let root: string;
  let workspace: OfflineWorkspace;
  const output = (index: number) => join(root, `answer-${index}.jsonl`);

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "weft-spark-"));
    const store = createDuckDbStore({
      directory: root,
      temporaryDirectory: join(root, "tmp"),
      memoryBytesMax: 512 << 20,
      threads: 2,
    });
    workspace = await store.open({ scenario: "test" });
    const rows = history(seededRandom(seed));
    for (const [source, own] of [
      [facts, rows.facts],
      [labels, rows.labels],
    ] as const) {
      const columns = columnsOf(source);
      const writer = await workspace.createTable(source.name, columns);
      writer.write(
        own.length,
        columns.map((_, index) => own.map((row) => row[index] ?? null)),
      );
      writer.close();
      await workspace.exportParquet(source.name, join(root, source.file));
    }
    const manifest = {
      temporary: join(root, "spark"),
      tables: { facts: join(root, facts.file), labels: join(root, labels.file) },
      statements: [...views, ...queries.map(({ sql }, index) => ({ sql, output: output(index) }))],
    };
    await writeFile(join(root, "manifest.json"), JSON.stringify(manifest));
    const python = await pythonEnvironment("pyspark-3.5.7", ["pyspark==3.5.7"]);
    await runCommand(python, [program, join(root, "manifest.json")], { cwd: root });
    for (const { view, sql } of views) await workspace.execute(`CREATE TABLE ${view} AS ${sql}`);
  }, 600_000);
  afterAll(async () => {
    await workspace?.close();
    await rm(root, { recursive: true, force: true });
  });

  test.each(queries.map((query, index) => ({ ...query, index })))(
    "$name: the same rows",
    async ({ sql, columns, ordered, index }) => {
      const text = await readFile(output(index), "utf8");
      const onSpark = text
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.stringify(JSON.parse(line)));
      const here: string[] = [];
      for await (const { count, columns: found } of workspace.query(sql, columns))
        for (let row = 0; row < count; row++) {
          const cells = found.map((column, place) => {
            const value = column[row] ?? null;
            return plain(columns[place]?.type === "count" && value !== null ? BigInt(value as number) : value);
          });
          here.push(JSON.stringify(cells));
        }
      if (!ordered) {
        here.sort();
        onSpark.sort();
      }
      expect(here.length).toBeGreaterThan(0);
      expect(onSpark.length).toBe(here.length);
      const differing = here.findIndex((line, row) => line !== onSpark[row]);
      expect(differing === -1 ? [] : [here[differing], onSpark[differing]]).toEqual([]);
    },
  );
});
