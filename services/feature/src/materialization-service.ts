import { feature } from "@weft/contracts";
import type { Handlers } from "@weft/rpc";
import type { ExpectationPolicy } from "@weft/scenario";
import type {
  Materialization,
  MaterializationCatalog,
  MaterializationState,
  MaterializedView,
  MaterializeMode,
} from "./domain/materialize/materialization-catalog.ts";
import type { CompiledView } from "./domain/views/view-state.ts";
import { errors } from "./errors.ts";
import type { MaterializedRelease, Materializer } from "./materializer.ts";
import { ProgressSteps } from "./progress-steps.ts";
import { microseconds, timestamp } from "./timestamps.ts";

/** The handlers of the jobs that bring views up to date. */
export type MaterializationHandlers = Pick<
  Handlers<typeof feature.FeatureService>,
  "materialize" | "rollBackViews" | "listMaterializations" | "getValidationReport"
>;

export interface MaterializationServiceOptions {
  /** The release that a request is about: a release id, or "" for the scenario's champion. */
  resolve(scenario: string, release: string): MaterializedRelease;
  readonly materializer: Materializer;
  readonly catalog: MaterializationCatalog;
}

const listDefault = 20;
const listMax = 1_000;
const { FULL, INCREMENTAL } = feature.MaterializeMode;

/** Handlers of `Materialize`, `RollBackViews` and `ListMaterializations`. */
export function createMaterializationHandlers(options: MaterializationServiceOptions): MaterializationHandlers {
  const { resolve, materializer, catalog } = options;
  return {
    async *materialize(request, context) {
      const release = resolve(request.scenario, context.release);
      const mode: MaterializeMode = request.mode === INCREMENTAL ? "incremental" : "full";
      const wanted = { views: viewsOf(release, request.views), mode, endUs: microseconds(request.endTime) };
      const steps = new ProgressSteps();
      for await (const progress of materializer.run(release, wanted, context)) {
        if (!progress.done && !steps.due(progress.rowsRead, progress.rowsTotal, progress.view)) continue;
        yield {
          view: progress.view,
          rowsRead: BigInt(progress.rowsRead),
          rowsTotal: BigInt(progress.rowsTotal),
          entitiesWritten: BigInt(progress.entitiesWritten),
          done: progress.done,
          id: BigInt(progress.id),
          views: progress.views.map(viewMessage),
        };
      }
    },
    async rollBackViews(request, context) {
      const release = resolve(request.scenario, context.release);
      const expected = new Map(Object.entries(request.generations).map(([view, is]) => [view, Number(is)]));
      const views = await materializer.rollBack(release, viewsOf(release, request.views), expected, context);
      return {
        views: views.map(({ view, generation, changed }) => ({ view, generation: BigInt(generation), changed })),
      };
    },
    listMaterializations(request, context) {
      const { scenario } = resolve(request.scenario, context.release);
      const limit = request.limit === 0 ? listDefault : request.limit;
      if (limit < 1 || limit > listMax) throw errors.REQUEST_INVALID({ fault: `limit must be 1 to ${listMax}` });
      return { materializations: catalog.list(scenario.name, limit).map(message) };
    },
    getValidationReport(request, context) {
      const { scenario } = resolve(request.scenario, context.release);
      const found = catalog.report(scenario.name, Number(request.materializationId));
      if (found === undefined) throw errors.REPORT_UNKNOWN({ scenario: scenario.name });
      const { timeUs, results } = found.report;
      return {
        materializationId: BigInt(found.id),
        time: timestamp(timeUs),
        rejected: results.some(({ isMet, policy }) => !isMet && policy === "reject"),
        results: results.map(({ isMet, rows, violations, policy, ...texts }) => ({
          ...texts,
          policy: policies[policy],
          met: isMet,
          rows: BigInt(rows),
          violations: BigInt(violations),
        })),
      };
    },
  };
}

function viewsOf(release: MaterializedRelease, names: readonly string[]): readonly CompiledView[] {
  if (names.length === 0) return release.views;
  return [...new Set(names)].map((name) => {
    const view = release.views.find((candidate) => candidate.name === name);
    if (view === undefined) throw errors.VIEW_UNKNOWN({ view: name, scenario: release.scenario.name });
    return view;
  });
}

const outcomes = {
  full: feature.MaterializedView_Outcome.FULL,
  incremental: feature.MaterializedView_Outcome.INCREMENTAL,
  unchanged: feature.MaterializedView_Outcome.UNCHANGED,
} as const;

const policies: Readonly<Record<ExpectationPolicy, feature.ExpectationPolicy>> = {
  warn: feature.ExpectationPolicy.WARN,
  quarantine: feature.ExpectationPolicy.QUARANTINE,
  reject: feature.ExpectationPolicy.REJECT,
};

const states: Readonly<Record<MaterializationState, feature.Materialization_State>> = {
  running: feature.Materialization_State.RUNNING,
  succeeded: feature.Materialization_State.SUCCEEDED,
  failed: feature.Materialization_State.FAILED,
  cancelled: feature.Materialization_State.CANCELLED,
  interrupted: feature.Materialization_State.INTERRUPTED,
};

function viewMessage({ view, outcome, generation, rows }: MaterializedView) {
  return { view, outcome: outcomes[outcome], generation: BigInt(generation), rows: BigInt(rows) };
}

function message(one: Materialization) {
  return {
    id: BigInt(one.id),
    releaseId: one.release,
    views: [...one.views],
    mode: one.mode === "incremental" ? INCREMENTAL : FULL,
    state: states[one.state],
    attempt: one.attempt,
    startTime: timestamp(one.startUs),
    ...(one.endedUs === undefined ? {} : { endTime: timestamp(one.endedUs) }),
    rowsRead: BigInt(one.rowsRead),
    rowsTotal: BigInt(one.rowsTotal),
    entitiesWritten: BigInt(one.entitiesWritten),
    done: one.done.map(viewMessage),
    fault: one.fault,
  };
}
