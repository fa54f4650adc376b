import type { Source } from "@weft/scenario";
import { offlineErrors } from "../../offline-errors.ts";
import { createJsonEventReader, type EventBounds, EventFault } from "../ingest/json-event.ts";
import type { StreamLog, StreamMessage, StreamPartition } from "../ingest/stream-log.ts";
import type { CompiledView, SourceRow } from "../views/view-state.ts";
import type { PushedPart, PushedRows } from "./offline-store.ts";

/** What reading topics for the offline store needs. */
export interface TopicRowsOptions {
  /** Opens a log that is alone in its group, so that it is given every partition; closed when the topic is read. */
  open(): StreamLog;
  /** Views whose keys a message must have. */
  readonly views: readonly CompiledView[];
  readonly bounds: EventBounds;
  /** Microseconds since 1970. */
  nowUs(): number;
}

/** Reads in a row that bring nothing, after which a topic counts as unreadable. */
const idleReadsMax = 40;

/**
 * Adds to what was pushed what the sources' topics hold: each partition from its first message to the last one that there
 * was when it was first read. A message came in when it was stamped. Those that are no events are left out, as they are
 * online. Throws TOPIC_UNREADABLE.
 */
export function withTopicRows(pushed: PushedRows, options: TopicRowsOptions): PushedRows {
  return async function* (source) {
    yield* pushed(source);
    if (source.topic === undefined) return;
    const log = options.open();
    try {
      yield* topicRows(log, source, source.topic, options);
    } catch (cause) {
      throw offlineErrors.TOPIC_UNREADABLE({ source: source.name, topic: source.topic }, { cause });
    } finally {
      await log.close();
    }
  };
}

async function* topicRows(
  log: StreamLog,
  source: Source,
  topic: string,
  { views, bounds, nowUs }: TopicRowsOptions,
): AsyncGenerator<PushedPart> {
  const keyFields = views
    .filter(({ view }) => view.source.name === source.name)
    .flatMap(({ view }) => view.entities.map(({ field }) => field));
  const read = createJsonEventReader(source, new Set(keyFields), bounds);
  const rowOf = ({ value, timeUs }: StreamMessage): SourceRow | undefined => {
    try {
      return read(value, timeUs, nowUs());
    } catch (fault) {
      if (fault instanceof EventFault) return undefined;
      throw fault;
    }
  };
  await log.follow([topic]);
  let left: readonly (StreamPartition & { readonly after: number })[] = log
    .assigned()
    .map((partition) => ({ ...partition, after: 0 }));
  // A topic has a partition at least: with none, rows would be left out and nobody would know.
  if (left.length === 0) throw new Error(`topic ${topic} has no partition that can be read`);
  const ends = new Map<number, number>();
  for (let idle = 0; left.length > 0; idle++) {
    if (idle === idleReadsMax) throw new Error(`nothing came from ${left.length} partitions of topic ${topic}`);
    const next = new Map(left.map((position) => [position.partition, position]));
    for (const { partition, messages, until, end } of await log.read(left)) {
      const position = next.get(partition);
      if (position === undefined) continue;
      const last = ends.get(partition) ?? end;
      ends.set(partition, last);
      if (until > position.after || until >= last) idle = 0;
      yield* parts(
        messages.filter(({ offset }) => offset <= last),
        rowOf,
      );
      if (until >= last) next.delete(partition);
      else next.set(partition, { ...position, after: until });
    }
    left = [...next.values()];
  }
}

/** Messages of one stamp together. */
function* parts(
  messages: readonly StreamMessage[],
  rowOf: (message: StreamMessage) => SourceRow | undefined,
): Generator<PushedPart> {
  let rows: SourceRow[] = [];
  let receivedUs = 0;
  for (const message of messages) {
    if (message.timeUs !== receivedUs && rows.length > 0) {
      yield { rows, receivedUs };
      rows = [];
    }
    receivedUs = message.timeUs;
    const row = rowOf(message);
    if (row !== undefined) rows.push(row);
  }
  if (rows.length > 0) yield { rows, receivedUs };
}
