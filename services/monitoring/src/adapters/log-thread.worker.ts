import { parentPort, workerData } from "node:worker_threads";
import { LogEngine } from "../domain/log-engine.ts";
import { LogFailure } from "../domain/prediction-log.ts";
import type { LogCall, LogReply, LogThreadSettings } from "./log-thread-protocol.ts";
import { SqlitePredictionLog } from "./sqlite-prediction-log.ts";

/** Runs the log on a thread of its own: opens it, answers calls, and ends when the log is closed. */
async function serve(settings: LogThreadSettings): Promise<void> {
  const reply = (message: LogReply) => parentPort?.postMessage(message);
  const fail = (id: number, error: unknown) =>
    reply({
      id,
      fault: error instanceof LogFailure ? error.fault : "failed",
      message: error instanceof Error ? error.message : String(error),
    });
  let engine: LogEngine;
  try {
    const pause = (ms: number) =>
      new Promise<void>((resolve) => {
        if (ms === 0) setImmediate(resolve);
        else setTimeout(resolve, ms).unref();
      });
    const stopwatchMs = () => performance.now();
    engine = await LogEngine.open(SqlitePredictionLog.open(settings.log), { ...settings.engine, pause, stopwatchMs });
    reply({ id: 0, value: undefined });
  } catch (error) {
    fail(0, error);
    return;
  }
  parentPort?.on("message", ({ id, method, values }: LogCall) => {
    const call = engine[method] as (...values: unknown[]) => Promise<unknown>;
    call.apply(engine, [...values]).then(
      (value) => {
        reply({ id, value });
        if (method === "close") {
          parentPort?.close();
        }
      },
      (error: unknown) => fail(id, error),
    );
  });
}

void serve(workerData as LogThreadSettings);
