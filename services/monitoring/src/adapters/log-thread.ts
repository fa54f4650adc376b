import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type {
  AppendReport,
  DriftAnswer,
  DriftQuery,
  LabelReport,
  MaintenanceReport,
  MonitoringLog,
} from "../domain/log-engine.ts";
import type { LabelRecord, PackedPredictions, StoredPrediction } from "../domain/prediction.ts";
import { LogFailure, type LoggedRelease } from "../domain/prediction-log.ts";
import type { ReleaseParts } from "../domain/release-parts.ts";
import type { LogCall, LogReply, LogThreadSettings } from "./log-thread-protocol.ts";

/** Settings of a log thread. */
export interface LogThreadOptions extends LogThreadSettings {
  /** Bytes of predictions and labels that may wait for the thread; more are refused with `busy`. */
  readonly queueBytesMax: number;
  /** Starts the thread; for tests that end it. */
  readonly start?: (settings: LogThreadSettings) => Worker;
  /** Hears whether the thread answers. */
  readonly onState: (isUp: boolean) => void;
  /** Runs once after a delay; used to start the thread again when it has died. */
  readonly setTimer: (delayMs: number, callback: () => void) => { cancel(): void };
}

const RESTART_MS = 1000;
/** What a label takes while it waits, roughly. */
const LABEL_BYTES = 128;

/**
 * The SQLite log on a worker thread: writing, waiting for the disk and counting histograms cost the event loop nothing
 * but packing. Predictions cross by transfer, not by copy. A thread that dies is started again; what it had not answered
 * is refused and may be sent again, since appends are idempotent.
 */
export class LogThread implements MonitoringLog {
  readonly #options: LogThreadOptions;
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #lastId = 0;
  #queuedBytes = 0;
  #isClosed = false;
  #restart: { cancel(): void } | undefined;

  /** Starts the thread and waits until the log is open. */
  static async start(options: LogThreadOptions): Promise<LogThread> {
    const thread = new LogThread(options);
    await thread.#start();
    return thread;
  }

  private constructor(options: LogThreadOptions) {
    this.#options = options;
  }

  /** Bytes of predictions and labels that wait for the thread. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  append(batch: PackedPredictions, nowMs: number): Promise<AppendReport> {
    const { payloads, layoutIndexes, eventTimesUs, payloadStarts, payloadLengths } = batch;
    const transfer = [payloads, layoutIndexes, eventTimesUs, payloadStarts, payloadLengths].map(
      ({ buffer }) => buffer as ArrayBuffer,
    );
    return this.#call("append", [batch, nowMs], payloads.buffer.byteLength, transfer);
  }

  appendLabels(scenario: string, labels: readonly LabelRecord[], nowMs: number): Promise<LabelReport> {
    return this.#call("appendLabels", [scenario, labels, nowMs], labels.length * LABEL_BYTES);
  }

  putRelease(parts: ReleaseParts): Promise<void> {
    return this.#call("putRelease", [parts]);
  }

  releaseParts(): Promise<readonly ReleaseParts[]> {
    return this.#call("releaseParts", []);
  }

  releases(scenario: string): Promise<readonly LoggedRelease[]> {
    return this.#call("releases", [scenario]);
  }

  drift(query: DriftQuery): Promise<DriftAnswer> {
    return this.#call("drift", [query]);
  }

  scan(afterSequence: number, limit: number): Promise<readonly StoredPrediction[]> {
    return this.#call("scan", [afterSequence, limit]);
  }

  scanBack(beforeSequence: number, limit: number): Promise<readonly StoredPrediction[]> {
    return this.#call("scanBack", [beforeSequence, limit]);
  }

  maintain(nowMs: number): Promise<MaintenanceReport> {
    return this.#call("maintain", [nowMs]);
  }

  /** Closes the log after everything that waits, and ends the thread. */
  async close(): Promise<void> {
    if (this.#isClosed) {
      return;
    }
    this.#restart?.cancel();
    const worker = this.#worker;
    const closing = worker === undefined ? undefined : this.#call<void>("close", []);
    this.#isClosed = true;
    try {
      await closing;
    } finally {
      this.#worker = undefined;
      await worker?.terminate();
    }
  }

  #start(): Promise<void> {
    const { log, engine } = this.#options;
    const worker = this.#options.start?.({ log, engine }) ?? startWorker({ log, engine });
    return new Promise((resolve, reject) => {
      let isUp = false;
      worker.on("message", (message: LogReply) => {
        if (message.id === 0) {
          if ("fault" in message) {
            reject(new LogFailure(message.fault, message.message));
            return;
          }
          isUp = true;
          this.#worker = worker;
          this.#options.onState(true);
          resolve();
          return;
        }
        const pending = this.#pending.get(message.id);
        if (pending !== undefined) {
          this.#settle(message.id, pending);
          if ("fault" in message) {
            pending.reject(new LogFailure(message.fault, message.message));
          } else {
            pending.resolve(message.value);
          }
        }
      });
      let cause: unknown;
      worker.on("error", (error) => {
        cause = error;
      });
      worker.on("exit", () => {
        const failure = new LogFailure("down", "the log's thread has ended", cause);
        reject(failure);
        if (isUp) {
          this.#ended(failure);
        }
      });
    });
  }

  #ended(failure: LogFailure): void {
    this.#worker = undefined;
    for (const [id, pending] of this.#pending) {
      this.#settle(id, pending);
      pending.reject(failure);
    }
    if (!this.#isClosed) {
      this.#options.onState(false);
      this.#startAgain();
    }
  }

  #startAgain(): void {
    this.#restart = this.#options.setTimer(RESTART_MS, () => {
      this.#start().catch(() => {
        if (!this.#isClosed) {
          this.#startAgain();
        }
      });
    });
  }

  #call<T>(
    method: keyof MonitoringLog,
    values: readonly unknown[],
    bytes = 0,
    transfer: ArrayBuffer[] = [],
  ): Promise<T> {
    const worker = this.#worker;
    if (worker === undefined || this.#isClosed) {
      const failure = this.#isClosed
        ? new LogFailure("closed", "the prediction log is closed")
        : new LogFailure("down", "the log's thread is starting again");
      return Promise.reject(failure);
    }
    if (bytes > 0 && this.#queuedBytes > 0 && this.#queuedBytes + bytes > this.#options.queueBytesMax) {
      return Promise.reject(new LogFailure("busy", `${this.#queuedBytes} bytes wait for the prediction log`));
    }
    const id = ++this.#lastId;
    this.#queuedBytes += bytes;
    return new Promise<T>((resolve, reject) => {
      this.#pending.set(id, { resolve: resolve as (value: unknown) => void, reject, bytes });
      worker.postMessage({ id, method, values } satisfies LogCall, transfer);
    });
  }

  #settle(id: number, pending: Pending): void {
    this.#pending.delete(id);
    this.#queuedBytes -= pending.bytes;
  }
}

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly bytes: number;
}

/** Starts the thread with the program beside this file. */
export function startWorker(settings: LogThreadSettings): Worker {
  return new Worker(join(__dirname, "log-thread.worker.js"), { workerData: settings, name: "prediction-log" });
}
