import type { LogEngineOptions, MonitoringLog } from "../domain/log-engine.ts";
import type { LogFault } from "../domain/prediction-log.ts";
import type { SqlitePredictionLogOptions } from "./sqlite-prediction-log.ts";

/** What the thread is started with. */
export interface LogThreadSettings {
  readonly log: SqlitePredictionLogOptions;
  readonly engine: Omit<LogEngineOptions, "pause" | "stopwatchMs">;
}

/** A call of a method of the log. */
export interface LogCall {
  readonly id: number;
  readonly method: keyof MonitoringLog;
  readonly values: readonly unknown[];
}

/** How a call ended. Id 0 is the opening of the log. */
export type LogReply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly fault: LogFault; readonly message: string };
