import { expectationText, type Source } from "@weft/scenario";
import type { Counter } from "@weft/telemetry";
import type { PushedEvents } from "./domain/ingest/event-log.ts";
import type { RefusedEvent } from "./domain/ingest/quarantine.ts";
import { RowChecks, violationText } from "./domain/ingest/row-checks.ts";
import { errors } from "./errors.ts";

export interface PushExpectationsOptions {
  /** Sets events aside, durably. */
  refuse(events: readonly RefusedEvent[]): Promise<void>;
  /** Counts rows that do not meet an expectation; see `createExpectationMetrics`. */
  readonly violations: Counter;
}

/** Rows of a push that are to be kept. */
export interface ExpectedEvents {
  readonly events: PushedEvents;
  /** Rows that were set aside instead. */
  readonly quarantinedCount: number;
}

/** Violations that an error names one by one. */
const violationsShown = 100;

/** Holds pushed rows against the expectations of their source. */
export class PushExpectations {
  readonly #options: PushExpectationsOptions;
  readonly #checks = new WeakMap<Source, RowChecks>();

  constructor(options: PushExpectationsOptions) {
    this.#options = options;
  }

  /**
   * Sets those rows aside that are to be, durably, and answers the others. Throws ROWS_UNEXPECTED, with the fields and
   * rows, where one is to be refused; nothing is set aside then. Again with the same push it sets nothing aside twice.
   */
  async apply(events: PushedEvents, source: Source): Promise<ExpectedEvents> {
    const checks = this.#checksOf(source);
    if (checks.isEmpty) return { events, quarantinedCount: 0 };
    const { violations } = this.#options;
    const { kept, quarantined, rejected, warned } = checks.check(events.rows);
    const found = { warn: warned.length, quarantine: quarantined.length, reject: rejected.length };
    for (const [policy, rows] of Object.entries(found))
      if (rows > 0) violations.add(rows, { scenario: events.scenario, source: source.name, policy, at: "push" });
    const [first] = rejected;
    if (first !== undefined) {
      const facts = { source: source.name, violations: rejected.length, first: violationText(first) };
      throw errors.ROWS_UNEXPECTED(facts, {
        violations: rejected.slice(0, violationsShown).map((violation) => ({
          field: `columns.${violation.field}[${violation.row}]`,
          description: violationText(violation),
        })),
      });
    }
    if (quarantined.length === 0) return { events, quarantinedCount: 0 };
    const aside = quarantined.flatMap(({ row: at, expectation }): RefusedEvent[] => {
      const row = events.rows[at];
      if (row === undefined) return [];
      return [
        {
          scenario: events.scenario,
          source: source.name,
          reason: "EXPECTATION_NOT_MET",
          detail: `expected ${expectationText(expectation)}`,
          origin: `push/${events.requestId}/${at}`,
          content: { kind: "row", fields: events.fields, row },
        },
      ];
    });
    await this.#options.refuse(aside);
    return { events: { ...events, rows: kept }, quarantinedCount: quarantined.length };
  }

  #checksOf(source: Source): RowChecks {
    let checks = this.#checks.get(source);
    if (checks === undefined) {
      checks = new RowChecks(source);
      this.#checks.set(source, checks);
    }
    return checks;
  }
}
