import { defineConfig, integer, number, type SettingsOf } from "@weft/config";

/** Every setting of the gateway. */
export const config = defineConfig("gateway", {
  inflightMax: integer({
    default: 4_096,
    min: 1,
    max: 1_000_000,
    doc: "Requests and stream events under way; further ones are refused with RESOURCE_EXHAUSTED.",
  }),
  streamConcurrencyMax: integer({
    default: 64,
    min: 1,
    max: 4_096,
    doc: "Events of one ScoreStream under way.",
  }),
  coalesceMax: integer({
    default: 64,
    min: 1,
    max: 256,
    doc: "Rows of one call to a peer that is made for the requests of one event-loop turn together; 1: each request has its own.",
  }),
  answerReserveMs: number({
    default: 5,
    min: 0,
    max: 1_000,
    doc: "Time of a deadline kept back for the fallback and the answer; at most a fifth of the deadline is.",
  }),
  displayBudgetMs: number({
    default: 20,
    min: 1,
    max: 10_000,
    doc: "Time to read the display attributes of recommended items.",
  }),
  candidateMax: integer({
    default: 1_000,
    min: 1,
    max: 1_000,
    doc: "Candidates of one Recommend that are scored, over all sources.",
  }),
  popularMax: integer({
    default: 1_000,
    min: 1,
    max: 1_000,
    doc: "Items of a fallback list that are kept, with their attributes.",
  }),
  eventTimeAheadMaxMs: integer({
    default: 86_400_000,
    min: 0,
    max: 315_360_000_000,
    doc: "How far an event time may lie ahead of the gateway's clock.",
  }),
  logQueueMax: integer({
    default: 50_000,
    min: 1,
    max: 10_000_000,
    doc: "Predictions that wait to be logged; further ones are dropped and counted.",
  }),
  logQueueMaxBytes: integer({
    default: 67_108_864,
    min: 65_536,
    max: 17_179_869_184,
    doc: "Memory of the predictions that wait to be logged.",
  }),
  logBatchMax: integer({ default: 256, min: 1, max: 10_000, doc: "Predictions logged with one call." }),
  logDelayMs: integer({
    default: 100,
    min: 1,
    max: 60_000,
    doc: "Longest wait of a prediction for its batch to fill.",
  }),
  logTimeoutMs: integer({ default: 5_000, min: 10, max: 600_000, doc: "Timeout of one LogPredictions call." }),
  logRetryMaxMs: integer({
    default: 5_000,
    min: 10,
    max: 600_000,
    doc: "Longest pause between attempts to log while monitoring is down.",
  }),
  shadowQueueMax: integer({
    default: 4_096,
    min: 1,
    max: 1_000_000,
    doc: "Answered events of a release that wait for its shadow models; further ones are logged without them.",
  }),
  shadowBatchMax: integer({ default: 64, min: 1, max: 1_024, doc: "Events that shadow models score at a time." }),
  shadowDelayMs: integer({
    default: 5,
    min: 0,
    max: 60_000,
    doc: "Longest wait of an event for its shadow batch to fill.",
  }),
  shadowTimeoutMs: integer({ default: 1_000, min: 10, max: 600_000, doc: "Timeout of each call for shadow models." }),
  backgroundTimeoutMs: integer({
    default: 2_000,
    min: 10,
    max: 600_000,
    doc: "Timeout of each call that refreshes a fallback list.",
  }),
  warmTimeoutMs: integer({
    default: 15_000,
    min: 1_000,
    max: 86_400_000,
    doc: "Longest time that a release may take to answer its examples before its load counts as failed and another release has its turn.",
  }),
  warmRequestMs: integer({
    default: 10_000,
    min: 10,
    max: 600_000,
    doc: "Deadline of each warm-up request; replaces the pipeline's own.",
  }),
  drainMs: integer({
    default: 2_000,
    min: 0,
    max: 600_000,
    doc: "Time to log what waits when the gateway closes.",
  }),
});

/** The gateway's settings. */
export type Settings = SettingsOf<typeof config>;
