/**
 * Maps a stream with up to `concurrencyMax` items under way, answering in the order of the input. An item is taken only
 * while there is room, so a consumer that does not read holds the producer back. `map` must not reject.
 */
export async function* orderedMap<I, O>(
  input: AsyncIterable<I>,
  concurrencyMax: number,
  map: (item: I) => Promise<O>,
): AsyncGenerator<O, void, undefined> {
  const items = input[Symbol.asyncIterator]();
  const underway: Promise<O>[] = [];
  let next: Promise<IteratorResult<I>> | undefined;
  let ended = false;
  try {
    for (;;) {
      if (!ended && next === undefined && underway.length < concurrencyMax) next = items.next();
      const head = underway[0];
      if (head === undefined && next === undefined) return;
      const taken = next === undefined ? undefined : await firstOf(head, next);
      if (taken === undefined) {
        underway.shift();
        if (head !== undefined) yield await head;
        continue;
      }
      next = undefined;
      if (taken.done === true) ended = true;
      else underway.push(map(taken.value));
    }
  } finally {
    if (!ended) await items.return?.();
  }
}

/** The next item, or undefined where the head of the queue is done before it. */
async function firstOf<I, O>(
  head: Promise<O> | undefined,
  next: Promise<IteratorResult<I>>,
): Promise<IteratorResult<I> | undefined> {
  if (head === undefined) return next;
  return Promise.race([head.then(() => undefined), next]);
}
