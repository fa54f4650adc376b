import { join } from "node:path";
import { inference, registry } from "@weft/contracts";
import { observeReleases, ReleaseSource } from "@weft/release";
import { defineService } from "@weft/service";
import { ReleaseModels } from "./adapters/release-models.ts";
import { config } from "./config.ts";
import { ModelCatalog } from "./domain/model-catalog.ts";
import type { ServedModel } from "./domain/served-model.ts";
import { createMetrics } from "./metrics.ts";
import { createInferenceService } from "./service.ts";

/** Runs the models of the labelled releases, in batches. */
export const ranking = defineService({
  name: "ranking",
  config,
  compose({ settings, dataDirectory, rpc, telemetry, clock, own, readiness }) {
    readiness.set("releases", false);
    const metrics = createMetrics(telemetry.metrics);
    const models = new ReleaseModels({
      limits: settings,
      nanRefused: new Set(settings.nanRefusedModels.split(",").map((name) => name.trim())),
      warmupRunCount: settings.warmupRunCount,
      observe: (model, version) => metrics.model(model, version),
      schedule: {
        nowMs: () => Number(clock.nowUs()) / 1_000,
        atTurnEnd: (callback) => void setImmediate(callback),
        setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
      },
    });
    const catalog = new ModelCatalog<ServedModel>((release) => why(() => source.resolve(scenarioOf(release), release)));
    const source = own(
      ReleaseSource.start<readonly ServedModel[]>({
        registry: rpc.dial(registry.RegistryService),
        cacheDirectory: join(dataDirectory, "artifacts"),
        load: (parts) => models.load(parts),
        unload(loaded) {
          refresh();
          return models.unload(loaded);
        },
        clock,
        logger: telemetry.logger,
        observe: observeReleases(telemetry.metrics, "ranking"),
        limits: { graceMs: settings.releaseGraceMs },
      }),
    );
    const refresh = () => catalog.update(servedReleases(source));
    source.onChange(refresh);
    let ready = false;
    void source.firstReleaseWarm().then(() => {
      ready = true;
      readiness.set("releases", true);
    });
    const service = createInferenceService({ catalog, ready: () => ready, serverVersion: "0.1.0" });
    rpc.serve(inference.GRPCInferenceService, service);
  },
});

/** Loaded releases; the champion of a scenario is what the source answers for it, also while its successor loads. */
function servedReleases(source: ReleaseSource<readonly ServedModel[]>) {
  return source.all().map(({ release, value }) => {
    let champion = false;
    try {
      champion = source.resolve(release.scenario, "") === value;
    } catch {
      // A scenario may have no champion yet.
    }
    return { id: release.id, scenario: release.scenario, champion, models: value };
  });
}

/** A release id is the scenario, a dash and 12 hex digits. */
function scenarioOf(release: string): string {
  return release.slice(0, Math.max(0, release.lastIndexOf("-")));
}

function why(resolve: () => unknown): Error {
  try {
    resolve();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  return new Error("the release is about to be served");
}
