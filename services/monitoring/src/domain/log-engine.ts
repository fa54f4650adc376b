import { PayloadNumbers } from "./payload.ts";
import type { LabelRecord, PackedPredictions, PredictionLayout, StoredPrediction } from "./prediction.ts";
import {
  type LabelledCursor,
  LogFailure,
  type LoggedRelease,
  type LogUsage,
  type PredictionLog,
} from "./prediction-log.ts";
import { LabelledScoresCollector, type Quality, quality } from "./quality.ts";
import type { ReleaseParts } from "./release-parts.ts";
import { type ComparedDistribution, ReleaseSketch } from "./release-sketch.ts";

/** The prediction log together with what is computed from it. */
export interface MonitoringLog {
  /** Appends predictions, all or none; durable once answered; rows that are in the log change nothing. */
  append(batch: PackedPredictions, nowMs: number): Promise<AppendReport>;
  /** Appends labels, all or none; durable once answered. */
  appendLabels(scenario: string, labels: readonly LabelRecord[], nowMs: number): Promise<LabelReport>;
  /** Makes a release known: its predictions are compared with its references from here on, and those in the log too. */
  putRelease(parts: ReleaseParts): Promise<void>;
  /** Releases that were put, kept while they have predictions. */
  releaseParts(): Promise<readonly ReleaseParts[]>;
  /** Releases of a scenario (of all when empty) that have predictions, the first one logged first. */
  releases(scenario: string): Promise<readonly LoggedRelease[]>;
  drift(query: DriftQuery): Promise<DriftAnswer>;
  /** Rows after a sequence in the order of arrival, at most `limit`. */
  scan(afterSequence: number, limit: number): Promise<readonly StoredPrediction[]>;
  /** Rows before a sequence, the last to arrive first, at most `limit`. */
  scanBack(beforeSequence: number, limit: number): Promise<readonly StoredPrediction[]>;
  /** Drops what retention no longer keeps; answers what it did. */
  maintain(nowMs: number): Promise<MaintenanceReport>;
  close(): Promise<void>;
}

/** What retention dropped and what is left. */
export interface MaintenanceReport {
  readonly droppedPredictions: number;
  readonly droppedLabels: number;
  readonly usage: LogUsage;
}

/** What an append of predictions did. */
export interface AppendReport extends MaintenanceReport {
  /** Rows that were not in the log. */
  readonly newCount: number;
  /** Labels that had waited for these rows. */
  readonly joinedCount: number;
  /** New rows whose columns are not their model's, which can be where the registry was away; they have no feature drift. */
  readonly mismatchedCount: number;
}

/** What an append of labels did. */
export interface LabelReport extends MaintenanceReport {
  readonly changedCount: number;
  readonly joinedCount: number;
}

/** Asks for drift. */
export interface DriftQuery {
  readonly scenario: string;
  /** Release; empty for the one whose first prediction came last. */
  readonly releaseId: string;
  /** Length of the window that ends at the release's newest prediction, microseconds. */
  readonly windowUs: number;
}

/** Quality of one model version. */
export interface ModelQuality extends Quality {
  readonly model: string;
  readonly version: string;
}

/** Drift and quality, or why there are none. */
export type DriftAnswer =
  | { readonly outcome: "no predictions" }
  | { readonly outcome: "release not put" | "no reference"; readonly releaseId: string }
  | {
      readonly outcome: "compared";
      readonly releaseId: string;
      /** Start of the first bucket of the window, microseconds since 1970, inclusive. */
      readonly fromUs: number;
      /** The newest prediction, inclusive. */
      readonly toUs: number;
      readonly predictionCount: number;
      readonly distributions: readonly ComparedDistribution[];
      readonly quality: readonly ModelQuality[];
    };

/** Settings of the engine. */
export interface LogEngineOptions {
  /** Size above which the oldest rows are dropped. */
  readonly sizeMaxBytes: number;
  /** Age by arrival above which rows are dropped, milliseconds. */
  readonly ageMaxMs: number;
  /** Length of a bucket of event time, microseconds. */
  readonly bucketUs: number;
  /** Buckets kept a release; the longest window is one bucket shorter. */
  readonly bucketsMax: number;
  /** Releases with histograms in memory; those of others are read from the log when asked for. */
  readonly releasesMax: number;
  /** Rows read at once from the log, between which other calls go ahead. */
  readonly pageRows: number;
  /** Lets other work go ahead for some milliseconds, 0 for a turn of the event loop; answers when it has. */
  readonly pause: (ms: number) => Promise<void>;
  /** Milliseconds on a clock that never goes back. */
  readonly stopwatchMs: () => number;
}

/** Rows dropped in one transaction, at most. */
const DROP_ROWS = 2000;
/** Rows dropped beyond the excess, so that not every append drops. */
const SPARE_ROWS = 50;
/** Rest after each page that nobody waits for, as a multiple of the page's time: a restart leaves the cores to requests. */
const REST_FACTOR = 4;
/** Longest such rest, milliseconds. */
const REST_MAX_MS = 250;

/**
 * Keeps histograms of the log's rows as they are appended and dropped, so that drift reads no row; at start, and for a
 * release that becomes known after its first predictions, they are built from the log in pages. Calls on the log go one
 * after the other.
 */
export class LogEngine implements MonitoringLog {
  readonly #log: PredictionLog;
  readonly #options: LogEngineOptions;
  readonly #parts = new Map<string, ReleaseParts>();
  /** Least recently used first. */
  readonly #sketches = new Map<string, ReleaseSketch>();
  #tail: Promise<unknown> = Promise.resolve();
  #reading: Promise<void> | undefined;
  /** Questions that wait for histograms. */
  #waitingCount = 0;
  #isClosed = false;

  /** Takes over the log and starts to build histograms of the releases it knows. */
  static async open(log: PredictionLog, options: LogEngineOptions): Promise<LogEngine> {
    const engine = new LogEngine(log, options);
    const { lastSequence } = await log.usage();
    for (const parts of await log.releaseParts()) {
      engine.#keepParts(parts);
      engine.#addSketch(parts, lastSequence);
    }
    engine.#read();
    return engine;
  }

  private constructor(log: PredictionLog, options: LogEngineOptions) {
    this.#log = log;
    this.#options = options;
  }

  append(batch: PackedPredictions, nowMs: number): Promise<AppendReport> {
    return this.#exclusive(async () => {
      const { isNew, newCount, joinedCount } = await this.#log.append(batch, nowMs);
      const numbers = new PayloadNumbers(batch.payloads);
      const sketches = batch.layouts.map((layout) => this.#sketches.get(releaseKey(layout)));
      let mismatchedCount = 0;
      for (let row = 0; row < batch.count; row++) {
        const layoutIndex = batch.layoutIndexes[row] as number;
        const sketch = sketches[layoutIndex];
        if (sketch === undefined || isNew[row] === 0) {
          continue;
        }
        const layout = batch.layouts[layoutIndex] as PredictionLayout;
        const eventTimeUs = batch.eventTimesUs[row] as number;
        if (!sketch.count(layout, eventTimeUs, numbers, batch.payloadStarts[row] as number, 1)) {
          mismatchedCount++;
        }
      }
      const dropped = await this.#drop(nowMs, Math.max(DROP_ROWS, 2 * batch.count));
      return { newCount, joinedCount, mismatchedCount, ...dropped };
    });
  }

  appendLabels(scenario: string, labels: readonly LabelRecord[], nowMs: number): Promise<LabelReport> {
    return this.#exclusive(async () => {
      const appended = await this.#log.appendLabels(scenario, labels, nowMs);
      return { ...appended, ...(await this.#drop(nowMs, Math.max(DROP_ROWS, 2 * labels.length))) };
    });
  }

  putRelease(parts: ReleaseParts): Promise<void> {
    return this.#exclusive(async () => {
      const key = releaseKey(parts);
      if (this.#parts.has(key)) {
        return;
      }
      await this.#log.putRelease(parts);
      const { lastSequence } = await this.#log.usage();
      this.#keepParts(parts);
      const isInLog = (await this.#log.releases(parts.scenario)).some(({ releaseId }) => releaseId === parts.releaseId);
      this.#addSketch(parts, isInLog ? lastSequence : 0);
      this.#read();
    });
  }

  releaseParts(): Promise<readonly ReleaseParts[]> {
    return this.#exclusive(() => this.#log.releaseParts());
  }

  releases(scenario: string): Promise<readonly LoggedRelease[]> {
    return this.#exclusive(() => this.#log.releases(scenario));
  }

  scan(afterSequence: number, limit: number): Promise<readonly StoredPrediction[]> {
    return this.#exclusive(() => this.#log.scan(afterSequence, limit));
  }

  scanBack(beforeSequence: number, limit: number): Promise<readonly StoredPrediction[]> {
    return this.#exclusive(() => this.#log.scanBack(beforeSequence, limit));
  }

  async drift(query: DriftQuery): Promise<DriftAnswer> {
    const releases = await this.releases(query.scenario);
    const chosen =
      query.releaseId === "" ? releases.at(-1) : releases.find(({ releaseId }) => releaseId === query.releaseId);
    if (chosen === undefined) {
      return { outcome: "no predictions" };
    }
    const { releaseId } = chosen;
    const sketch = await this.#exclusive(() => this.#useSketch(chosen));
    if (sketch === undefined) {
      return { outcome: "release not put", releaseId };
    }
    try {
      if (!sketch.hasReference) {
        return { outcome: "no reference", releaseId };
      }
      await this.#completed(sketch);
      return await this.#compare(sketch, query.windowUs);
    } finally {
      sketch.userCount--;
    }
  }

  maintain(nowMs: number): Promise<MaintenanceReport> {
    return this.#exclusive(() => this.#drop(nowMs, 10 * DROP_ROWS));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#exclusive(() => this.#log.close());
  }

  /** The sketch of a release, newly begun where it was let go; undefined where the release was not put. */
  async #useSketch(release: LoggedRelease): Promise<ReleaseSketch | undefined> {
    const key = releaseKey(release);
    const parts = this.#parts.get(key);
    if (parts === undefined) {
      return undefined;
    }
    const sketch = this.#sketches.get(key) ?? this.#addSketch(parts, (await this.#log.usage()).lastSequence);
    sketch.userCount++;
    this.#sketches.delete(key);
    this.#sketches.set(key, sketch);
    return sketch;
  }

  async #compare(sketch: ReleaseSketch, windowUs: number): Promise<DriftAnswer> {
    const { scenario, releaseId } = sketch.parts;
    const window = await this.#exclusive(async () => {
      const newest = (await this.#log.releases(scenario)).find((release) => release.releaseId === releaseId);
      if (newest === undefined) {
        return undefined;
      }
      const toUs = newest.newestUs;
      const fromUs = Math.max(0, this.#bucketStart(toUs - windowUs));
      return { fromUs, toUs, ...sketch.compare(fromUs, toUs) };
    });
    if (window === undefined) {
      return { outcome: "no predictions" };
    }
    const quality = await this.#quality(scenario, releaseId, window.fromUs, window.toUs);
    return { outcome: "compared", releaseId, ...window, quality };
  }

  #checkOpen(): void {
    if (this.#isClosed) {
      throw new LogFailure("closed", "the prediction log is closed");
    }
  }

  async #quality(scenario: string, releaseId: string, fromUs: number, toUs: number): Promise<ModelQuality[]> {
    const collectors = new Map<string, { model: string; version: string; scores: LabelledScoresCollector }>();
    let after: LabelledCursor | undefined;
    do {
      const query = { scenario, releaseId, fromUs, toUs, after, limit: this.#options.pageRows };
      const page = await this.#exclusive(() => this.#log.labelled(query));
      for (const { prediction, label } of page.rows) {
        const numbers = new PayloadNumbers(prediction.payload);
        const start = numbers.scoresStart(0);
        for (const [i, { model, version }] of prediction.layout.models.entries()) {
          const key = JSON.stringify([model, version]);
          let collector = collectors.get(key);
          if (collector === undefined) {
            collector = { model, version, scores: new LabelledScoresCollector() };
            collectors.set(key, collector);
          }
          collector.scores.add(numbers.float64[start + i] as number, label);
        }
      }
      after = page.next;
      await this.#options.pause(0);
    } while (after !== undefined);
    return [...collectors.values()].map(({ model, version, scores }) => ({
      model,
      version,
      ...quality(scores.collected()),
    }));
  }

  /** Drops at most `rowsMax` rows that are too old or too many; the next call goes on where it stopped. */
  async #drop(nowMs: number, rowsMax: number): Promise<MaintenanceReport> {
    const { sizeMaxBytes, ageMaxMs } = this.#options;
    let droppedPredictions = 0;
    let droppedLabels = 0;
    let usage = await this.#log.usage();
    while (droppedPredictions + droppedLabels < rowsMax) {
      const isTooLarge = usage.sizeBytes > sizeMaxBytes;
      const ageEndMs = nowMs - ageMaxMs;
      if (usage.oldestMs === undefined || (!isTooLarge && usage.oldestMs >= ageEndMs)) {
        break;
      }
      const untilMs = isTooLarge ? Number.POSITIVE_INFINITY : ageEndMs - 1;
      const rowBytes = usage.sizeBytes / Math.max(1, usage.predictionCount + usage.labelCount);
      const excessRows = isTooLarge ? Math.ceil((usage.sizeBytes - sizeMaxBytes) / rowBytes) + SPARE_ROWS : DROP_ROWS;
      const dropped = await this.#log.dropOldest(Math.min(DROP_ROWS, excessRows), untilMs);
      if (dropped.predictions.length + dropped.labelCount === 0) {
        break;
      }
      for (const { layout, sequence, eventTimeUs, payload } of dropped.predictions) {
        const sketch = this.#sketches.get(releaseKey(layout));
        if (sketch?.covers(sequence) === true) {
          sketch.count(layout, eventTimeUs, new PayloadNumbers(payload), 0, -1);
        }
      }
      droppedPredictions += dropped.predictions.length;
      droppedLabels += dropped.labelCount;
      usage = await this.#log.usage();
    }
    return { droppedPredictions, droppedLabels, usage };
  }

  #addSketch(parts: ReleaseParts, until: number): ReleaseSketch {
    const { bucketUs, bucketsMax, releasesMax } = this.#options;
    const sketch = new ReleaseSketch(parts, until, { us: bucketUs, max: bucketsMax });
    this.#sketches.set(releaseKey(parts), sketch);
    for (const [key, other] of this.#sketches) {
      if (this.#sketches.size <= releasesMax) {
        break;
      }
      // One that a question waits for stays: rows that are appended meanwhile must reach it.
      if (other.userCount === 0 && other !== sketch) {
        this.#sketches.delete(key);
      }
    }
    return sketch;
  }

  /** Keeps a release, and forgets the first of too many; those are put again when they are asked for. */
  #keepParts(parts: ReleaseParts): void {
    this.#parts.set(releaseKey(parts), parts);
    if (this.#parts.size > 4 * this.#options.releasesMax) {
      const [oldest] = this.#parts.keys();
      this.#parts.delete(oldest ?? "");
    }
  }

  /** Reads the log until every sketch is complete; one reader at a time. */
  #read(): Promise<void> {
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined;
    });
    // Who waits for it hears of its failure; without a waiter the next question tries again.
    this.#reading.catch(() => undefined);
    return this.#reading;
  }

  async #completed(sketch: ReleaseSketch): Promise<void> {
    this.#waitingCount++;
    try {
      while (!sketch.isComplete) {
        this.#checkOpen();
        await this.#read();
      }
    } finally {
      this.#waitingCount--;
    }
  }

  async #readAll(): Promise<void> {
    const { pause, stopwatchMs } = this.#options;
    let pageMs = 0;
    for (;;) {
      await pause(this.#waitingCount > 0 || this.#isClosed ? 0 : Math.min(REST_MAX_MS, REST_FACTOR * pageMs));
      const startMs = stopwatchMs();
      const isDone = await this.#exclusive(async () => {
        const behind = [...this.#sketches.values()].filter((sketch) => !sketch.isComplete);
        if (behind.length === 0 || this.#isClosed) {
          return true;
        }
        await this.#readPage(behind);
        return false;
      });
      if (isDone) {
        return;
      }
      pageMs = stopwatchMs() - startMs;
    }
  }

  async #readPage(behind: readonly ReleaseSketch[]): Promise<void> {
    const { pageRows } = this.#options;
    const rows = await this.#log.scan(Math.min(...behind.map(({ cursor }) => cursor)), pageRows);
    const sketches = new Map<PredictionLayout, ReleaseSketch | undefined>();
    for (const { layout, sequence, eventTimeUs, payload } of rows) {
      if (!sketches.has(layout)) {
        const key = releaseKey(layout);
        sketches.set(
          layout,
          behind.find(({ parts }) => releaseKey(parts) === key),
        );
      }
      const sketch = sketches.get(layout);
      if (sketch !== undefined && !sketch.covers(sequence)) {
        sketch.count(layout, eventTimeUs, new PayloadNumbers(payload), 0, 1);
      }
    }
    const end = rows.length < pageRows ? Number.POSITIVE_INFINITY : (rows.at(-1)?.sequence ?? 0);
    for (const sketch of behind) {
      sketch.cursor = Math.max(sketch.cursor, Math.min(end, sketch.until));
    }
  }

  #bucketStart(eventTimeUs: number): number {
    return Math.floor(eventTimeUs / this.#options.bucketUs) * this.#options.bucketUs;
  }

  /** Runs calls one after the other: between the rows of an append and their histogram nothing else happens. */
  #exclusive<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(run);
    this.#tail = result.catch(() => undefined);
    return result;
  }
}

function releaseKey({ scenario, releaseId }: { readonly scenario: string; readonly releaseId: string }): string {
  return `${scenario}\n${releaseId}`;
}
