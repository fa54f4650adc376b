import type { Clock } from "@weft/service";
import type { Ingest } from "./domain/ingest/ingest.ts";

/** How the event log is kept short. */
export interface LogRetentionOptions {
  /** Age at which a push that every view holds is forgotten, in microseconds. */
  readonly retentionUs: number;
  readonly clock: Clock;
  failed(cause: unknown): void;
}

const everyMs = 600_000;

/** Forgets old pushes every ten minutes, until it is closed. */
export function startLogRetention(
  ingest: Pick<Ingest, "trimLog">,
  { retentionUs, clock, failed }: LogRetentionOptions,
): { close(): Promise<void> } {
  let running = Promise.resolve();
  let timer = clock.setTimer(everyMs, next);
  function next() {
    running = ingest
      .trimLog(Number(clock.nowUs()) - retentionUs)
      .then(() => undefined)
      .catch(failed);
    timer = clock.setTimer(everyMs, next);
  }
  return {
    close() {
      timer.cancel();
      return running;
    },
  };
}
