import { errors } from "../errors.ts";

/** The call that an item answers, as a batcher sees it. */
export interface BatchableCall {
  /** Time after which the item must not be run, in milliseconds since 1970; Infinity: none. */
  readonly deadlineMs: number;
  /** Set when the call has ended early; read just before the item would be run. */
  readonly cancelled: "cancelled" | "deadline" | undefined;
}

/** What can wait in a batcher. */
export interface Batchable {
  /** Rows it adds to a batch, 1 or more. */
  readonly rowCount: number;
  readonly call: BatchableCall;
}

/** Bounds of a batcher. */
export interface BatcherLimits {
  /** Most rows in a batch; a larger item runs on its own. */
  readonly batchRowsMax: number;
  /** Most rows that wait. */
  readonly queueRowsMax: number;
  /** Longest that the oldest item waits for a batch to fill, in milliseconds; 0: until the event-loop turn ends. */
  readonly queueDelayMs: number;
}

/** Time and the event loop, as a batcher sees them. */
export interface BatcherSchedule {
  /** Milliseconds since 1970. */
  nowMs(): number;
  /** Calls once when the current turn of the event loop has read its input. */
  atTurnEnd(callback: () => void): void;
  setTimer(delayMs: number, callback: () => void): { cancel(): void };
}

/** Hears of what a batcher does; called on the hot path. */
export interface BatcherObserver {
  /** A batch is about to run; `waitedMs` is the queue delay of its oldest item. */
  dispatched(itemCount: number, rowCount: number, waitedMs: number): void;
  /** Rows that wait, after each dispatch. */
  waiting(rowCount: number): void;
  shed(): void;
  expired(): void;
  cancelled(): void;
}

/** Runs a batch; answers one outcome an item, in order. An Error fails that item alone; a throw fails the batch. */
export type BatchRunner<Item, Answer> = (
  items: readonly Item[],
  rowCount: number,
) => readonly (Answer | Error)[] | Promise<readonly (Answer | Error)[]>;

interface Waiting<Item, Answer> {
  readonly item: Item;
  readonly enqueuedMs: number;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Forms batches from items that arrive one by one, in order of arrival and one batch at a time: whatever one turn of
 * the event loop has read goes into one run of the model. Expired and cancelled items are dropped before execution. A
 * backlog leaves at one batch a turn, so that refusals and cancellations are read in between.
 */
export class DynamicBatcher<Item extends Batchable, Answer> {
  private readonly limits: BatcherLimits;
  private readonly schedule: BatcherSchedule;
  private readonly runner: BatchRunner<Item, Answer>;
  private readonly observer: BatcherObserver;
  /** Items from `head` on wait. */
  private queue: Waiting<Item, Answer>[] = [];
  private head = 0;
  private waitingRows = 0;
  private turnEndAsked = false;
  private timer: { cancel(): void } | undefined;
  private running = false;
  private swept = false;
  private closed = false;
  private readonly onTurnEnd = (): void => {
    this.turnEndAsked = false;
    this.dispatch();
  };

  constructor(
    limits: BatcherLimits,
    schedule: BatcherSchedule,
    runner: BatchRunner<Item, Answer>,
    observer: BatcherObserver,
  ) {
    this.limits = limits;
    this.schedule = schedule;
    this.runner = runner;
    this.observer = observer;
  }

  /** Rows that wait. */
  get waitingRowCount(): number {
    return this.waitingRows;
  }

  /** Adds an item. Rejects at once with QUEUE_FULL, REQUEST_TOO_LARGE or SHUTTING_DOWN; later as its batch does. */
  submit(item: Item): Promise<Answer> {
    const { queueRowsMax, batchRowsMax, queueDelayMs } = this.limits;
    if (this.closed) return Promise.reject(errors.SHUTTING_DOWN({}));
    if (item.rowCount > queueRowsMax) {
      return Promise.reject(errors.REQUEST_TOO_LARGE({ rows: item.rowCount, rowsMax: queueRowsMax }));
    }
    if (this.waitingRows + item.rowCount > queueRowsMax) {
      this.sweep();
      if (this.waitingRows + item.rowCount > queueRowsMax) {
        this.observer.shed();
        return Promise.reject(errors.QUEUE_FULL({ rowsMax: queueRowsMax }));
      }
    }
    return new Promise((resolve, reject) => {
      this.queue.push({ item, enqueuedMs: this.schedule.nowMs(), resolve, reject });
      this.waitingRows += item.rowCount;
      if (this.running || this.turnEndAsked) return;
      if (queueDelayMs === 0 || this.waitingRows >= batchRowsMax) this.askTurnEnd();
      else this.timer ??= this.schedule.setTimer(queueDelayMs, this.onTimer);
    });
  }

  /** Refuses what waits and what comes; a running batch still answers. */
  close(): void {
    this.closed = true;
    this.timer?.cancel();
    this.timer = undefined;
    for (const waiting of this.queue.splice(this.head)) waiting.reject(errors.SHUTTING_DOWN({}));
    this.queue = [];
    this.head = 0;
    this.waitingRows = 0;
  }

  private readonly onTimer = (): void => {
    this.timer = undefined;
    this.dispatch();
  };

  private askTurnEnd(): void {
    this.timer?.cancel();
    this.timer = undefined;
    this.turnEndAsked = true;
    this.schedule.atTurnEnd(this.onTurnEnd);
  }

  private dispatch(): void {
    if (this.running || this.closed) return;
    const nowMs = this.schedule.nowMs();
    const batch: Waiting<Item, Answer>[] = [];
    const rowCount = this.take(batch, nowMs);
    this.swept = false;
    const oldest = batch[0];
    if (oldest !== undefined) {
      this.observer.dispatched(batch.length, rowCount, nowMs - oldest.enqueuedMs);
      this.observer.waiting(this.waitingRows);
      this.run(batch, rowCount);
    }
    if (!this.running) this.askNext();
  }

  /** Moves the head of the queue into a batch, up to its bound; answers its rows. */
  private take(batch: Waiting<Item, Answer>[], nowMs: number): number {
    const { batchRowsMax } = this.limits;
    const queue = this.queue;
    let rowCount = 0;
    while (this.head < queue.length && rowCount < batchRowsMax) {
      const waiting = queue[this.head] as Waiting<Item, Answer>;
      const rows = waiting.item.rowCount;
      if (!this.dropped(waiting, nowMs)) {
        if (rowCount > 0 && rowCount + rows > batchRowsMax) break;
        batch.push(waiting);
        rowCount += rows;
      }
      this.head += 1;
      this.waitingRows -= rows;
    }
    if (this.head === queue.length) {
      this.queue = [];
      this.head = 0;
    } else if (this.head > 1024 && this.head * 2 > queue.length) {
      this.queue = queue.slice(this.head);
      this.head = 0;
    }
    return rowCount;
  }

  /** Refuses an item that must not run any more. */
  private dropped(waiting: Waiting<Item, Answer>, nowMs: number): boolean {
    const { deadlineMs, cancelled } = waiting.item.call;
    if (deadlineMs <= nowMs || cancelled === "deadline") {
      this.observer.expired();
      waiting.reject(errors.DEADLINE_PASSED({}));
      return true;
    }
    if (cancelled === undefined) return false;
    this.observer.cancelled();
    waiting.reject(errors.REQUEST_CANCELLED({}));
    return true;
  }

  /** Makes room in a full queue: drops what is dead anywhere in it, at most once a dispatch. */
  private sweep(): void {
    if (this.swept) return;
    this.swept = true;
    const nowMs = this.schedule.nowMs();
    const live = this.queue.slice(this.head).filter((waiting) => {
      const dropped = this.dropped(waiting, nowMs);
      if (dropped) this.waitingRows -= waiting.item.rowCount;
      return !dropped;
    });
    this.queue = live;
    this.head = 0;
  }

  private run(batch: readonly Waiting<Item, Answer>[], rowCount: number): void {
    try {
      const outcomes = this.runner(
        batch.map((waiting) => waiting.item),
        rowCount,
      );
      if (!("then" in outcomes)) {
        settle(batch, outcomes);
        return;
      }
      this.running = true;
      outcomes
        .then(
          (answers) => settle(batch, answers),
          (error: unknown) => fail(batch, error),
        )
        .finally(() => {
          this.running = false;
          this.askNext();
        });
    } catch (error) {
      fail(batch, error);
    }
  }

  private askNext(): void {
    const oldest = this.queue[this.head];
    if (oldest === undefined || this.turnEndAsked || this.closed) return;
    const { queueDelayMs, batchRowsMax } = this.limits;
    const leftMs = oldest.enqueuedMs + queueDelayMs - this.schedule.nowMs();
    if (leftMs <= 0 || this.waitingRows >= batchRowsMax) this.askTurnEnd();
    else this.timer ??= this.schedule.setTimer(leftMs, this.onTimer);
  }
}

function settle<Item, Answer>(batch: readonly Waiting<Item, Answer>[], outcomes: readonly (Answer | Error)[]): void {
  for (let i = 0; i < batch.length; i += 1) {
    const outcome = outcomes[i];
    const waiting = batch[i] as Waiting<Item, Answer>;
    if (outcome instanceof Error) waiting.reject(outcome);
    else if (outcome === undefined)
      waiting.reject(new Error(`the runner answered ${outcomes.length} of ${batch.length}`));
    else waiting.resolve(outcome);
  }
}

function fail<Item, Answer>(batch: readonly Waiting<Item, Answer>[], error: unknown): void {
  for (const waiting of batch) waiting.reject(error);
}
