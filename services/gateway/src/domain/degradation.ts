import { Code, codeName, isWeftError } from "@weft/errors";
import { type FeatureRead, FeatureStatus } from "./peers.ts";

/** Why a value degrades an answer, by its status; FEATURE_STALE for those that are not named. */
const reasons: Readonly<Record<number, string>> = {
  [FeatureStatus.Defaulted]: "FEATURE_DEFAULTED",
  [FeatureStatus.Unavailable]: "FEATURE_UNAVAILABLE",
};

/** Why an answer has less quality than it could have. */
export interface Degradation {
  readonly stage: string;
  /** Stable, UPPER_SNAKE_CASE. */
  readonly reason: string;
  /** What answered instead; empty where nothing did. */
  readonly fallback: string;
  /** The feature view or candidate source it concerns; empty for the whole stage. */
  readonly subject: string;
  /** True where a peer failed; false where the data was not what it should be. */
  readonly failed: boolean;
}

/** An answer without degradations shares this. */
export const undegraded: readonly Degradation[] = Object.freeze([]);

/** A stage that cannot give what it should, found by the gateway itself. */
export class StageFailure extends Error {
  override readonly name = "StageFailure";
  /** Stable, UPPER_SNAKE_CASE. */
  readonly reason: string;
  /** True where a peer failed; false where the request has nothing to work on. */
  readonly failed: boolean;
  constructor(reason: string, message: string, failed = true) {
    super(message);
    this.reason = reason;
    this.failed = failed;
  }
}

/** The time left for a stage is not worth a start. */
export function budgetExhausted(stage: string): StageFailure {
  return new StageFailure("DEADLINE_EXCEEDED", `no time is left for the ${stage} stage`);
}

/**
 * Stable reason of a failed stage: the gRPC code's name for what any service may meet (late, gone, shedding), the
 * service's own reason otherwise.
 */
export function reasonOf(error: unknown): string {
  if (error instanceof StageFailure) return error.reason;
  if (!isWeftError(error)) return "INTERNAL";
  switch (error.code) {
    case Code.DeadlineExceeded:
    case Code.ResourceExhausted:
      return codeName(error.code);
    case Code.Unavailable:
      return error.reason === "RELEASE_NOT_LOADED" ? error.reason : codeName(error.code);
    default:
      return error.reason === "" ? codeName(error.code) : error.reason;
  }
}

/** What a failed stage adds to the answer. */
export function failedStage(stage: string, error: unknown, fallback: string, subject = ""): Degradation {
  const failed = error instanceof StageFailure ? error.failed : true;
  return { stage, reason: reasonOf(error), fallback, subject, failed };
}

/** Finds the views whose values were stale or defaulted, from the statuses of a read. Compiled once a release. */
export class FreshnessCheck {
  readonly #stage: string;
  readonly #views: readonly string[];
  /** View of each column, by position in `#views`. */
  readonly #viewOfColumn: Uint16Array;

  constructor(stage: string, read: Pick<FeatureRead, "references">) {
    this.#stage = stage;
    const names = read.references.map((reference) => reference.slice(0, reference.indexOf(":")));
    this.#views = [...new Set(names)];
    this.#viewOfColumn = Uint16Array.from(names, (name) => this.#views.indexOf(name));
  }

  /** Degradations of rows given by position; `statuses` is uint8[rows, references]. Allocates only when something is wrong. */
  check(
    statuses: Uint8Array,
    firstRow: number,
    rows: number,
    found: Degradation[] | undefined,
  ): Degradation[] | undefined {
    const columns = this.#viewOfColumn.length;
    const start = firstRow * columns;
    let all = found;
    for (let position = start; position < start + rows * columns; position++) {
      if ((statuses[position] ?? 0) >= FeatureStatus.OutsideMaxAge)
        all = this.#add(all, position % columns, statuses[position] ?? 0);
    }
    return all;
  }

  #add(found: Degradation[] | undefined, column: number, status: number): Degradation[] {
    const all = found ?? [];
    const subject = this.#views[this.#viewOfColumn[column] ?? 0] ?? "";
    const reason = reasons[status] ?? "FEATURE_STALE";
    if (!all.some((other) => other.subject === subject && other.reason === reason))
      all.push({ stage: this.#stage, reason, fallback: "", subject, failed: false });
    return all;
  }
}
