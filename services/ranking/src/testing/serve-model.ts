import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OnnxSession } from "../adapters/onnx-session.ts";
import type { BatcherLimits } from "../domain/dynamic-batcher.ts";
import type { ModelSession } from "../domain/model-session.ts";
import { type ModelObserver, ServedModel } from "../domain/served-model.ts";

/** Opens an ONNX file given as bytes; the file is gone when this answers. */
export function openModel(bytes: Uint8Array): OnnxSession {
  const folder = mkdtempSync(join(tmpdir(), "weft-model-"));
  try {
    const path = join(folder, "model.onnx");
    writeFileSync(path, bytes);
    return OnnxSession.open(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Counts of what a served model reported. */
export interface Observed {
  batches: { items: number; rows: number }[];
  shed: number;
  expired: number;
  cancelled: number;
  failed: number;
}

/** What a test may choose of a served model. */
export interface ServeOptions {
  readonly scenario?: string;
  readonly name?: string;
  readonly version?: string;
  readonly limits?: Partial<BatcherLimits>;
  readonly nanRefused?: boolean;
}

/** A served model on the real event loop, and what it reports. */
export function serveModel(
  session: ModelSession,
  options: ServeOptions = {},
): { model: ServedModel; observed: Observed } {
  const observed: Observed = { batches: [], shed: 0, expired: 0, cancelled: 0, failed: 0 };
  const observer: ModelObserver = {
    dispatched: (items, rows) => observed.batches.push({ items, rows }),
    waiting: () => {},
    inferred: () => {},
    shed: () => (observed.shed += 1),
    expired: () => (observed.expired += 1),
    cancelled: () => (observed.cancelled += 1),
    failed: () => (observed.failed += 1),
  };
  const model = new ServedModel({
    identity: { scenario: options.scenario ?? "test", name: options.name ?? "model", version: options.version ?? "1" },
    session,
    limits: { batchRowsMax: 64, queueRowsMax: 1024, queueDelayMs: 0, ...options.limits },
    nanRefused: options.nanRefused ?? false,
    schedule: {
      nowMs: () => Date.now(),
      atTurnEnd: (callback) => void setImmediate(callback),
      setTimer(delayMs, callback) {
        const timer = setTimeout(callback, delayMs);
        return { cancel: () => clearTimeout(timer) };
      },
    },
    observer,
  });
  return { model, observed };
}
