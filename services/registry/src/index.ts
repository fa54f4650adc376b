import { join } from "node:path";
import { registry as contract } from "@weft/contracts";
import { defineService } from "@weft/service";
import { FolderArtifactStore } from "./adapters/folder-artifact-store.ts";
import { SqliteCatalog } from "./adapters/sqlite-catalog.ts";
import { config } from "./config.ts";
import { ReleaseFeed } from "./domain/release-feed.ts";
import { createRegistryMetrics } from "./metrics.ts";
import { createRegistryService } from "./service.ts";

/** Keeps feature views, models, releases, labels and artifacts, and tells watchers what is deployed. */
export const registry = defineService({
  name: "registry",
  config,
  async compose({ settings, dataDirectory, rpc, telemetry, clock, own, onDrain }) {
    const metrics = createRegistryMetrics(telemetry.metrics);
    const { requestIdsMax } = settings;
    // The catalog first: its lock keeps a second process away from the artifacts of this one.
    const catalog = own(SqliteCatalog.open(join(dataDirectory, "catalog.db"), { requestIdsMax }));
    const artifacts = await FolderArtifactStore.open(join(dataDirectory, "artifacts"));
    const feed = own(new ReleaseFeed(() => catalog.labelState(), settings.watchersMax));
    onDrain(() => feed.close());
    metrics.revision.set((await catalog.labelState()).revision);

    const nowUs = () => Number(clock.nowUs());
    const handlers = createRegistryService({ catalog, artifacts, feed, settings, metrics, nowUs });
    rpc.serve(contract.RegistryService, handlers);
  },
});
