/** A timer source; time comes in as an argument. */
export interface Timers {
  setTimer(delayMs: number, run: () => void): { cancel(): void };
}

/** Limits of a queue. */
export interface BatchQueueOptions<T> {
  /** Items that may wait. */
  readonly queueMax: number;
  /** Weight that may wait, in the unit of `weigh`. */
  readonly weightMax: number;
  /** Weight of an item, for example its bytes. */
  readonly weigh: (item: T) => number;
  /** Items a batch. */
  readonly batchMax: number;
  /** Longest time that an item waits for its batch to fill, in milliseconds. */
  readonly delayMs: number;
  readonly timers: Timers;
  /** Does the work of a batch; one at a time. Must not reject. */
  readonly run: (batch: readonly T[]) => Promise<void>;
}

/** A bounded queue worked off in batches, one batch at a time, away from the requests that fill it. */
export class BatchQueue<T> {
  readonly #options: BatchQueueOptions<T>;
  #waiting: T[] = [];
  #weight = 0;
  #timer: { cancel(): void } | undefined;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(options: BatchQueueOptions<T>) {
    this.#options = options;
  }

  /** Items that wait; those of the batch under way are not counted. */
  get length(): number {
    return this.#waiting.length;
  }

  /** Takes an item; false, and nothing kept, when the queue is full or closed. */
  push(item: T): boolean {
    const { queueMax, weightMax, weigh, batchMax, delayMs, timers } = this.#options;
    const weight = weigh(item);
    if (this.#closed || this.#waiting.length >= queueMax || this.#weight + weight > weightMax) return false;
    this.#waiting.push(item);
    this.#weight += weight;
    if (this.#running !== undefined) return true;
    if (this.#waiting.length >= batchMax) this.#start();
    else this.#timer ??= timers.setTimer(delayMs, this.#start);
    return true;
  }

  /** Refuses new items and ends when what waits is done, or when nothing is left to wait for after `abandon` resolves. */
  async close(abandon: Promise<void>): Promise<void> {
    this.#closed = true;
    let abandoned = false;
    const end = abandon.then(() => {
      abandoned = true;
    });
    while (!abandoned && (this.#running !== undefined || this.#waiting.length > 0)) {
      if (this.#running === undefined) this.#start();
      await Promise.race([this.#running, end]);
    }
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  readonly #start = (): void => {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#running !== undefined || this.#waiting.length === 0) return;
    const { batchMax, weigh } = this.#options;
    const batch = this.#waiting.splice(0, batchMax);
    for (const item of batch) this.#weight -= weigh(item);
    this.#running = this.#options.run(batch).finally(() => {
      this.#running = undefined;
      if (this.#waiting.length === 0) return;
      if (this.#waiting.length >= batchMax || this.#closed) this.#start();
      else this.#timer ??= this.#options.timers.setTimer(this.#options.delayMs, this.#start);
    });
  };
}
