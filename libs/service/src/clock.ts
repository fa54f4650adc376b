/** Time, as an argument: domain code and tests bring their own. */
export interface Clock {
  /** Milliseconds since 1970. */
  nowMs(): number;
  /** Microseconds since 1970. */
  nowUs(): bigint;
  /** Runs `callback` once after `delayMs`. */
  setTimer(delayMs: number, callback: () => void): { cancel(): void };
}

/** The machine's clock. Its timers do not keep a process alive. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  nowUs: () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)),
  setTimer(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};
