import type { FieldReferences } from "./distribution-check.ts";
import type { ValidationReport } from "./validation.ts";

/**
 * How much of its source's file a generation of a view holds. A file whose rows up to the watermark are others now than
 * they were then, such as rows that came late with an old created time, does not fit its watermark any more.
 */
export interface Watermark {
  /** Rows created up to this time in microseconds, inclusive, are in the generation. */
  readonly createdUs: number;
  /** Rows of the file up to there, and their fingerprint. */
  readonly rowCount: number;
  readonly fingerprint: string;
}

/** `full` reads everything; `incremental` what became known since the last time, where that is known to be enough. */
export type MaterializeMode = "full" | "incremental";

/** How a view's generation came to be; `unchanged`: there was nothing new, and readers keep the one they have. */
export type ViewOutcome = MaterializeMode | "unchanged";

/** What readers see of a view after a materialization. */
export interface MaterializedView {
  readonly view: string;
  readonly outcome: ViewOutcome;
  readonly generation: number;
  /** Rows of the source that were read for it. */
  readonly rows: number;
}

/** What is to be materialized. */
export interface MaterializationSpec {
  readonly scenario: string;
  readonly release: string;
  /** Names of the views. */
  readonly views: readonly string[];
  readonly mode: MaterializeMode;
  /** Rows known up to this time in microseconds, inclusive; absent: all. */
  readonly endUs?: number | undefined;
}

/** `interrupted`: the process ended while it ran; it is begun anew. */
export type MaterializationState = "running" | "succeeded" | "failed" | "cancelled" | "interrupted";

/** A materialization, as far as it is or as it ended. */
export interface Materialization extends MaterializationSpec {
  /** From 1, rising. */
  readonly id: number;
  readonly state: MaterializationState;
  /** Times that it was begun. */
  readonly attempt: number;
  readonly startUs: number;
  readonly endedUs: number | undefined;
  readonly rowsRead: number;
  readonly rowsTotal: number;
  readonly entitiesWritten: number;
  readonly done: readonly MaterializedView[];
  /** Why it failed, for a person; "" where it did not. */
  readonly fault: string;
}

/** What is kept of a materialization while it runs and when it ends. */
export type MaterializationChange = Partial<
  Pick<
    Materialization,
    "state" | "endedUs" | "rowsRead" | "rowsTotal" | "entitiesWritten" | "done" | "fault" | "attempt" | "startUs"
  >
>;

/** Remembers materializations and the watermarks of generations, durably. */
export interface MaterializationCatalog {
  /** Begins a materialization; answers its id. */
  begin(spec: MaterializationSpec, startUs: number): Materialization;
  change(id: number, change: MaterializationChange): void;
  /** Those of a scenario, the newest first; all scenarios where it is "". */
  list(scenario: string, limit: number): readonly Materialization[];
  /** Marks what ran when the process ended as interrupted; answers all that are. */
  interrupted(): readonly Materialization[];
  /** Keeps what a materialization's rows were found to be; of each scenario the latest hundred are kept. */
  setReport(id: number, scenario: string, report: ValidationReport): void;
  /** The report of a materialization of a scenario, or the latest. */
  report(scenario: string, id?: number): { readonly id: number; readonly report: ValidationReport } | undefined;
  /** What fields are compared with under a release; those of a scenario's latest releases are kept. */
  references(scenario: string, release: string): FieldReferences;
  watermark(viewId: string, generation: number): Watermark | undefined;
  /** Kept before the generation is published: until it is, nobody asks for it. */
  setWatermark(viewId: string, generation: number, watermark: Watermark | undefined): void;
  close(): void;
}
