import type { Source } from "@weft/scenario";
import { sourceFields } from "../views/view-state.ts";
import type { LoggedEvents } from "./event-log.ts";
import { createExpectingReader } from "./expected-event.ts";
import type { Ingest, IngestedView } from "./ingest.ts";
import { createJsonEventReader, type EventBounds, EventFault } from "./json-event.ts";
import type { RefusedEvent } from "./quarantine.ts";
import { partitionName, type StreamBatch, type StreamLog, type StreamPartition } from "./stream-log.ts";

/** What following a stream reports. */
export interface StreamObserver {
  /** Events of a source that were applied, and the greatest time from a message's stamp to its being visible. */
  applied(source: string, events: number, delayUs: number): void;
  /** Messages that a partition holds and that are not applied yet. */
  lag(topic: string, partition: number, messages: number): void;
  /** Messages that were thrown away by the log before they were read. */
  lost(topic: string, messages: number): void;
  /** The log or the store could not be reached; it is tried again. */
  failed(cause: unknown): void;
}

/** What following needs beside the log. */
export interface StreamIngestOptions {
  readonly ingest: Ingest;
  readonly bounds: EventBounds;
  readonly observer: StreamObserver;
  /** Sets messages aside that are no events. */
  readonly refuse: (events: readonly RefusedEvent[]) => Promise<void>;
  /** Microseconds since 1970. */
  readonly nowUs: () => number;
  /** Resolves after a time, or at once where the signal is aborted. */
  readonly pause: (timeMs: number, signal: AbortSignal) => Promise<void>;
}

const idleMs = 250;
const retryMinMs = 100;
const retryMaxMs = 5_000;
/** Rounds between two reports of positions to the log. */
const reportEvery = 64;
/** Readers kept, one a source. */
const readersMax = 256;

type Position = StreamPartition & { readonly after: number };

/**
 * Follows topics: reads what is assigned to this process from where its states end, and applies it. How far it is stands
 * with the states, so a crash, a rebalance, a view that is new or a store that was away all end in the same: reading goes
 * on from the store's offsets, and what is read again changes nothing. A message that is no event is set aside first and
 * then passed over.
 */
export class StreamIngest {
  readonly #log: StreamLog;
  readonly #options: StreamIngestOptions;
  readonly #stop = new AbortController();
  readonly #readers = new Map<Source, ReturnType<typeof createJsonEventReader>>();
  #running: Promise<void> | undefined;

  constructor(log: StreamLog, options: StreamIngestOptions) {
    this.#log = log;
    this.#options = options;
  }

  /** Begins to follow, until it is closed. */
  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.#log.close();
  }

  async #run(): Promise<void> {
    const { pause, observer } = this.#options;
    const { signal } = this.#stop;
    let retryMs = retryMinMs;
    for (let round = 0; !signal.aborted; round++) {
      try {
        const positions = await this.#positions();
        if (positions.length === 0) await pause(idleMs, signal);
        else {
          for (const batch of await this.#log.read(positions)) if (!signal.aborted) await this.#apply(batch);
          if (round % reportEvery === 0) await this.#log.report(await this.#positions());
        }
        retryMs = retryMinMs;
      } catch (cause) {
        if (signal.aborted) return;
        observer.failed(cause);
        await pause(retryMs, signal);
        retryMs = Math.min(retryMaxMs, 2 * retryMs);
      }
    }
  }

  /** Where the states of the assigned partitions end. */
  async #positions(): Promise<readonly Position[]> {
    const { ingest } = this.#options;
    await this.#log.follow(ingest.topics);
    const positions: Position[] = [];
    for (const { topic, partition } of this.#log.assigned()) {
      const after = await ingest.streamPosition({ topic, partition });
      if (after !== undefined) positions.push({ topic, partition, after });
    }
    return positions;
  }

  async #apply(batch: StreamBatch): Promise<void> {
    const { ingest, refuse, observer, nowUs } = this.#options;
    const { topic, partition, until } = batch;
    // Taken away while it was being read: it is somebody else's now.
    if (!this.#log.assigned().some((own) => own.topic === topic && own.partition === partition)) return;
    const startUs = nowUs();
    const refused: RefusedEvent[] = [];
    const events: LoggedEvents[] = [];
    const sources = bySource(ingest.streamViews(topic));
    for (const views of sources.values()) this.#read(views, batch, startUs, events, refused);
    if (refused.length > 0) await refuse(refused);
    await ingest.applyStream(batch, events, until);
    let oldestUs = startUs;
    for (const { timeUs } of batch.messages) oldestUs = Math.min(oldestUs, timeUs);
    if (batch.messages.length > 0)
      for (const [first] of sources.values())
        observer.applied(sourceOf(first).name, batch.messages.length, nowUs() - oldestUs);
    observer.lag(topic, partition, batch.end - until);
    if (batch.lost > 0) observer.lost(topic, batch.lost);
  }

  #read(
    views: ViewsOfSource,
    batch: StreamBatch,
    nowUs: number,
    events: LoggedEvents[],
    refused: RefusedEvent[],
  ): void {
    const [{ scenario }] = views;
    const source = sourceOf(views[0]);
    const read = this.#reader(views);
    const fields = sourceFields(source).map(({ name }) => name);
    const requestId = partitionName(batch);
    for (const { offset, value, timeUs } of batch.messages) {
      try {
        const row = read(value, timeUs, nowUs);
        events.push({
          scenario,
          source: source.name,
          requestId,
          receivedUs: nowUs,
          fields,
          rows: [row],
          offset,
        });
      } catch (fault) {
        if (!(fault instanceof EventFault)) throw fault;
        refused.push({
          scenario,
          source: source.name,
          reason: fault.reason,
          detail: fault.message,
          origin: `${requestId}/${offset}`,
          content: { kind: "message", bytes: value ?? new Uint8Array(0) },
        });
      }
    }
  }

  #reader(views: ViewsOfSource): ReturnType<typeof createJsonEventReader> {
    const source = sourceOf(views[0]);
    let reader = this.#readers.get(source);
    if (reader === undefined) {
      const keyFields = new Set(views.flatMap(({ compiled }) => compiled.view.entities.map(({ field }) => field)));
      reader = createExpectingReader(source, createJsonEventReader(source, keyFields, this.#options.bounds));
      // Sources of releases that went are few; they are dropped all at once.
      if (this.#readers.size >= readersMax) this.#readers.clear();
      this.#readers.set(source, reader);
    }
    return reader;
  }
}

type ViewsOfSource = [IngestedView, ...IngestedView[]];

/** Views by the source, of a scenario, that they read. */
function bySource(views: readonly IngestedView[]): ReadonlyMap<string, ViewsOfSource> {
  const sources = new Map<string, ViewsOfSource>();
  for (const view of views) {
    const name = `${view.scenario}/${sourceOf(view).name}`;
    const others = sources.get(name);
    if (others === undefined) sources.set(name, [view]);
    else others.push(view);
  }
  return sources;
}

function sourceOf(view: IngestedView): Source {
  return view.compiled.view.source;
}
