import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { retrieval as contract, registry } from "@weft/contracts";
import { observeReleases, ReleaseSource } from "@weft/release";
import { defineService } from "@weft/service";
import { GenerationStore } from "./adapters/generation-store.ts";
import { config } from "./config.ts";
import { createMetrics } from "./metrics.ts";
import { createRetrievalService } from "./service.ts";

/** Index name → generation, as a release names them. */
type ReleaseGenerations = ReadonlyMap<string, number>;

/** Finds the nearest neighbours of a query among the items of an index, in generations. */
export const retrieval = defineService({
  name: "retrieval",
  config,
  async compose({ settings, dataDirectory, rpc, telemetry, clock, own, readiness }) {
    readiness.set("releases", false);
    const { quantization, connectivity, buildExpansion, searchExpansion } = settings;
    const store = own(
      await GenerationStore.open({
        directory: join(dataDirectory, "indexes"),
        graph: { quantization, connectivity, buildExpansion, searchExpansion },
        buildThreadCount: settings.buildThreadCount,
        buildsMax: settings.buildsMax,
        limits: settings,
        generationsKept: settings.generationsKept,
        openGenerationsMax: settings.openGenerationsMax,
        recallSampleCount: settings.recallSampleCount,
        recallNeighborCount: settings.recallNeighborCount,
        nowMs: () => clock.nowMs(),
        logger: telemetry.logger,
      }),
    );
    const source = own(
      ReleaseSource.start<{ readonly scenario: string; readonly generations: ReleaseGenerations }>({
        registry: rpc.dial(registry.RegistryService),
        cacheDirectory: join(dataDirectory, "artifacts"),
        async load({ release: { scenario, indexes } }) {
          const held: [string, number][] = [];
          try {
            for (const { index, generation } of indexes) {
              await store.hold(scenario, index, Number(generation));
              held.push([index, Number(generation)]);
            }
          } catch (error) {
            for (const [index, generation] of held) store.release(scenario, index, generation);
            throw error;
          }
          return { scenario, generations: new Map(held) };
        },
        unload({ scenario, generations }) {
          for (const [index, generation] of generations) store.release(scenario, index, generation);
        },
        clock,
        logger: telemetry.logger,
        observe: observeReleases(telemetry.metrics, "retrieval"),
        limits: { graceMs: settings.releaseGraceMs },
      }),
    );
    void source.firstReleaseWarm().then(() => readiness.set("releases", true));
    rpc.serve(
      contract.RetrievalService,
      createRetrievalService({
        store,
        generationOf: (release, scenario, index) => source.resolve(scenario, release).generations.get(index),
        metrics: createMetrics(telemetry.metrics),
        sliceMs: settings.sliceMs,
        nowMs: () => Number(clock.nowUs()) / 1_000,
        turn: () => turn(),
      }),
    );
  },
});
