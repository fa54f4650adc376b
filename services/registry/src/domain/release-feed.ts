import { errors } from "../errors.ts";
import type { LabelState } from "./catalog.ts";

/**
 * Tells watchers the whole state of the labels, now and after every change. Nothing is queued for a watcher: one that is
 * slow gets the newest state when it asks again, and the states between are never made.
 */
export class ReleaseFeed {
  readonly #read: () => Promise<LabelState>;
  readonly #watchersMax: number;
  readonly #waiting = new Set<() => void>();
  #epoch = 0;
  #newest: { readonly epoch: number; readonly state: Promise<LabelState> } | undefined;
  #watchers = 0;
  #closed = false;

  constructor(read: () => Promise<LabelState>, watchersMax: number) {
    this.#read = read;
    this.#watchersMax = watchersMax;
  }

  /** Watchers now. */
  get watchers(): number {
    return this.#watchers;
  }

  /** Says that the state has changed; called after the change is durable. */
  changed(): void {
    this.#epoch++;
    this.#wake();
  }

  /**
   * The state of one scenario ("" = all) now, and again whenever its labels differ from what this watcher saw last.
   * Ends when the signal aborts or the feed closes. Throws WATCHERS_FULL.
   */
  async *watch(scenario: string, signal: AbortSignal): AsyncGenerator<LabelState, void, undefined> {
    if (this.#watchers >= this.#watchersMax) throw errors.WATCHERS_FULL({ limit: this.#watchersMax });
    this.#watchers++;
    try {
      let seen: string | undefined;
      while (!signal.aborted && !this.#closed) {
        const epoch = this.#epoch;
        const whole = await this.#state(epoch);
        const state =
          scenario === ""
            ? whole
            : { ...whole, releases: whole.releases.filter(({ release }) => release.scenario === scenario) };
        const now = state.releases.map(({ label, release }) => `${label}=${release.id}`).join(",");
        if (now !== seen) {
          seen = now;
          yield state;
        }
        if (epoch === this.#epoch) await this.#change(signal);
      }
    } finally {
      this.#watchers--;
    }
  }

  /** Ends every watch. */
  close(): void {
    this.#closed = true;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  #state(epoch: number): Promise<LabelState> {
    if (this.#newest?.epoch !== epoch) {
      const state = this.#read();
      this.#newest = { epoch, state };
      state.catch(() => {
        if (this.#newest?.state === state) this.#newest = undefined;
      });
    }
    return this.#newest.state;
  }

  #change(signal: AbortSignal): Promise<void> {
    if (signal.aborted || this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener("abort", wake, { once: true });
    });
  }
}
