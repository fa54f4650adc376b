import { pathToFileURL } from "node:url";
import type { feature } from "@weft/contracts";
import type { Handlers } from "@weft/rpc";
import type { Scenario } from "@weft/scenario";
import type { OfflineStore, PushedRows } from "./domain/offline/offline-store.ts";
import { buildTrainingSet } from "./domain/offline/training-set.ts";
import type { CompiledView } from "./domain/views/view-state.ts";
import type { JobTurns } from "./job-turns.ts";
import { ProgressSteps } from "./progress-steps.ts";
import { microseconds, timestamp } from "./timestamps.ts";

/** A release as the offline half sees it. */
export interface OfflineRelease {
  readonly scenario: Scenario;
  readonly views: readonly CompiledView[];
}

export interface OfflineServiceOptions {
  /** The release that a request is about: a release id, or "" for the scenario's champion. */
  resolve(scenario: string, release: string): OfflineRelease;
  readonly store: OfflineStore;
  /** Starts a job over what has been pushed so far. */
  begin(release: OfflineRelease): Promise<{ readonly pushed: PushedRows }>;
  /** Folder for training sets. */
  readonly directory: string;
  /** Shared by everything that uses the offline store. */
  readonly turns: JobTurns;
}

type OfflineHandlers = Pick<Handlers<typeof feature.FeatureService>, "buildTrainingSet">;

/** Handlers of `BuildTrainingSet`. Jobs run one at a time, in the order they came. */
export function createOfflineHandlers(options: OfflineServiceOptions): OfflineHandlers {
  const { resolve, store, begin, directory, turns } = options;
  return {
    async *buildTrainingSet(request, context) {
      const release = resolve(request.scenario, context.release);
      const { scenario, views } = release;
      const range = { startUs: microseconds(request.startTime), endUs: microseconds(request.endTime) };
      const { trainingSet } = request;
      const turn = await turns.take(context);
      try {
        const { pushed } = await begin(release);
        const every = new ProgressSteps();
        const { signal } = context;
        for await (const { rows, rowsTotal, result } of buildTrainingSet({
          scenario,
          trainingSet,
          views,
          store,
          directory,
          pushed,
          signal,
          ...range,
        })) {
          if (result === undefined) {
            if (every.due(rows, rowsTotal, "")) yield { rows: BigInt(rows), rowsTotal: BigInt(rowsTotal), done: false };
            continue;
          }
          yield {
            rows: BigInt(result.rows),
            rowsTotal: BigInt(result.rows),
            done: true,
            uri: pathToFileURL(result.path).href,
            contentHash: result.contentHash,
            columns: [...result.columns],
            ...(result.testFromUs === undefined ? {} : { testFrom: timestamp(result.testFromUs) }),
          };
        }
      } finally {
        turn.end();
      }
    },
  };
}
