import { isWeftError } from "@weft/errors";
import type { LoadParts } from "@weft/release";
import type { Example, Scenario } from "@weft/scenario";
import { compileView } from "./domain/compile-view.ts";
import { FeatureRelease, viewId } from "./domain/feature-release.ts";
import type { Ingest, IngestedView } from "./domain/ingest.ts";
import type { OnlineStore } from "./domain/online-store.ts";
import type { PlannedView, ReadPlan } from "./domain/read-plan.ts";
import type { CompiledView } from "./domain/view-state.ts";
import { errors } from "./errors.ts";
import type { OfflineJob } from "./offline-service.ts";

interface States {
  readonly store: OnlineStore;
  readonly ingest: Ingest;
}

/** Compiles a release's views and read plans, and brings the views' states up to the event log's end. */
export async function loadRelease(
  { release, scenario }: Pick<LoadParts, "release" | "scenario">,
  { store, ingest, plansMax }: States & { readonly plansMax: number },
): Promise<FeatureRelease> {
  const versions = new Map(release.featureViews.map(({ name, version }) => [name, version]));
  const views: PlannedView[] = [];
  for (const view of scenario.views) {
    const compiled = compiledOf(view.name, () => compileView(view));
    const handle = await store.openView(viewId(scenario.name, view.name, compiled.digest));
    views.push({ compiled, handle, version: versions.get(view.name) ?? "" });
  }
  const loaded = new FeatureRelease(release.id, scenario, views, { plansMax });
  await ingest.addViews(loaded.ingested);
  for (const plan of loaded.services.values())
    for (const example of scenario.examples) await warmUp(plan, store, example);
  return loaded;
}

const warmUpRuns = 50;

/** Reads an example's features often enough that the first request finds compiled code. */
async function warmUp(plan: ReadPlan, store: OnlineStore, example: Example): Promise<void> {
  const keys = plan.entities.map(({ name }) => example.entities[name]);
  const fields = plan.fields.map(({ name }) => example.request?.[name]);
  // An example holds what the pipeline's caller brings; a plan that needs more is warmed by its first requests.
  if (keys.includes(undefined) || fields.includes(undefined)) return;
  const values = new Float32Array(plan.matrixNames.length);
  const statuses = new Uint8Array(plan.matrixNames.length);
  for (let i = 0; i < warmUpRuns; i++) {
    const run = plan.acquire();
    run.rows = 1;
    keys.forEach((key, index) => {
      run.keys[index] = key === undefined ? [] : [key];
    });
    fields.forEach((value, index) => {
      run.fields[index] = [value ?? null];
    });
    await plan.fetch(run, store);
    try {
      plan.toMatrix(run, Number(example.eventTimeUs), values, statuses);
    } catch {
      // A transform that cannot do without values that are not materialized yet must not keep the release from loading.
      return;
    }
    plan.release(run);
  }
}

function compiledOf(view: string, compile: () => CompiledView): CompiledView {
  try {
    return compile();
  } catch (cause) {
    if (isWeftError(cause)) throw cause;
    const fault = cause instanceof Error ? cause.message : `view "${view}" cannot be compiled`;
    throw errors.DEFINITION_INVALID({ fault }, { cause });
  }
}

/** Begins an offline job over what has been pushed so far; its states go into new generations of the online store. */
export async function beginOfflineJob(
  scenario: Scenario,
  views: readonly CompiledView[],
  { store, ingest }: States,
): Promise<OfflineJob> {
  const job = await ingest.beginJob(scenario.name);
  const ingested = new Map<CompiledView, IngestedView>();
  for (const compiled of views) {
    const handle = await store.openView(viewId(scenario.name, compiled.name, compiled.digest));
    ingested.set(compiled, { scenario: scenario.name, compiled, handle });
  }
  return {
    pushed: job.pushed,
    target: {
      async begin(compiled) {
        const view = ingested.get(compiled);
        if (view === undefined) throw errors.VIEW_UNKNOWN({ view: compiled.name, scenario: scenario.name });
        const next = await job.beginEmpty(view);
        return {
          write: (entries) => store.write(entries.map(({ key, state }) => ({ view: next, key, merge: () => state }))),
        };
      },
      publish: () => job.publish(),
    },
  };
}
