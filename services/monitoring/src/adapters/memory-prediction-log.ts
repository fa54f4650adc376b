import type { LabelRecord, PackedPredictions, StoredPrediction } from "../domain/prediction.ts";
import {
  type Appended,
  type AppendedLabels,
  type Dropped,
  type LabelledPage,
  type LabelledQuery,
  LogFailure,
  type LoggedRelease,
  type LogUsage,
  type PredictionLog,
} from "../domain/prediction-log.ts";
import type { ReleaseParts } from "../domain/release-parts.ts";

/** A prediction log in memory, for tests and for trying things out: nothing outlives the process. */
export class MemoryPredictionLog implements PredictionLog {
  readonly #sizeMaxBytes: number;
  /** By sequence, ascending. */
  readonly #predictions = new Map<number, StoredPrediction & { readonly loggedMs: number }>();
  readonly #sequences = new Map<string, number>();
  readonly #labels = new Map<string, StoredLabel>();
  readonly #releases = new Map<string, { parts: ReleaseParts | undefined }>();
  #lastSequence = 0;
  #sizeBytes = 0;
  #isOpen = true;

  /** `sizeMaxBytes`: an append that would pass it is refused with `full`. */
  constructor(sizeMaxBytes: number) {
    this.#sizeMaxBytes = sizeMaxBytes;
  }

  async append(batch: PackedPredictions, loggedMs: number): Promise<Appended> {
    this.#check();
    if (this.#sizeBytes + batch.payloads.length > this.#sizeMaxBytes) {
      throw new LogFailure("full", "no space is left for the prediction log");
    }
    const isNew = new Uint8Array(batch.count);
    let newCount = 0;
    let joinedCount = 0;
    for (let row = 0; row < batch.count; row++) {
      const layout = batch.layouts[batch.layoutIndexes[row] ?? 0];
      const requestId = batch.requestIds[row];
      const item = batch.items[row];
      if (layout === undefined || requestId === undefined || item === undefined) {
        throw new RangeError(`row ${row} is incomplete`);
      }
      const key = JSON.stringify([requestId, item]);
      if (this.#sequences.has(key)) {
        continue;
      }
      const start = batch.payloadStarts[row] ?? 0;
      const payload = batch.payloads.slice(start, start + (batch.payloadLengths[row] ?? 0));
      const sequence = ++this.#lastSequence;
      const eventTimeUs = batch.eventTimesUs[row] ?? 0;
      this.#predictions.set(sequence, { sequence, layout, requestId, item, eventTimeUs, payload, loggedMs });
      this.#sequences.set(key, sequence);
      this.#sizeBytes += payload.length;
      const releaseKey = JSON.stringify([layout.scenario, layout.releaseId]);
      if (!this.#releases.has(releaseKey)) {
        this.#releases.set(releaseKey, { parts: undefined });
      }
      isNew[row] = 1;
      newCount++;
      const label = this.#labels.get(JSON.stringify([requestId, item, layout.scenario]));
      if (label !== undefined && label.sequence === undefined) {
        label.sequence = sequence;
        joinedCount++;
      }
    }
    return { isNew, newCount, joinedCount };
  }

  async appendLabels(scenario: string, labels: readonly LabelRecord[], receivedMs: number): Promise<AppendedLabels> {
    this.#check();
    let changedCount = 0;
    let joinedCount = 0;
    for (const { requestId, item, value, labelTimeUs } of labels) {
      const found = this.#sequences.get(JSON.stringify([requestId, item]));
      const isOfScenario = found !== undefined && this.#predictions.get(found)?.layout.scenario === scenario;
      const sequence = isOfScenario ? found : undefined;
      joinedCount += sequence === undefined ? 0 : 1;
      const key = JSON.stringify([requestId, item, scenario]);
      const known = this.#labels.get(key);
      if (known === undefined) {
        this.#labels.set(key, { value, labelTimeUs, receivedMs, sequence });
        changedCount++;
      } else if (labelTimeUs > known.labelTimeUs || (labelTimeUs === known.labelTimeUs && value > known.value)) {
        known.value = value;
        known.labelTimeUs = labelTimeUs;
        changedCount++;
      }
    }
    return { changedCount, joinedCount };
  }

  async scan(afterSequence: number, limit: number): Promise<readonly StoredPrediction[]> {
    this.#check();
    const rows: StoredPrediction[] = [];
    for (const { loggedMs: _, ...prediction } of this.#predictions.values()) {
      if (prediction.sequence > afterSequence && rows.length < limit) {
        rows.push(prediction);
      }
    }
    return rows;
  }

  async scanBack(beforeSequence: number, limit: number): Promise<readonly StoredPrediction[]> {
    this.#check();
    const before = [...this.#predictions.values()].filter(({ sequence }) => sequence < beforeSequence);
    return before
      .slice(-limit)
      .reverse()
      .map(({ loggedMs: _, ...prediction }) => prediction);
  }

  async labelled({ scenario, releaseId, fromUs, toUs, after, limit }: LabelledQuery): Promise<LabelledPage> {
    this.#check();
    const rows: { prediction: StoredPrediction; label: number }[] = [];
    for (const { sequence, value } of this.#labels.values()) {
      const stored = sequence === undefined ? undefined : this.#predictions.get(sequence);
      if (stored === undefined || stored.layout.releaseId !== releaseId || stored.layout.scenario !== scenario) {
        continue;
      }
      const { loggedMs: _, ...prediction } = stored;
      const isAfter =
        after === undefined ||
        prediction.eventTimeUs > after.eventTimeUs ||
        (prediction.eventTimeUs === after.eventTimeUs && prediction.sequence > after.sequence);
      if (prediction.eventTimeUs >= fromUs && prediction.eventTimeUs <= toUs && isAfter) {
        rows.push({ prediction, label: value });
      }
    }
    rows.sort(
      (a, b) => a.prediction.eventTimeUs - b.prediction.eventTimeUs || a.prediction.sequence - b.prediction.sequence,
    );
    const page = rows.slice(0, limit);
    const last = page.at(-1)?.prediction;
    const hasMore = page.length === limit && last !== undefined;
    return { rows: page, next: hasMore ? { eventTimeUs: last.eventTimeUs, sequence: last.sequence } : undefined };
  }

  async releases(scenario: string): Promise<readonly LoggedRelease[]> {
    this.#check();
    const newest = new Map<string, number>();
    for (const { layout, eventTimeUs } of this.#predictions.values()) {
      const key = JSON.stringify([layout.scenario, layout.releaseId]);
      newest.set(key, Math.max(newest.get(key) ?? 0, eventTimeUs));
    }
    const found: LoggedRelease[] = [];
    for (const key of this.#releases.keys()) {
      const [itsScenario, releaseId] = JSON.parse(key) as [string, string];
      const newestUs = newest.get(key);
      if (newestUs !== undefined && (scenario === "" || scenario === itsScenario)) {
        found.push({ releaseId, scenario: itsScenario, newestUs });
      }
    }
    return found;
  }

  async putRelease(parts: ReleaseParts): Promise<void> {
    this.#check();
    const key = JSON.stringify([parts.scenario, parts.releaseId]);
    const release = this.#releases.get(key);
    if (release === undefined) {
      this.#releases.set(key, { parts });
    } else {
      release.parts = parts;
    }
  }

  async releaseParts(): Promise<readonly ReleaseParts[]> {
    this.#check();
    return [...this.#releases.values()].flatMap(({ parts }) => (parts === undefined ? [] : [parts]));
  }

  async dropOldest(limit: number, untilMs: number): Promise<Dropped> {
    this.#check();
    const oldest = this.#predictions.values().next().value?.loggedMs ?? Number.POSITIVE_INFINITY;
    const waiting = [...this.#labels].filter(([, label]) => label.sequence === undefined);
    waiting.sort(([, a], [, b]) => a.receivedMs - b.receivedMs);
    if ((waiting[0]?.[1].receivedMs ?? Number.POSITIVE_INFINITY) < oldest) {
      const dropped = waiting.filter(([, { receivedMs }]) => receivedMs <= untilMs && receivedMs < oldest);
      for (const [key] of dropped.slice(0, limit)) {
        this.#labels.delete(key);
      }
      return { predictions: [], labelCount: Math.min(limit, dropped.length) };
    }
    const predictions: StoredPrediction[] = [];
    let labelCount = 0;
    for (const { loggedMs, ...prediction } of this.#predictions.values()) {
      if (loggedMs > untilMs || predictions.length === limit) {
        break;
      }
      predictions.push(prediction);
      this.#predictions.delete(prediction.sequence);
      this.#sequences.delete(JSON.stringify([prediction.requestId, prediction.item]));
      this.#sizeBytes -= prediction.payload.length;
      const labelKey = JSON.stringify([prediction.requestId, prediction.item, prediction.layout.scenario]);
      labelCount += this.#labels.delete(labelKey) ? 1 : 0;
    }
    if (predictions.length > 0) {
      const left = new Set(
        (await this.releases("")).map((release) => JSON.stringify([release.scenario, release.releaseId])),
      );
      for (const key of this.#releases.keys()) {
        if (!left.has(key)) {
          this.#releases.delete(key);
        }
      }
    }
    return { predictions, labelCount };
  }

  async usage(): Promise<LogUsage> {
    this.#check();
    const waiting = [...this.#labels.values()].filter(({ sequence }) => sequence === undefined);
    const arrivals = [
      this.#predictions.values().next().value?.loggedMs ?? Number.POSITIVE_INFINITY,
      ...waiting.map(({ receivedMs }) => receivedMs),
    ];
    const oldestMs = Math.min(...arrivals);
    return {
      sizeBytes: this.#sizeBytes,
      predictionCount: this.#predictions.size,
      labelCount: this.#labels.size,
      waitingLabelCount: waiting.length,
      oldestMs: Number.isFinite(oldestMs) ? oldestMs : undefined,
      lastSequence: this.#lastSequence,
    };
  }

  async close(): Promise<void> {
    this.#isOpen = false;
  }

  #check(): void {
    if (!this.#isOpen) {
      throw new LogFailure("closed", "the prediction log is closed");
    }
  }
}

interface StoredLabel {
  value: number;
  labelTimeUs: number;
  readonly receivedMs: number;
  sequence: number | undefined;
}
