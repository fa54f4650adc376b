import type { SourceRow } from "../views/view-state.ts";

/** An event as it came: a row with the names of its values, or a message that could not be read as one. */
export type EventContent =
  | { readonly kind: "row"; readonly fields: readonly string[]; readonly row: SourceRow }
  | { readonly kind: "message"; readonly bytes: Uint8Array };

/** An event that is set aside instead of taken in. */
export interface RefusedEvent {
  readonly scenario: string;
  readonly source: string;
  /** Stable name of the rule that it broke, such as MESSAGE_UNREADABLE; at most 64 characters of A-Z, 0-9 and _. */
  readonly reason: string;
  /** What is wrong, for a person. Holds no value of the event. */
  readonly detail: string;
  /** Where it came from, such as "kafka/payments/3/1207" or "push/<request id>/4". Set aside again, it changes nothing. */
  readonly origin: string;
  readonly content: EventContent;
}

/** An event in quarantine. */
export interface QuarantinedEvent extends Omit<RefusedEvent, "content"> {
  /** From 1, rising in the order of arrival. */
  readonly id: number;
  /** When it was set aside, in microseconds since 1970. */
  readonly timeUs: number;
  /** Absent where it was too large to keep. */
  readonly content: EventContent | undefined;
}

/** What has been set aside of one source for one reason. */
export interface QuarantineSummary {
  readonly scenario: string;
  readonly source: string;
  readonly reason: string;
  /** Ever set aside. */
  readonly count: number;
  /** Still kept: neither replayed nor dropped, by a person or by the bound. */
  readonly kept: number;
  readonly firstTimeUs: number;
  readonly lastTimeUs: number;
}

/** Which events; an absent reason stands for every one. */
export interface QuarantineFilter {
  readonly scenario: string;
  readonly source: string;
  readonly reason?: string | undefined;
}

/**
 * Events that could not be taken in, kept with their reason so that they hold nothing up and can be looked at, replayed
 * or dropped. Bounded: where there is no room the oldest go; the counts stay.
 */
export interface Quarantine {
  /** Sets events aside, on disk once it has resolved. Answers how many were not there yet. */
  add(events: readonly RefusedEvent[], timeUs: number): Promise<number>;
  /** Counts of a scenario by source and reason, in this order. */
  summarize(scenario: string): Promise<readonly QuarantineSummary[]>;
  /** Events in the order of arrival, after an id. */
  list(filter: QuarantineFilter, after: number, limit: number): Promise<readonly QuarantinedEvent[]>;
  /** Forgets events, such as those that were replayed; their origin can be set aside again. Answers how many were there. */
  remove(ids: readonly number[]): Promise<number>;
  close(): Promise<void>;
}
