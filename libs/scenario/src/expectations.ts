import type { Source, ValueType } from "./definitions.ts";
import { type DurationText, parseDurationMs } from "./duration.ts";

/**
 * What becomes of rows that do not meet an expectation. `warn`: they are counted. `quarantine`: they are set aside and
 * count nowhere: not online, not in materialized views, not in training sets. `reject`: a push with such a row is
 * refused; a materialization that finds one is not published, and readers keep what they have.
 */
export type ExpectationPolicy = "warn" | "quarantine" | "reject";

interface Expected<Name extends string> {
  readonly expect: Name;
  readonly policy: ExpectationPolicy;
}

/** A condition on every row. Rows that lack the field meet all but `not_null`. */
export type RowExpectation =
  /** The field has a value. */
  | (Expected<"not_null"> & { readonly field: string })
  /** The number lies from `min` to `max`, both inclusive. */
  | (Expected<"between"> & {
      readonly field: string;
      readonly min?: number | bigint;
      readonly max?: number | bigint;
    })
  /** The value is one of these. */
  | (Expected<"in_set"> & { readonly field: string; readonly values: readonly (string | number | bigint | boolean)[] });

/** A condition on the rows of a materialization as a whole; policy warn or reject. */
export type BatchExpectation =
  /** At most this share of the rows lacks the field, 0 to 1. */
  | (Expected<"null_rate"> & { readonly field: string; readonly max: number })
  /** No two rows have the same values in these fields. */
  | (Expected<"unique"> & { readonly fields: readonly string[] })
  /** There are from `min` to `max` rows, both inclusive. */
  | (Expected<"row_count"> & { readonly min?: number; readonly max?: number })
  /**
   * The values are distributed as when the release was first materialized: the population stability index stays at or
   * below `maxPsi` (default 0.2), or below what chance alone makes of this many rows. Numbers are compared by deciles,
   * truth values and texts by value, missing values among them. Until something has been published it is met.
   */
  | (Expected<"distribution"> & { readonly field: string; readonly maxPsi?: number })
  /** The newest event is no older than this when the rows are looked at. */
  | (Expected<"freshness"> & { readonly maxAge: DurationText });

/** What is expected of a source's rows. */
export type Expectation = RowExpectation | BatchExpectation;

/** Greatest population stability index where an expectation names none. */
export const maxPsiDefault = 0.2;

/** Whether an expectation is on every row, and so holds for pushes too. */
export function isRowExpectation(expectation: Expectation): expectation is RowExpectation {
  return expectation.expect === "not_null" || expectation.expect === "between" || expectation.expect === "in_set";
}

/** The expectations of a source that set rows aside: they decide what its views hold. */
export function quarantineOf(source: Source): readonly RowExpectation[] {
  return (source.expectations ?? []).filter(isRowExpectation).filter(({ policy }) => policy === "quarantine");
}

/** An expectation in words, such as "amount between 0 and 10000". */
export function expectationText(expectation: Expectation): string {
  switch (expectation.expect) {
    case "not_null":
      return `${expectation.field} not null`;
    case "between":
      return `${expectation.field} ${rangeText(expectation)}`;
    case "in_set":
      return `${expectation.field} in {${expectation.values.join(", ")}}`;
    case "null_rate":
      return `null rate of ${expectation.field} at most ${expectation.max}`;
    case "unique":
      return `${expectation.fields.join(", ")} unique`;
    case "distribution":
      return `${expectation.field} distributed as before, PSI at most ${expectation.maxPsi ?? maxPsiDefault}`;
    case "row_count":
      return `row count ${rangeText(expectation)}`;
    case "freshness":
      return `newest event at most ${expectation.maxAge} old`;
  }
}

function rangeText({ min, max }: { readonly min?: number | bigint; readonly max?: number | bigint }): string {
  if (min === undefined) return `at most ${max}`;
  return max === undefined ? `at least ${min}` : `between ${min} and ${max}`;
}

const expectationsMax = 100;
const setMax = 1_000;
const numbers = new Set<ValueType>(["float32", "float64", "int64"]);

/** What is wrong with a source's expectations, each in words; empty where nothing is. */
export function expectationFaults(source: Source): string[] {
  const expectations = source.expectations ?? [];
  if (expectations.length > expectationsMax) return [`${expectations.length} expectations; at most ${expectationsMax}`];
  return expectations.flatMap((expectation, index) => {
    const where = `expectation ${index + 1}`;
    const isKnownPolicy = ["warn", "quarantine", "reject"].includes(expectation.policy);
    if (!isKnownPolicy) return [`${where}: policy "${expectation.policy}" must be warn, quarantine or reject`];
    const fault = faultOf(source, expectation);
    return fault === undefined ? [] : [`${where}: ${fault}`];
  });
}

function faultOf(source: Source, expectation: Expectation): string | undefined {
  const fields = "field" in expectation ? [expectation.field] : "fields" in expectation ? expectation.fields : [];
  for (const field of fields) if (source.fields[field] === undefined) return `the source has no field "${field}"`;
  const type = source.fields[fields[0] ?? ""];
  if (!isRowExpectation(expectation) && expectation.policy === "quarantine")
    return `${expectation.expect} is about all rows together, so its policy must be warn or reject`;
  switch (expectation.expect) {
    case "not_null":
      return undefined;
    case "between":
      if (type === undefined || !numbers.has(type)) return `between needs a number field`;
      return rangeFault(expectation, type === "int64");
    case "in_set":
      if (expectation.values.length === 0 || expectation.values.length > setMax)
        return `in_set needs 1 to ${setMax} values`;
      return expectation.values.every((value) => isOf(value, type))
        ? undefined
        : `in_set: the values must be of the field's type, ${JSON.stringify(type)}`;
    case "null_rate":
      return expectation.max >= 0 && expectation.max <= 1 ? undefined : "max must be from 0 to 1";
    case "unique":
      return expectation.fields.length > 0 ? undefined : "unique needs fields";
    case "distribution":
      if (type === undefined || !(numbers.has(type) || type === "bool" || type === "string"))
        return "distribution needs a field of numbers, truth values or texts";
      return (expectation.maxPsi ?? maxPsiDefault) > 0 ? undefined : "maxPsi must be above 0";
    case "row_count":
      return rangeFault(expectation, true);
    case "freshness":
      return parseDurationMs(expectation.maxAge) === undefined
        ? `maxAge "${expectation.maxAge}" is not a duration such as "2d"`
        : undefined;
    default:
      return `"${(expectation as { readonly expect: unknown }).expect}" is not an expectation`;
  }
}

function rangeFault(
  { min, max }: { readonly min?: number | bigint; readonly max?: number | bigint },
  isWhole: boolean,
): string | undefined {
  if (min === undefined && max === undefined) return "needs min or max";
  for (const bound of [min, max]) {
    if (typeof bound !== "number") continue;
    if (!Number.isFinite(bound)) return `the bound ${bound} is not a number`;
    if (isWhole && !Number.isSafeInteger(bound)) return `the bound ${bound} must be a whole number`;
  }
  return min !== undefined && max !== undefined && min > max ? `min ${min} is above max ${max}` : undefined;
}

function isOf(value: string | number | bigint | boolean, type: ValueType | undefined): boolean {
  switch (type) {
    case "string":
      return typeof value === "string";
    case "bool":
      return typeof value === "boolean";
    case "int64":
      return typeof value === "bigint" || Number.isSafeInteger(value);
    case "float32":
    case "float64":
      return typeof value === "number" && Number.isFinite(value);
    default:
      return false;
  }
}
