import type { CallScope } from "./context.ts";

/** Longest timer of the runtime, in milliseconds. */
const timerMaxMs = 2 ** 31 - 1;

/** Cancels a call at its deadline; answers how to stop. A call without a deadline costs nothing. */
export function armDeadline(context: CallScope): () => void {
  const remainingMs = context.deadlineMs - Date.now();
  if (remainingMs > timerMaxMs) return () => {};
  const timer = setTimeout(() => context.cancel("deadline"), Math.max(0, remainingMs));
  return () => clearTimeout(timer);
}

/** Settles like `work`, or fails with `toError` when the call ends early, whichever comes first. */
export function untilCancelled<T>(
  context: CallScope,
  toError: (reason: "cancelled" | "deadline") => Error,
  work: () => Promise<T>,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const unsubscribe = context.onCancel((reason) => reject(toError(reason)));
    if (context.cancelled !== undefined) return;
    work().then(
      (value) => {
        unsubscribe();
        resolve(value);
      },
      (error) => {
        unsubscribe();
        reject(error);
      },
    );
  });
}
