import { defineConfig, integer, type SettingsOf } from "@weft/config";

/** Settings of the registry. */
export const config = defineConfig("registry", {
  artifactBytesMax: integer({
    default: 1_073_741_824,
    min: 1,
    max: 1_073_741_824,
    doc: "Greatest size of an artifact, in bytes.",
  }),
  onnxBytesMax: integer({
    default: 268_435_456,
    min: 1,
    max: 1_073_741_824,
    doc: "Greatest size of a model's ONNX file, in bytes; it is read into memory to be checked.",
  }),
  onnxNodesMax: integer({
    default: 50_000,
    min: 1,
    max: 10_000_000,
    doc: "Greatest number of nodes of a model's graph, those of subgraphs and functions included.",
  }),
  uploadsMax: integer({ default: 16, min: 1, max: 1_024, doc: "Uploads at a time; more are refused." }),
  downloadsMax: integer({ default: 64, min: 1, max: 4_096, doc: "Downloads at a time; more are refused." }),
  registrationsMax: integer({
    default: 4,
    min: 1,
    max: 64,
    doc: "Models checked at a time; more are refused.",
  }),
  watchersMax: integer({ default: 1_024, min: 1, max: 65_536, doc: "Callers watching releases; more are refused." }),
  scenariosMax: integer({ default: 256, min: 1, max: 10_000, doc: "Scenarios with labels; more are refused." }),
  requestIdsMax: integer({
    default: 10_000,
    min: 1,
    max: 1_000_000,
    doc: "Request ids of label moves remembered, the newest ones.",
  }),
});

export type Settings = SettingsOf<typeof config>;
