import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { ExactIndex } from "../domain/exact-index.ts";
import type { Metric } from "../domain/vector-index.ts";
import { generationFiles, readVectors } from "./generation-files.ts";
import { type GraphOptions, UsearchIndex } from "./usearch-index.ts";

/** What a worker is told to build. */
export interface GraphTask {
  /** Folder with the vectors file; the graph is written beside it. */
  readonly folder: string;
  readonly itemCount: number;
  readonly dimension: number;
  readonly metric: Metric;
  readonly options: GraphOptions;
  readonly threadCount: number;
  readonly recallSampleCount: number;
  readonly recallNeighborCount: number;
}

/** What a worker answers. */
export interface GraphResult {
  /** Mean share of the true neighbours that the graph as read back finds, 0 to 1. */
  readonly recall: number;
}

async function buildGraph(task: GraphTask): Promise<GraphResult> {
  const { folder, itemCount, dimension, metric, options } = task;
  const exact = new ExactIndex(await readVectors(folder, itemCount, dimension), dimension);
  const path = join(folder, generationFiles.graph);
  UsearchIndex.build(exact, metric, options, task.threadCount).save(path);
  const graph = UsearchIndex.load(path, exact, metric, options);
  return { recall: measureRecall(exact, graph, task.recallSampleCount, task.recallNeighborCount) };
}

/** Asks the graph for the neighbours of evenly spaced rows. */
function measureRecall(exact: ExactIndex, graph: UsearchIndex, sampleCount: number, neighborCount: number): number {
  const samples = Math.min(sampleCount, exact.size);
  const count = Math.min(neighborCount, exact.size);
  let found = 0;
  for (let i = 0; i < samples; i += 1) {
    const row = Math.floor((i * exact.size) / samples);
    const query = exact.vectors.slice(row * exact.dimension, (row + 1) * exact.dimension);
    const truth = new Set(exact.search(query, count).rows);
    for (const neighbor of graph.search(query, count).rows) if (truth.has(neighbor)) found += 1;
  }
  return samples === 0 ? 1 : found / (samples * count);
}

if (parentPort !== null) {
  const port = parentPort;
  buildGraph(workerData as GraphTask).then(
    (result) => port.postMessage(result),
    (error: unknown) => {
      throw error;
    },
  );
}
