/** A connection that has ended, with streams to be told so. */
export interface EndedConnection {
  /** Tells some of its streams, at most `max`; answers how many, 0 when all have been told. */
  tellStreams(max: number): number;
}

/**
 * Streams that are told of their connection's end in one turn of the event loop, over all connections: what a handler does
 * when its caller goes costs microseconds, and a hundred connections with a thousand streams each can go in one turn.
 */
const perTurn = 512;

const waiting: EndedConnection[] = [];
let left = perTurn;
let scheduled = false;

/** Tells a connection's streams of its end: at once as far as this turn has room, the others in the turns that follow. */
export function tellStreamsOf(connection: EndedConnection): void {
  waiting.push(connection);
  tell();
}

function tell(): void {
  while (left > 0) {
    const [connection] = waiting;
    if (connection === undefined) break;
    const told = connection.tellStreams(left);
    if (told === 0) waiting.shift();
    left -= told;
  }
  if (scheduled || (left === perTurn && waiting.length === 0)) return;
  scheduled = true;
  setImmediate(() => {
    scheduled = false;
    left = perTurn;
    tell();
  });
}
