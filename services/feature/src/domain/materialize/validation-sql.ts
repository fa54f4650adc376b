import { type BatchExpectation, quarantineOf, type RowExpectation, type Source, type ValueType } from "@weft/scenario";
import { fieldColumn } from "../offline/offline-store.ts";

/*
 * Expectations as SQL over the table of a loaded source, in the dialect that `point-in-time-sql.ts` keeps to.
 */

/** A literal that compares with a column of a type: whole numbers exactly, others as doubles. */
export function sqlLiteral(value: string | number | bigint | boolean, type: ValueType | undefined): string {
  if (typeof value === "string") return `'${value.replaceAll("'", "''")}'`;
  if (typeof value === "boolean") return value ? "TRUE" : "FALSE";
  if (type === "int64") return `CAST(${BigInt(value)} AS BIGINT)`;
  const text = String(Number(value));
  return text.includes("e") ? text : `${text}e0`;
}

function operand(source: Source, field: string): { readonly column: string; readonly type: ValueType | undefined } {
  const type = source.fields[field];
  const column = fieldColumn(source, field);
  return { column: type === "float32" ? `CAST(${column} AS DOUBLE)` : column, type };
}

/** A condition that is true for the rows that do not meet an expectation; false or unknown for the others. */
export function violationSql(source: Source, expectation: RowExpectation): string {
  const { column, type } = operand(source, expectation.field);
  switch (expectation.expect) {
    case "not_null":
      return `${column} IS NULL`;
    case "between": {
      const { min, max } = expectation;
      const outside = [
        ...(min === undefined ? [] : [`${column} < ${sqlLiteral(min, type)}`]),
        ...(max === undefined ? [] : [`${column} > ${sqlLiteral(max, type)}`]),
      ];
      return `(${outside.join(" OR ")})`;
    }
    case "in_set":
      return `${column} NOT IN (${expectation.values.map((value) => sqlLiteral(value, type)).join(", ")})`;
  }
}

/** True for the rows of a source that are to be set aside; undefined where none can be. */
export function quarantineSql(source: Source): string | undefined {
  const conditions = quarantineOf(source).map((expectation) => violationSql(source, expectation));
  return conditions.length === 0
    ? undefined
    : conditions.map((condition) => `COALESCE(${condition}, FALSE)`).join(" OR ");
}

/** Batch expectations that one number of the rows decides. */
export type MeasuredExpectation = Exclude<BatchExpectation, { readonly expect: "distribution" }>;

/** One number a batch expectation is decided by: nulls, repeated rows, rows, or the newest event time. */
export function measureSql(source: Source, expectation: MeasuredExpectation): string {
  switch (expectation.expect) {
    case "null_rate":
      return `COUNT(*) - COUNT(${fieldColumn(source, expectation.field)})`;
    case "unique": {
      // A text a row: parts are told apart by their lengths, and nulls from texts.
      const parts = expectation.fields.map((field) => {
        const text = `CAST(${fieldColumn(source, field)} AS VARCHAR(65536))`;
        return `COALESCE(CONCAT(CAST(LENGTH(${text}) AS VARCHAR(20)), ':', ${text}), '-')`;
      });
      return `COUNT(*) - COUNT(DISTINCT ${parts.length === 1 ? parts[0] : `CONCAT(${parts.join(", ")})`})`;
    }
    case "row_count":
      return "COUNT(*)";
    case "freshness":
      return "MAX(event_us)";
  }
}
