import { Code } from "@weft/errors";
import type { Timers } from "./timers.ts";

/** When an address that fails is left alone, and for how long. */
export interface EjectionOptions {
  /** Failures in a row; 0 never. */
  readonly failures: number;
  /** For the first time, milliseconds; the second time twice as long, and so on. */
  readonly baseMs: number;
  /** Longest, milliseconds. */
  readonly maxMs: number;
  /** Share of the addresses that may be left alone at once, 0 to 100. */
  readonly percentMax: number;
}

/** What is remembered of one address. */
export interface EjectionRecord {
  /** Failures since the last success. */
  failures: number;
  /** Times it was left alone, less those that its good behaviour since has made up for. */
  times: number;
  isEjected: boolean;
  /** When it last came back. */
  returnedMs: number;
}

/** Part of a time that jitter takes off, so that many clients do not come back at once. */
const jitter = 0.2;

/** Codes that speak against the peer that answered. */
const faults: ReadonlySet<number> = new Set([
  Code.Unavailable,
  Code.Internal,
  Code.Unknown,
  Code.DataLoss,
  Code.DeadlineExceeded,
]);
/** Codes that say nothing of its health: it sheds load, or the caller left. */
const neutral: ReadonlySet<number> = new Set([Code.ResourceExhausted, Code.Cancelled]);

/**
 * Leaves addresses alone that fail calls one after another, as Envoy's outlier detection does: passive, so that an address
 * is tried again by a call when its time is over.
 */
export class OutlierEjection {
  readonly #options: EjectionOptions;
  readonly #timers: Timers;
  readonly #random: () => number;
  readonly #changed: (isEjected: boolean) => void;
  readonly #waiting = new Map<EjectionRecord, { cancel(): void }>();
  readonly #records = new Set<EjectionRecord>();

  /** `changed` runs when an address is left alone, and when it is back. */
  constructor(options: EjectionOptions, timers: Timers, random: () => number, changed: (isEjected: boolean) => void) {
    this.#options = options;
    this.#timers = timers;
    this.#random = random;
    this.#changed = changed;
  }

  /** Addresses that are left alone now. */
  get ejectedCount(): number {
    return this.#waiting.size;
  }

  /** The record of a new address. */
  add(): EjectionRecord {
    const record = { failures: 0, times: 0, isEjected: false, returnedMs: this.#timers.nowMs() };
    this.#records.add(record);
    return record;
  }

  /** An address is gone. */
  remove(record: EjectionRecord): void {
    this.#records.delete(record);
    this.#waiting.get(record)?.cancel();
    this.#waiting.delete(record);
  }

  /** Takes the status of a call that an address answered, or failed to. */
  report(record: EjectionRecord, code: number): void {
    if (!faults.has(code)) {
      if (!neutral.has(code)) record.failures = 0;
      return;
    }
    record.failures++;
    const { failures, percentMax } = this.#options;
    if (failures === 0 || record.failures < failures || record.isEjected) return;
    const isAllowed = (this.#waiting.size + 1) * 100 <= this.#records.size * percentMax;
    // A call can end after its address is gone.
    if (isAllowed && this.#records.has(record)) this.#eject(record);
  }

  close(): void {
    for (const timer of this.#waiting.values()) timer.cancel();
    this.#waiting.clear();
  }

  #eject(record: EjectionRecord): void {
    const { baseMs, maxMs } = this.#options;
    const wellMs = this.#timers.nowMs() - record.returnedMs;
    record.times = Math.max(0, record.times - Math.floor(wellMs / baseMs)) + 1;
    record.isEjected = true;
    const ejectedMs = Math.min(maxMs, baseMs * record.times) * (1 - jitter * this.#random());
    const timer = this.#timers.setTimer(ejectedMs, () => {
      this.#waiting.delete(record);
      record.isEjected = false;
      record.failures = 0;
      record.returnedMs = this.#timers.nowMs();
      this.#changed(false);
    });
    this.#waiting.set(record, timer);
    this.#changed(true);
  }
}
