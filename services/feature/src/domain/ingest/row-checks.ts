import { expectationText, isRowExpectation, type RowExpectation, type Source, type Value } from "@weft/scenario";
import { type SourceRow, sourceFields } from "../views/view-state.ts";

/** A row that does not meet an expectation. */
export interface RowViolation {
  /** From 0. */
  readonly row: number;
  readonly field: string;
  readonly expectation: RowExpectation;
}

/** What the expectations of a source make of rows. */
export interface CheckedRows {
  /** The rows that are not to be set aside, in their order. */
  readonly kept: readonly SourceRow[];
  /** One entry a row to set aside: the first expectation that it does not meet. */
  readonly quarantined: readonly RowViolation[];
  readonly rejected: readonly RowViolation[];
  readonly warned: readonly RowViolation[];
}

interface Check {
  readonly expectation: RowExpectation;
  /** Place of the field among a row's values. */
  readonly place: number;
  isMet(value: Value): boolean;
}

/** The row expectations of a source, ready to be applied to rows; the same as `violationSql` says. */
export class RowChecks {
  readonly #checks: readonly Check[];

  constructor(source: Source) {
    const fields = sourceFields(source);
    this.#checks = (source.expectations ?? []).filter(isRowExpectation).map((expectation) => ({
      expectation,
      place: fields.findIndex(({ name }) => name === expectation.field),
      isMet: conditionOf(expectation),
    }));
  }

  /** Whether there is nothing to check. */
  get isEmpty(): boolean {
    return this.#checks.length === 0;
  }

  /** Checks rows whose values follow `sourceFields(source)`. */
  check(rows: readonly SourceRow[]): CheckedRows {
    const kept: SourceRow[] = [];
    const found = { warn: [] as RowViolation[], quarantine: [] as RowViolation[], reject: [] as RowViolation[] };
    rows.forEach((row, index) => {
      let isKept = true;
      for (const { expectation, place, isMet } of this.#checks) {
        if (isMet(row.values[place] ?? null)) continue;
        if (expectation.policy === "quarantine" && !isKept) continue;
        if (expectation.policy === "quarantine") isKept = false;
        found[expectation.policy].push({ row: index, field: expectation.field, expectation });
      }
      if (isKept) kept.push(row);
    });
    return { kept, quarantined: found.quarantine, rejected: found.reject, warned: found.warn };
  }
}

/** What is wrong, for a person; holds no value of the row. */
export function violationText({ row, expectation }: RowViolation): string {
  return `row ${row}: expected ${expectationText(expectation)}`;
}

function conditionOf(expectation: RowExpectation): (value: Value) => boolean {
  const isAbsent = (value: Value) => value === null || (typeof value === "number" && !Number.isFinite(value));
  switch (expectation.expect) {
    case "not_null":
      return (value) => !isAbsent(value);
    case "between": {
      const { min, max } = expectation;
      return (value) =>
        isAbsent(value) ||
        ((typeof value === "number" || typeof value === "bigint") &&
          (min === undefined || value >= min) &&
          (max === undefined || value <= max));
    }
    case "in_set": {
      const isWhole = expectation.values.some((value) => typeof value === "bigint");
      const values = new Set<Value>(expectation.values);
      // An int64 is a bigint in rows, and may have been declared as a number.
      for (const value of expectation.values) if (Number.isSafeInteger(value)) values.add(BigInt(Number(value)));
      return (value) => isAbsent(value) || values.has(isWhole && typeof value === "number" ? BigInt(value) : value);
    }
  }
}
