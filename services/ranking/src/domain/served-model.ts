import { BatchExecutor, type InferenceAnswer, type InferenceItem } from "./batch-executor.ts";
import { type BatcherLimits, type BatcherObserver, type BatcherSchedule, DynamicBatcher } from "./dynamic-batcher.ts";
import type { ModelIdentity } from "./model-catalog.ts";
import type { ModelSession } from "./model-session.ts";
import { datatypes, rowElements, type Signature } from "./signature.ts";

/** Hears of what a served model does; called on the hot path. */
export interface ModelObserver extends BatcherObserver {
  /** A batch has run, in this many seconds. */
  inferred(seconds: number): void;
  failed(): void;
}

/** What a served model needs. */
export interface ServedModelOptions {
  readonly identity: ModelIdentity;
  readonly session: ModelSession;
  readonly limits: BatcherLimits;
  readonly nanRefused: boolean;
  readonly schedule: BatcherSchedule;
  readonly observer: ModelObserver;
}

/** A model version with its queue: rows in, outputs out. */
export class ServedModel implements ModelIdentity {
  readonly scenario: string;
  readonly name: string;
  readonly version: string;
  readonly signature: Signature;
  /** Whether requests share runs; otherwise each runs with the shape it came in. */
  readonly batched: boolean;
  private readonly session: ModelSession;
  private readonly executor: BatchExecutor;
  private readonly batcher: DynamicBatcher<InferenceItem, InferenceAnswer>;
  private readonly limits: BatcherLimits;

  constructor({ identity, session, limits, nanRefused, schedule, observer }: ServedModelOptions) {
    this.scenario = identity.scenario;
    this.name = identity.name;
    this.version = identity.version;
    this.session = session;
    this.signature = session.signature;
    this.limits = limits;
    const executor = new BatchExecutor(session, {
      model: identity.name,
      version: identity.version,
      bufferRows: limits.batchRowsMax,
      nanRefused,
    });
    this.executor = executor;
    this.batched = executor.batched;
    const observe = (startMs: number) => observer.inferred((schedule.nowMs() - startMs) / 1_000);
    this.batcher = new DynamicBatcher(
      executor.batched ? limits : { ...limits, batchRowsMax: 1 },
      schedule,
      (items, rowCount) => {
        const startMs = schedule.nowMs();
        try {
          const outcomes = executor.run(items, rowCount);
          if (!("then" in outcomes)) {
            observe(startMs);
            return outcomes;
          }
          return outcomes.then(
            (answers) => {
              observe(startMs);
              return answers;
            },
            (error: unknown) => {
              observer.failed();
              throw error;
            },
          );
        } catch (error) {
          observer.failed();
          throw error;
        }
      },
      observer,
    );
  }

  /** Runs rows in the next batch that has room. Rejects with the batcher's and the executor's reasons. */
  infer(item: InferenceItem): Promise<InferenceAnswer> {
    return this.batcher.submit(item);
  }

  /**
   * Runs the model `runCount` times at each batch size it will see: one row, a full batch and the powers of four
   * between. `rows` are recorded requests, used in turn; zeros without them. Throws MODEL_FAILED.
   */
  async warm(runCount: number, rows: readonly (readonly Uint8Array[])[]): Promise<void> {
    const { inputs } = this.signature;
    const call = { deadlineMs: Number.POSITIVE_INFINITY, cancelled: undefined };
    const shapes = inputs.map((input) => input.shape.map((size) => (size === -1 ? 1 : size)));
    const zeros = inputs.map((input, i) => {
      const elements = this.batched
        ? rowElements(input)
        : (shapes[i] ?? []).reduce((product, size) => product * size, 1);
      return new Uint8Array(elements * datatypes[input.datatype].sizeBytes);
    });
    const recorded = this.batched && rows.length > 0 ? rows : [zeros];
    for (const size of this.batched ? warmupSizes(this.limits.batchRowsMax) : [1]) {
      const items = Array.from({ length: size }, (_, i) => ({
        rowCount: 1,
        call,
        shapes,
        inputs: recorded[i % recorded.length] ?? zeros,
      }));
      for (let run = 0; run < runCount; run += 1) {
        for (const outcome of await this.executor.run(items, size)) if (outcome instanceof Error) throw outcome;
      }
    }
  }

  /** Refuses what waits and lets the session go. */
  async close(): Promise<void> {
    this.batcher.close();
    await this.session.close();
  }
}

function warmupSizes(batchRowsMax: number): readonly number[] {
  const sizes: number[] = [];
  for (let size = 1; size < batchRowsMax; size *= 4) sizes.push(size);
  return [...sizes, batchRowsMax];
}
