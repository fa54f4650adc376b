import type { Site } from "./site.ts";

/** One thing that is wrong with a scenario. */
export interface ScenarioFault {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly message: string;
}

/** Notes a fault and its place. */
export type Fault = (at: Site | undefined, message: string) => void;
