/** The clock of connections, so that tests need not wait. */
export interface Timers {
  /** Milliseconds; only their differences mean something. */
  nowMs(): number;
  /** Runs `callback` once; such a timer keeps no process alive. */
  setTimer(delayMs: number, callback: () => void): { cancel(): void };
}

/** Time itself. */
export const systemTimers: Timers = {
  nowMs: () => performance.now(),
  setTimer(delayMs, callback) {
    const timer = setTimeout(callback, delayMs).unref();
    return { cancel: () => clearTimeout(timer) };
  },
};
