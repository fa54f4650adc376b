import type { CallContext } from "@weft/rpc";
import { offlineErrors } from "./offline-errors.ts";

/** Who waits for a job, and may give it up. */
export type Cancellable = Pick<CallContext, "signal" | "onCancel">;

/** Lets one job of the offline store run at a time, in the order they came; a bounded number waits. */
export class JobTurns {
  readonly #waitingMax: number;
  readonly #waiting: (() => void)[] = [];
  #running = false;

  /** `waitingMax`: jobs that may wait for the one that runs; further ones are refused. */
  constructor(waitingMax: number) {
    this.#waitingMax = waitingMax;
  }

  /** Waits for a turn; a call that ends early gives its place up. Throws OFFLINE_JOBS_FULL. */
  async take(context: Cancellable): Promise<{ end(): void }> {
    if (this.#running) {
      if (this.#waiting.length >= this.#waitingMax)
        throw offlineErrors.OFFLINE_JOBS_FULL({ jobsMax: this.#waitingMax });
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      this.#waiting.push(resolve);
      const unsubscribe = context.onCancel(() => {
        const place = this.#waiting.indexOf(resolve);
        if (place < 0) return;
        this.#waiting.splice(place, 1);
        reject(context.signal.reason);
      });
      await promise.finally(unsubscribe);
    }
    this.#running = true;
    return {
      end: () => {
        const next = this.#waiting.shift();
        if (next === undefined) this.#running = false;
        else next();
      },
    };
  }
}
