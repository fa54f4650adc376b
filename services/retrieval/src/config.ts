import { choice, defineConfig, integer, number, type SettingsOf } from "@weft/config";

/** Settings of retrieval. */
export const config = defineConfig("retrieval", {
  quantization: choice({
    values: ["f32", "i8"],
    default: "f32",
    doc: "Elements of the graph of a cosine index. i8 takes a quarter of the memory and about 0.7 of the time, and finds some 0.5 % fewer neighbours; similarities are always computed from float32. Inner-product graphs are f32: i8 would lose the lengths.",
  }),
  connectivity: integer({
    default: 16,
    min: 4,
    max: 128,
    doc: "Edges of a node of the graph; more find more and take more memory.",
  }),
  buildExpansion: integer({
    default: 128,
    min: 16,
    max: 4_096,
    doc: "Candidates kept while a node is linked; more find more and build slower.",
  }),
  searchExpansion: integer({
    default: 256,
    min: 16,
    max: 10_000,
    doc: "Least number of candidates kept while the graph is walked; more find more and search slower.",
  }),
  buildThreadCount: integer({ default: 1, min: 1, max: 64, doc: "Threads of a build, outside the event loop." }),
  buildsMax: integer({ default: 2, min: 1, max: 16, doc: "Builds that may run at once." }),
  itemsMax: integer({ default: 2_000_000, min: 1, max: 100_000_000, doc: "Most items in a generation." }),
  vectorBytesMax: integer({
    default: 2_147_483_648,
    min: 4,
    max: 8_589_934_592,
    doc: "Most bytes of vectors in a generation, as float32.",
  }),
  generationsKept: integer({
    default: 3,
    min: 1,
    max: 100,
    doc: "Newest generations kept of an index; those that a labelled release names are kept besides.",
  }),
  recallSampleCount: integer({
    default: 200,
    min: 1,
    max: 10_000,
    doc: "Vectors that a build asks back from the new graph to measure its recall.",
  }),
  recallNeighborCount: integer({
    default: 100,
    min: 1,
    max: 1_000,
    doc: "Neighbours (k) at which recall is measured.",
  }),
  openGenerationsMax: integer({
    default: 32,
    min: 1,
    max: 1_000,
    doc: "Generations held in memory; those that no labelled release names leave first, the least recently searched first.",
  }),
  releaseGraceMs: integer({
    default: 30_000,
    min: 0,
    max: 3_600_000,
    doc: "How long the generations of a release are held after it lost its last label, in milliseconds.",
  }),
  sliceMs: number({
    default: 5,
    min: 0.1,
    max: 1_000,
    doc: "Longest time that the queries of one request hold the event loop, in milliseconds.",
  }),
});

/** Parsed settings of retrieval. */
export type Settings = SettingsOf<typeof config>;
