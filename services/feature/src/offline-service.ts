import { pathToFileURL } from "node:url";
import type { feature } from "@weft/contracts";
import type { Handlers } from "@weft/rpc";
import type { Scenario } from "@weft/scenario";
import { type MaterializeTarget, materialize } from "./domain/materialize.ts";
import type { OfflineStore, PushedRows } from "./domain/offline-store.ts";
import { buildTrainingSet } from "./domain/training-set.ts";
import type { CompiledView } from "./domain/view-state.ts";
import { errors } from "./errors.ts";
import type { JobTurns } from "./job-turns.ts";

/** A release as the offline half sees it. */
export interface OfflineRelease {
  readonly scenario: Scenario;
  readonly views: readonly CompiledView[];
}

/** Rows pushed up to a moment, and where their states go. */
export interface OfflineJob {
  readonly pushed: PushedRows;
  readonly target: MaterializeTarget;
}

export interface OfflineServiceOptions {
  /** The release that a request is about: a release id, or "" for the scenario's champion. */
  resolve(scenario: string, release: string): OfflineRelease;
  readonly store: OfflineStore;
  /** Starts a job over what has been pushed so far. */
  begin(release: OfflineRelease): Promise<OfflineJob>;
  /** Folder for training sets. */
  readonly directory: string;
  /** Shared by everything that uses the offline store. */
  readonly turns: JobTurns;
}

type OfflineHandlers = Pick<Handlers<typeof feature.FeatureService>, "materialize" | "buildTrainingSet">;

/** Handlers of `Materialize` and `BuildTrainingSet`. Jobs run one at a time, in the order they came. */
export function createOfflineHandlers(options: OfflineServiceOptions): OfflineHandlers {
  const { resolve, store, begin, directory, turns } = options;
  return {
    async *materialize(request, context) {
      const release = resolve(request.scenario, context.release);
      const views = request.views.length === 0 ? release.views : request.views.map((name) => viewOf(release, name));
      const endUs = microseconds(request.endTime);
      const turn = await turns.take(context);
      try {
        const { pushed, target } = await begin(release);
        const scenario = release.scenario.name;
        const every = new Every();
        for await (const progress of materialize({
          scenario,
          views,
          store,
          target,
          endUs,
          pushed,
          signal: context.signal,
        })) {
          if (!progress.done && !every.due(progress.rowsRead, progress.rowsTotal, progress.view)) continue;
          yield {
            view: progress.view,
            rowsRead: BigInt(progress.rowsRead),
            rowsTotal: BigInt(progress.rowsTotal),
            entitiesWritten: BigInt(progress.entitiesWritten),
            done: progress.done,
          };
        }
      } finally {
        turn.end();
      }
    },
    async *buildTrainingSet(request, context) {
      const { scenario, views } = resolve(request.scenario, context.release);
      const range = { startUs: microseconds(request.startTime), endUs: microseconds(request.endTime) };
      const { trainingSet } = request;
      const turn = await turns.take(context);
      try {
        const { pushed } = await begin({ scenario, views });
        const every = new Every();
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

function viewOf({ scenario, views }: OfflineRelease, name: string): CompiledView {
  const view = views.find((candidate) => candidate.name === name);
  if (view === undefined) throw errors.VIEW_UNKNOWN({ view: name, scenario: scenario.name });
  return view;
}

interface Timestamp {
  readonly seconds: bigint;
  readonly nanos: number;
}

function microseconds(time: Timestamp | undefined): number | undefined {
  return time === undefined ? undefined : Number(time.seconds) * 1_000_000 + Math.floor(time.nanos / 1_000);
}

function timestamp(us: number): Timestamp {
  const seconds = Math.floor(us / 1_000_000);
  return { seconds: BigInt(seconds), nanos: (us - seconds * 1_000_000) * 1_000 };
}

/** Thins progress out to a message a half percent. */
class Every {
  #last = -1;
  #subject = "";

  due(done: number, total: number, subject: string): boolean {
    const share = total === 0 ? 0 : Math.floor((done / total) * 200);
    if (share === this.#last && subject === this.#subject) return false;
    this.#last = share;
    this.#subject = subject;
    return true;
  }
}
