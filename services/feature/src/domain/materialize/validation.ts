import {
  durationMs,
  type Expectation,
  type ExpectationPolicy,
  expectationText,
  isRowExpectation,
  maxPsiDefault,
  type Source,
} from "@weft/scenario";
import type { OfflineWorkspace } from "../offline/offline-store.ts";
import { compareField, type FieldReference, type FieldReferences, measureField } from "./distribution-check.ts";
import { type MeasuredExpectation, measureSql, violationSql } from "./validation-sql.ts";

/** What one expectation found. */
export interface ExpectationResult {
  readonly source: string;
  /** In words. */
  readonly expectation: string;
  readonly policy: ExpectationPolicy;
  readonly isMet: boolean;
  /** Rows looked at. */
  readonly rows: number;
  /** Rows that do not meet it; 0 for expectations on a batch as a whole. */
  readonly violations: number;
  /** What was found, in words; holds no value of a row. */
  readonly observed: string;
}

/** What the expectations of sources found in the rows of a materialization. */
export interface ValidationReport {
  readonly timeUs: number;
  readonly results: readonly ExpectationResult[];
}

/** How rows are judged. */
export interface ValidateOptions {
  /** Freshness is judged at this time, in microseconds since 1970. */
  readonly nowUs: number;
  /** Only rows created after this time; all where it is absent. */
  readonly afterUs?: number | undefined;
  /** Nothing is new: only time passes, and only freshness is looked at. */
  readonly isUnchanged: boolean;
  readonly references: Pick<FieldReferences, "get">;
  /** Told of distributions that had no reference: they become it once the rows are published. */
  learned(source: string, field: string, reference: FieldReference): void;
}

function isMeasured(expectation: Expectation): expectation is MeasuredExpectation {
  return !isRowExpectation(expectation) && expectation.expect !== "distribution";
}

/**
 * Checks the rows of a source that are about to be materialized: all of them, or those created after a time. Rows that
 * the loading set aside are counted with the expectation that they do not meet. That each column has its declared type
 * is checked by the loading itself, which fails where one has not.
 */
export async function validateSource(
  workspace: OfflineWorkspace,
  source: Source,
  { nowUs, afterUs, isUnchanged, references, learned }: ValidateOptions,
): Promise<ExpectationResult[]> {
  const expectations = (source.expectations ?? []).filter(({ expect }) => !isUnchanged || expect === "freshness");
  if (expectations.length === 0) return [];
  const { table, aside } = await workspace.load(source);
  const isNew = afterUs === undefined ? "" : ` WHERE created_us > ${afterUs}`;
  const measure = (from: string, measures: readonly string[]) => {
    const names = ["row_count", ...measures.map((_, index) => `m${index}`)];
    const listed = ["COUNT(*)", ...measures].map((sql, index) => `CAST(${sql} AS BIGINT) AS ${names[index]}`);
    return oneRow(workspace, `SELECT ${listed.join(", ")} FROM ${from}${isNew}`, names);
  };
  const rowChecks = expectations.filter(isRowExpectation);
  const violating = rowChecks.map((check) => `COUNT(CASE WHEN ${violationSql(source, check)} THEN 1 END)`);
  const batchChecks = expectations.filter(isMeasured);
  const batchMeasures = batchChecks.map((check) => measureSql(source, check));
  const [kept = null, ...found] = await measure(table, [...violating, ...batchMeasures]);
  const [left = null, ...foundAside] = aside === undefined ? [] : await measure(aside, violating);
  const rows = Number(kept ?? 0n);
  const allRows = rows + Number(left ?? 0n);
  const typed: ExpectationResult = {
    source: source.name,
    expectation: "columns have their declared types",
    policy: "reject",
    isMet: true,
    rows: allRows,
    violations: 0,
    observed: `${Object.keys(source.fields).length} columns`,
  };
  const resultOf = async (expectation: Expectation): Promise<ExpectationResult> => {
    const common = { source: source.name, expectation: expectationText(expectation), policy: expectation.policy };
    if (expectation.expect === "distribution") {
      const { field, maxPsi = maxPsiDefault } = expectation;
      const reference = references.get(source.name, field);
      if (reference === undefined) {
        const measured = afterUs === undefined ? await measureField(workspace, source, field, table) : undefined;
        if (measured !== undefined) learned(source.name, field, measured);
        return { ...common, rows, violations: 0, isMet: true, observed: "nothing to compare with yet" };
      }
      const found = await compareField(workspace, source, field, `${table}${isNew}`, reference);
      const isMet = found === undefined || found.psi <= Math.max(maxPsi, found.noise);
      const observed = found === undefined ? "no rows" : `PSI ${found.psi.toFixed(3)} against ${reference.rows} rows`;
      return { ...common, rows, violations: 0, isMet, observed };
    }
    if (!isRowExpectation(expectation)) {
      const value = found[rowChecks.length + batchChecks.indexOf(expectation)] ?? null;
      return { ...common, rows, violations: 0, ...judge(expectation, rows, value, nowUs) };
    }
    const at = rowChecks.indexOf(expectation);
    const violations = Number(found[at] ?? 0n) + Number(foundAside[at] ?? 0n);
    const percent = allRows === 0 ? 0 : (100 * violations) / allRows;
    const observed = `${violations} of ${allRows} rows do not (${percent.toFixed(2)} %)`;
    return { ...common, rows: allRows, violations, isMet: violations === 0, observed };
  };
  const results = [typed];
  for (const expectation of expectations) results.push(await resultOf(expectation));
  return results;
}

function judge(
  expectation: MeasuredExpectation,
  rows: number,
  measure: bigint | null,
  nowUs: number,
): { readonly isMet: boolean; readonly observed: string } {
  const number = Number(measure ?? 0n);
  switch (expectation.expect) {
    case "null_rate": {
      const rate = rows === 0 ? 0 : number / rows;
      return { isMet: rate <= expectation.max, observed: `null rate ${rate.toFixed(4)}` };
    }
    case "unique":
      return { isMet: number === 0, observed: `${number} rows repeat another` };
    case "row_count":
      return {
        isMet: number >= (expectation.min ?? 0) && number <= (expectation.max ?? Number.POSITIVE_INFINITY),
        observed: `${number} rows`,
      };
    case "freshness": {
      if (measure === null) return { isMet: false, observed: "no event" };
      const ageMs = (nowUs - number) / 1_000;
      return { isMet: ageMs <= durationMs(expectation.maxAge), observed: `newest event ${ageText(ageMs)} old` };
    }
  }
}

function ageText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} d`;
}

async function oneRow(
  workspace: OfflineWorkspace,
  sql: string,
  names: readonly string[],
): Promise<readonly (bigint | null)[]> {
  const specs = names.map((name) => ({ name, type: "int64" as const }));
  for await (const { columns } of workspace.query(sql, specs))
    return columns.map(([value = null]) => (typeof value === "bigint" ? value : null));
  return [];
}
