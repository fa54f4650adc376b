import { choice, defineConfig, integer, type SettingsOf } from "@weft/config";

const GIBIBYTE = 2 ** 30;

/** Settings of the monitoring service. */
export const config = defineConfig("monitoring", {
  logBytesMax: integer({
    default: 2 * GIBIBYTE,
    min: 1_048_576,
    max: 1024 * GIBIBYTE,
    doc: "Size of the prediction log above which the oldest predictions are dropped, in bytes.",
  }),
  logAgeHoursMax: integer({
    default: 720,
    min: 1,
    max: 87_600,
    doc: "Age by arrival above which predictions and their labels are dropped, in hours.",
  }),
  logDurability: choice({
    values: ["full", "normal"],
    default: "full",
    doc: "What an answered request survives: full, a power cut; normal, the death of the process.",
  }),
  logQueueBytesMax: integer({
    default: 67_108_864,
    min: 65_536,
    max: 4 * GIBIBYTE,
    doc: "Predictions and labels that may wait to be written, in bytes; more are refused.",
  }),
  layoutsMax: integer({
    default: 10_000,
    min: 1,
    max: 1_000_000,
    doc: "Combinations of release and models with scores that the log holds at once.",
  }),
  driftBucketSeconds: integer({
    default: 3_600,
    min: 1,
    max: 86_400,
    doc: "Event time that one bucket of the drift histograms covers; a window starts where a bucket does, in seconds.",
  }),
  driftBucketsMax: integer({
    default: 800,
    min: 2,
    max: 100_000,
    doc: "Buckets kept for each release; the longest window is one bucket shorter.",
  }),
  driftReleasesMax: integer({
    default: 64,
    min: 1,
    max: 10_000,
    doc: "Releases with drift histograms in memory; those of others are counted from the log when asked for.",
  }),
  eventTimeAheadSecondsMax: integer({
    default: 86_400,
    min: 0,
    max: 3_153_600_000,
    doc: "How far after now an event time is believed, in seconds; the window ends at the newest.",
  }),
  registryTimeoutMs: integer({
    default: 1_000,
    min: 10,
    max: 60_000,
    doc: "Greatest time for a look-up of a release; predictions whose release cannot be looked up are taken unchecked.",
  }),
  registryRetryMs: integer({
    default: 5_000,
    min: 0,
    max: 600_000,
    doc: "How long a release that was not found, or could not be asked for, is not asked for again.",
  }),
  referenceBytesMax: integer({
    default: 16_777_216,
    min: 1_024,
    max: 268_435_456,
    doc: "Greatest size of a model's reference, in bytes.",
  }),
});

/** The settings, parsed. */
export type Settings = SettingsOf<typeof config>;
