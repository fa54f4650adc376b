import { isWeftError } from "@weft/errors";
import type { LoadParts } from "@weft/release";
import type { Example } from "@weft/scenario";
import type { Ingest, IngestedView } from "./domain/ingest/ingest.ts";
import type { MaterializationCatalog } from "./domain/materialize/materialization-catalog.ts";
import type { OnlineStore, ViewHandle } from "./domain/online/online-store.ts";
import { compileView } from "./domain/views/compile-view.ts";
import { FeatureRelease, viewId } from "./domain/views/feature-release.ts";
import type { PlannedView, ReadPlan } from "./domain/views/read-plan.ts";
import type { CompiledView } from "./domain/views/view-state.ts";
import { errors } from "./errors.ts";
import type { MaterializationJob } from "./materializer.ts";
import type { OfflineRelease } from "./offline-service.ts";

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
  { scenario, views }: OfflineRelease,
  { store, ingest, catalog }: States & { readonly catalog: MaterializationCatalog },
): Promise<MaterializationJob> {
  const job = await ingest.beginJob(scenario.name);
  const ingested = new Map<CompiledView, IngestedView>();
  for (const compiled of views) {
    const handle = await store.openView(viewId(scenario.name, compiled.name, compiled.digest));
    ingested.set(compiled, { scenario: scenario.name, compiled, handle });
  }
  const ingestedView = (compiled: CompiledView): IngestedView => {
    const view = ingested.get(compiled);
    if (view === undefined) throw errors.VIEW_UNKNOWN({ view: compiled.name, scenario: scenario.name });
    return view;
  };
  const begun = new Map<CompiledView, ViewHandle>();
  return {
    pushed: job.pushed,
    target: {
      watermark(compiled) {
        const { id, generation } = ingestedView(compiled).handle;
        return catalog.watermark(id, generation);
      },
      async begin(compiled) {
        const next = await job.beginEmpty(ingestedView(compiled));
        begun.set(compiled, next);
        return {
          write: (entries) => store.write(entries.map(({ key, state }) => ({ view: next, key, merge: () => state }))),
        };
      },
      async beginCopy(compiled) {
        const view = ingestedView(compiled);
        const next = await job.beginCopy(view);
        begun.set(compiled, next);
        return { merge: (rows) => job.merge(view, next, rows) };
      },
      async publish(watermarks) {
        // Written down before the flip: a generation that is not published is not asked about.
        for (const [compiled, { id, generation }] of begun)
          catalog.setWatermark(id, generation, watermarks.get(compiled));
        await job.publish();
        return (compiled) => ingestedView(compiled).handle.generation;
      },
    },
    drop: () => job.drop(),
    async rollBack(asked, may) {
      const changed = new Set<CompiledView>();
      for (const compiled of asked) {
        const view = ingestedView(compiled);
        if (may(compiled, view.handle.generation) && (await job.beginPrevious(view)) !== undefined)
          changed.add(compiled);
      }
      await job.publish();
      return asked.map((compiled) => ({
        view: compiled.name,
        generation: ingestedView(compiled).handle.generation,
        changed: changed.has(compiled),
      }));
    },
  };
}
