import type { Logger } from "@weft/telemetry";
import type { GenerationStoreOptions } from "../adapters/generation-store.ts";

/** Small bounds for tests. */
export function storeOptions(directory: string, logger: Logger): GenerationStoreOptions {
  return {
    directory,
    graph: { quantization: "f32", connectivity: 16, buildExpansion: 64, searchExpansion: 64 },
    buildThreadCount: 1,
    buildsMax: 2,
    limits: { itemsMax: 10_000, vectorBytesMax: 1_000_000 },
    generationsKept: 3,
    openGenerationsMax: 8,
    recallSampleCount: 50,
    recallNeighborCount: 10,
    nowMs: () => Date.now(),
    logger,
  };
}
