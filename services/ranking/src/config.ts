import { defineConfig, integer, number, type SettingsOf, text } from "@weft/config";

/** Settings of ranking. */
export const config = defineConfig("ranking", {
  batchRowsMax: integer({
    default: 256,
    min: 1,
    max: 65_536,
    doc: "Most rows in one run of a model; a larger request runs on its own.",
  }),
  queueRowsMax: integer({
    default: 16_384,
    min: 1,
    max: 1_048_576,
    doc: "Most rows that wait for one model version; above it requests are refused with RESOURCE_EXHAUSTED.",
  }),
  queueDelayMs: number({
    default: 0,
    min: 0,
    max: 1_000,
    doc: "Longest wait for a batch to fill, in milliseconds; 0: a batch is what one turn of the event loop has read.",
  }),
  nanRefusedModels: text({
    default: "",
    doc: "Names of models, comma-separated, that refuse NaN; for all others NaN is a missing value.",
  }),
  releaseGraceMs: integer({
    default: 30_000,
    min: 0,
    max: 3_600_000,
    doc: "How long a release goes on answering after it lost its last label, in milliseconds.",
  }),
  warmupRunCount: integer({
    default: 3,
    min: 1,
    max: 1_000,
    doc: "Runs of a model at each batch size before it is ready.",
  }),
});

/** Parsed settings of ranking. */
export type Settings = SettingsOf<typeof config>;
