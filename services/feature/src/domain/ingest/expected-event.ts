import { expectationText, type Source } from "@weft/scenario";
import type { SourceRow } from "../views/view-state.ts";
import { EventFault } from "./json-event.ts";
import { RowChecks } from "./row-checks.ts";

/** Reads one message of a stream as a row; EventFault where it is none. */
export type EventReader = (value: Uint8Array | undefined, timeUs: number, nowUs: number) => SourceRow;

/**
 * A reader that holds rows against the expectations of their source too. A stream has nobody to refuse a row to, so that
 * `reject` sets it aside as `quarantine` does: EventFault with reason EXPECTATION_NOT_MET.
 */
export function createExpectingReader(source: Source, read: EventReader): EventReader {
  const checks = new RowChecks(source);
  if (checks.isEmpty) return read;
  return (value, timeUs, nowUs) => {
    const row = read(value, timeUs, nowUs);
    const { rejected, quarantined } = checks.check([row]);
    const violation = rejected[0] ?? quarantined[0];
    if (violation === undefined) return row;
    throw new EventFault("EXPECTATION_NOT_MET", `expected ${expectationText(violation.expectation)}`);
  };
}
