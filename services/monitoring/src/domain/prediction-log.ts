import type { LabelRecord, PackedPredictions, StoredPrediction } from "./prediction.ts";
import type { ReleaseParts } from "./release-parts.ts";

/**
 * A durable log of predictions, the labels that belong to them, and the releases they name.
 * Calls take effect one after the other, in the order they are made.
 */
export interface PredictionLog {
  /**
   * Appends rows, all or none; durable once answered. A row whose (request id, item) is in the log changes nothing.
   * Joins labels that came before their prediction.
   */
  append(batch: PackedPredictions, loggedMs: number): Promise<Appended>;
  /**
   * Appends labels, all or none; durable once answered. Of several labels of a prediction the latest label time wins,
   * then the greater value, so that neither order nor repetition matters.
   */
  appendLabels(scenario: string, labels: readonly LabelRecord[], receivedMs: number): Promise<AppendedLabels>;
  /** Rows after a sequence in the order of arrival, at most `limit`; none at the end. */
  scan(afterSequence: number, limit: number): Promise<readonly StoredPrediction[]>;
  /** Rows before a sequence, the last to arrive first, at most `limit`; none at the end. */
  scanBack(beforeSequence: number, limit: number): Promise<readonly StoredPrediction[]>;
  /** Rows of a release that have a label, by event time; the next page starts after `next`. */
  labelled(query: LabelledQuery): Promise<LabelledPage>;
  /** Releases of a scenario (of all when empty) that have predictions, the first one logged first. */
  releases(scenario: string): Promise<readonly LoggedRelease[]>;
  /** Keeps what is known of a release beside its predictions, so that drift needs no registry after a restart. */
  putRelease(parts: ReleaseParts): Promise<void>;
  /** Every release that was put. */
  releaseParts(): Promise<readonly ReleaseParts[]>;
  /**
   * Drops what arrived first and not after `untilMs`: at most `limit` predictions with their labels, or labels without
   * prediction where one of those is older still.
   */
  dropOldest(limit: number, untilMs: number): Promise<Dropped>;
  usage(): Promise<LogUsage>;
  close(): Promise<void>;
}

/** What an append did. */
export interface Appended {
  /** Per row, 1 where it was new and 0 where it was in the log. */
  readonly isNew: Uint8Array;
  readonly newCount: number;
  /** Labels that had waited for these rows. */
  readonly joinedCount: number;
}

/** What an append of labels did. */
export interface AppendedLabels {
  /** Labels that changed the log. */
  readonly changedCount: number;
  /** Labels whose prediction is in the log, repeats included. */
  readonly joinedCount: number;
}

/** Selects labelled rows of one release by event time, both ends inclusive. */
export interface LabelledQuery {
  readonly scenario: string;
  readonly releaseId: string;
  readonly fromUs: number;
  readonly toUs: number;
  readonly after: LabelledCursor | undefined;
  readonly limit: number;
}

/** A place in the order of (event time, sequence). */
export interface LabelledCursor {
  readonly eventTimeUs: number;
  readonly sequence: number;
}

/** Labelled rows. */
export interface LabelledPage {
  readonly rows: readonly { readonly prediction: StoredPrediction; readonly label: number }[];
  /** Where the next page starts; undefined at the end. */
  readonly next: LabelledCursor | undefined;
}

/** A release with predictions. */
export interface LoggedRelease {
  readonly releaseId: string;
  readonly scenario: string;
  /** Greatest event time of its predictions in the log, microseconds since 1970. */
  readonly newestUs: number;
}

/** What was dropped. */
export interface Dropped {
  readonly predictions: readonly StoredPrediction[];
  readonly labelCount: number;
}

/** How much the log holds. */
export interface LogUsage {
  /** Bytes in use; space that was freed and will be used again does not count. */
  readonly sizeBytes: number;
  readonly predictionCount: number;
  readonly labelCount: number;
  /** Labels that wait for their prediction. */
  readonly waitingLabelCount: number;
  /** Arrival of the oldest prediction or waiting label, milliseconds since 1970; undefined when there is none. */
  readonly oldestMs: number | undefined;
  /** Greatest sequence given so far; 0 when none was. */
  readonly lastSequence: number;
}

/**
 * Why the log could not do what it was asked. `full`: no space left; `layouts`: more different combinations of release
 * and models than it keeps; `busy`: too much waits to be written; `down`: it is being opened again; `closed`: shut;
 * `failed`: anything else.
 */
export type LogFault = "full" | "layouts" | "busy" | "down" | "closed" | "failed";

/** Failure of a log; nothing of the call took effect. */
export class LogFailure extends Error {
  override readonly name = "LogFailure";
  readonly fault: LogFault;

  constructor(fault: LogFault, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.fault = fault;
  }
}
