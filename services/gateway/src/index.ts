import { randomBytes } from "node:crypto";
import { gateway as contract, feature, inference, monitoring, registry, retrieval } from "@weft/contracts";
import { observeReleases, ReleaseSource } from "@weft/release";
import { defineService } from "@weft/service";
import { PredictionLog } from "./adapters/prediction-log.ts";
import { ReleaseLoader, type ServedRelease } from "./adapters/release-loader.ts";
import { PeerCalls } from "./adapters/rpc-peers.ts";
import { config } from "./config.ts";
import { RequestIds } from "./domain/request-id.ts";
import { createMetrics } from "./metrics.ts";
import { createGatewayService } from "./service.ts";

/** The public API of Weft: scenarios answered through their pipelines, inside the caller's deadline. */
export const gateway = defineService({
  name: "gateway",
  config,
  edge: [contract.GatewayService],
  compose({ settings, dataDirectory, rpc, telemetry, clock, own, readiness }) {
    const metrics = createMetrics(telemetry);
    const { logger } = telemetry;
    const random = Math.random;
    const stopwatchMs = () => performance.now();
    const clients = {
      feature: rpc.dial(feature.FeatureService),
      ranking: rpc.dial(inference.GRPCInferenceService),
      retrieval: rpc.dial(retrieval.RetrievalService),
    };
    const calls = new PeerCalls(clients, {
      coalesceMax: settings.coalesceMax,
      nowMs: stopwatchMs,
      observe: (method, rows) => metrics.callRows[method].observe(rows),
    });
    const predictions = own(
      new PredictionLog({
        monitoring: rpc.dial(monitoring.MonitoringService),
        settings,
        timers: clock,
        random,
        metrics,
        logger,
      }),
    );
    const log = predictions.append.bind(predictions);
    const loader = new ReleaseLoader({ calls, clock, stopwatchMs, random, settings, metrics, logger, log });
    const releases = own(
      ReleaseSource.start<ServedRelease>({
        registry: rpc.dial(registry.RegistryService),
        cacheDirectory: dataDirectory,
        load: (parts) => loader.load(parts),
        unload: (served) => served.close(),
        clock,
        logger,
        observe: observeReleases(telemetry.metrics, "gateway"),
      }),
    );
    readiness.set("releases", false);
    void releases.firstReleaseWarm().then(() => readiness.set("releases", true));
    const requestIds = new RequestIds(clock.nowMs(), randomBytes(4));
    rpc.serve(
      contract.GatewayService,
      createGatewayService({ releases, calls, requestIds, log, settings, clock, stopwatchMs, metrics, logger }),
    );
  },
});
