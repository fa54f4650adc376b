import type { Source } from "@weft/scenario";
import { compareWithReference, type ReferenceDistribution } from "@weft/statistics";
import { fieldColumn, type OfflineWorkspace } from "../offline/offline-store.ts";
import { sqlLiteral } from "./validation-sql.ts";

/** How a field was distributed in the rows that later ones are compared with. */
export interface FieldReference {
  readonly rows: number;
  readonly distribution: ReferenceDistribution;
  /** Of a text: the values that have a bin each, the others share the last; of a number or truth value none. */
  readonly values?: readonly string[];
}

/** Where references are kept, by source and field. */
export interface FieldReferences {
  get(source: string, field: string): FieldReference | undefined;
  set(source: string, field: string, reference: FieldReference): void;
}

/** How rows compare with a reference. */
export interface DistributionComparison {
  /** Population stability index, 0 and up. */
  readonly psi: number;
  /** PSI that rows of the same distribution stay below with probability 0.99, at these counts. */
  readonly noise: number;
}

const bins = 10;
const valuesMax = 20;

/** The distribution of a field in a table; undefined where it has no rows. Numbers by deciles, texts by their most frequent values. */
export async function measureField(
  workspace: OfflineWorkspace,
  source: Source,
  field: string,
  table: string,
): Promise<FieldReference | undefined> {
  const column = fieldColumn(source, field);
  const isText = source.fields[field] === "string";
  const values = isText ? await frequentValues(workspace, column, table) : undefined;
  const edges = values === undefined ? await deciles(workspace, column, table) : [];
  const counts = await countBins(workspace, { column, edges, values, from: table });
  const rows = counts.reduce((sum, count) => sum + count, 0);
  if (rows === 0) return undefined;
  const missing = counts.at(-1) ?? 0;
  const shares = counts.slice(0, -1).map((count) => (rows === missing ? 0 : count / (rows - missing)));
  const distribution = { edges, shares, missingRatio: missing / rows };
  return { rows, distribution, ...(values === undefined ? {} : { values }) };
}

/** Compares a field's values in rows (a table, or a part of one) with a reference; undefined where there are no rows. */
export async function compareField(
  workspace: OfflineWorkspace,
  source: Source,
  field: string,
  from: string,
  { rows, distribution, values }: FieldReference,
): Promise<DistributionComparison | undefined> {
  const column = fieldColumn(source, field);
  const counts = await countBins(workspace, { column, edges: distribution.edges, values, from });
  if (counts.every((count) => count === 0)) return undefined;
  const { psi, threshold } = compareWithReference(distribution, rows, counts);
  return { psi, noise: threshold };
}

/** Upper edges of equally full bins, each value once, without the last. */
async function deciles(workspace: OfflineWorkspace, column: string, table: string): Promise<number[]> {
  const sql = `SELECT MAX(v) AS edge
FROM (SELECT v, NTILE(${bins}) OVER (ORDER BY v) AS tile
  FROM (SELECT CAST(${column} AS DOUBLE) AS v FROM ${table} WHERE ${column} IS NOT NULL) present) tiled
GROUP BY tile
ORDER BY edge`;
  const edges = new Set<number>();
  for await (const { columns } of workspace.query(sql, [{ name: "edge", type: "float64" }]))
    for (const edge of columns[0] ?? []) edges.add(Number(edge));
  return [...edges].slice(0, -1);
}

async function frequentValues(workspace: OfflineWorkspace, column: string, table: string): Promise<string[]> {
  const sql = `SELECT ${column} AS value FROM ${table} WHERE ${column} IS NOT NULL
GROUP BY ${column} ORDER BY COUNT(*) DESC, ${column} LIMIT ${valuesMax}`;
  const values: string[] = [];
  for await (const { columns } of workspace.query(sql, [{ name: "value", type: "string" }]))
    for (const value of columns[0] ?? []) values.push(String(value));
  return values;
}

/** Rows by bin and, last, those without a value. */
async function countBins(
  workspace: OfflineWorkspace,
  binned: {
    readonly column: string;
    readonly edges: readonly number[];
    readonly values: readonly string[] | undefined;
    readonly from: string;
  },
): Promise<number[]> {
  const { column, edges, values, from } = binned;
  const value = `CAST(${column} AS DOUBLE)`;
  const conditions =
    values === undefined
      ? [
          ...edges.map((edge, index) => {
            const above = index === 0 ? "" : ` AND ${value} > ${sqlLiteral(edges[index - 1] ?? 0, "float64")}`;
            return `${value} <= ${sqlLiteral(edge, "float64")}${above}`;
          }),
          edges.length === 0 ? `${column} IS NOT NULL` : `${value} > ${sqlLiteral(edges.at(-1) ?? 0, "float64")}`,
        ]
      : [
          ...values.map((one) => `${column} = ${sqlLiteral(one, "string")}`),
          values.length === 0
            ? `${column} IS NOT NULL`
            : `${column} NOT IN (${values.map((one) => sqlLiteral(one, "string")).join(", ")})`,
        ];
  const all = [...conditions, `${column} IS NULL`];
  const names = all.map((_, index) => `b${index}`);
  const listed = all.map((condition, index) => `COUNT(CASE WHEN ${condition} THEN 1 END) AS ${names[index]}`);
  const specs = names.map((name) => ({ name, type: "int64" as const }));
  for await (const { columns } of workspace.query(`SELECT ${listed.join(", ")} FROM ${from}`, specs))
    return columns.map(([count = 0n]) => Number(count));
  return [];
}
