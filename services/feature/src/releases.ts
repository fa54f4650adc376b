import { isWeftError } from "@weft/errors";
import type { LoadParts } from "@weft/release";
import type { Scenario } from "@weft/scenario";
import { compileView } from "./domain/compile-view.ts";
import { FeatureRelease, viewId } from "./domain/feature-release.ts";
import type { Ingest, IngestedView } from "./domain/ingest.ts";
import type { OnlineStore } from "./domain/online-store.ts";
import type { PlannedView } from "./domain/read-plan.ts";
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
  return loaded;
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
        const next = await job.beginGeneration(view);
        return {
          write: (entries) => store.write(entries.map(({ key, state }) => ({ view: next, key, merge: () => state }))),
        };
      },
      publish: () => job.publish(),
    },
  };
}
