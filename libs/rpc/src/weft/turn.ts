/** Messages that a stream sends in one turn of the event loop, so that a producer which never waits lets others in. */
export const messagesPerTurn = 128;

let next: Promise<void> | undefined;

/** Resolves in the next turn of the event loop; every stream that waits in a turn shares one promise. */
export function nextTurn(): Promise<void> {
  next ??= new Promise((resolve) => {
    setImmediate(() => {
      next = undefined;
      resolve();
    });
  });
  return next;
}
