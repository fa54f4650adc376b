import { Code, isWeftError } from "@weft/errors";

const pauseMs = 100;

/** Longest wait for the registry's watch to bring a service what was labelled just now; it takes a second at most. */
const arrivalTimeoutMs = 10_000;

/** How long services may fail to load a release before that stands: long enough for a registry that restarts. */
const loadFailureTimeoutMs = 5_000;

/**
 * Repeats work on a release that was labelled just now: while a peer is not there or does not hold the release yet, up to
 * `timeoutMs`, and while it has not heard of it, for as long as a watch may take.
 */
export async function whileUnavailable<T>(timeoutMs: number, work: () => Promise<T>): Promise<T> {
  const startMs = Date.now();
  while (true) {
    try {
      return await work();
    } catch (error) {
      if (Date.now() - startMs >= retryTimeoutMs(error, timeoutMs)) throw error;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
}

/** How long an error may repeat itself before it stands. */
function retryTimeoutMs(error: unknown, timeoutMs: number): number {
  if (!isWeftError(error)) return 0;
  if (error.domain === "weft.release" && error.reason === "RELEASE_LOAD_FAILED") return loadFailureTimeoutMs;
  if (error.code === Code.Unavailable) return timeoutMs;
  return error.code === Code.NotFound && error.domain === "weft.release" ? Math.min(arrivalTimeoutMs, timeoutMs) : 0;
}
