import type { SourceRow } from "../views/view-state.ts";

/** Rows pushed together, under one request id. Rows that are equal are so many events, each counted. */
export interface PushedEvents {
  readonly scenario: string;
  readonly source: string;
  /** Makes a repeat harmless: the same scenario, source and id are appended once. */
  readonly requestId: string;
  /** When they came in, microseconds since 1970; 0 where that is not known. */
  readonly receivedUs: number;
  /** Names of the fields, in the order of the rows' values. */
  readonly fields: readonly string[];
  readonly rows: readonly SourceRow[];
}

/** Pushed rows with their place in the log. */
export interface LoggedEvents extends PushedEvents {
  /** From 1, rising. */
  readonly offset: number;
}

/** What became of an append. */
export interface Appended {
  readonly offset: number;
  /** True where the request id had been there, so that nothing was appended. */
  readonly duplicate: boolean;
}

/** A durable log of what was pushed. */
export interface EventLog {
  /**
   * Appends all or nothing; on disk once it has resolved. Throws EVENT_LOG_FULL where there is no room and
   * EVENT_LOG_FAILED where the log cannot be written.
   */
  append(events: readonly PushedEvents[]): Promise<readonly Appended[]>;
  /** Events of one source after an offset, in order, at most `limit` pushes. */
  read(scenario: string, source: string, after: number, limit: number): Promise<readonly LoggedEvents[]>;
  /**
   * Forgets pushes up to an offset that came in before a time, in microseconds since 1970; answers how many. Their
   * request ids can come again. Offsets go on rising.
   */
  trim(until: number, receivedBeforeUs: number): Promise<number>;
  /** The last offset given; 0 where there is none. */
  endOffset(): Promise<number>;
  close(): Promise<void>;
}
