import { randomBytes } from "node:crypto";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { isWeftError } from "@weft/errors";
import type { Logger } from "@weft/telemetry";
import { Generation } from "../domain/generation.ts";
import { type BuildLimits, GenerationBuilder, type ItemBatch } from "../domain/generation-builder.ts";
import type { Metric } from "../domain/vector-index.ts";
import { errors } from "../errors.ts";
import {
  CorruptFileError,
  encodeDictionaries,
  encodeKeys,
  generationFiles,
  HashedFile,
  hashFile,
  type Manifest,
  manifestFile,
  readGeneration,
  readManifest,
  sizeBytesOf,
  syncPath,
  writeHashed,
  writeManifest,
} from "./generation-files.ts";
import type { GraphResult, GraphTask } from "./graph-worker.ts";
import { type GraphOptions, searchCosts } from "./usearch-index.ts";

/** How generations are built and kept. */
export interface GenerationStoreOptions {
  readonly directory: string;
  readonly graph: GraphOptions;
  readonly buildThreadCount: number;
  readonly buildsMax: number;
  readonly limits: BuildLimits;
  /** Newest generations kept of an index. */
  readonly generationsKept: number;
  /** Generations held in memory. */
  readonly openGenerationsMax: number;
  readonly recallSampleCount: number;
  readonly recallNeighborCount: number;
  readonly nowMs: () => number;
  readonly logger: Logger;
}

/** What is to be built. */
export interface BuildHeader {
  readonly scenario: string;
  readonly index: string;
  readonly dimension: number;
  readonly metric: Metric;
  /** A repeat of the id that made a generation answers that generation; empty: none. */
  readonly requestId: string;
}

/** What a build made, or found made. */
export interface BuildResult {
  readonly generation: number;
  readonly itemCount: number;
  readonly recall: number;
}

/** A generation on the disk. */
export interface StoredGeneration {
  readonly scenario: string;
  readonly index: string;
  readonly generation: number;
  readonly manifest: Manifest | undefined;
  /** Size of its files. */
  readonly sizeBytes: number;
}

interface Entry extends StoredGeneration {
  readonly folder: string;
  /** Why it cannot be read, where even its manifest cannot. */
  readonly fault: CorruptFileError | undefined;
  /** Labelled releases that name it; while there are some it is neither removed nor put out of memory. */
  holders: number;
  open: Generation | undefined;
  opening: Promise<Generation> | undefined;
  usedAt: number;
}

const generationName = /^[1-9][0-9]{0,14}$/;
const buildingPrefix = ".building-";
const removedPrefix = ".removed-";

/**
 * Generations of indexes as folders `<scenario>/<index>/<generation>`. A generation appears by one rename, after its
 * files are synced and were read back; what a build or a removal that was cut off left behind is cleared at the start.
 */
export class GenerationStore {
  private readonly options: GenerationStoreOptions;
  /** "scenario/index" → its generations by number. */
  private readonly indexes = new Map<string, Map<number, Entry>>();
  private readonly building = new Map<string, Promise<unknown>>();
  private readonly workers = new Set<Worker>();
  private uses = 0;
  private closed = false;

  private constructor(options: GenerationStoreOptions) {
    this.options = options;
  }

  /** Opens a folder of generations, and clears what was cut off. */
  static async open(options: GenerationStoreOptions): Promise<GenerationStore> {
    const store = new GenerationStore(options);
    await mkdir(options.directory, { recursive: true });
    await store.scan();
    return store;
  }

  /** Whether an index has any generation. */
  has(scenario: string, index: string): boolean {
    return (this.indexes.get(indexKey(scenario, index))?.size ?? 0) > 0;
  }

  /** Every generation, by scenario and index; newest first within an index. */
  list(scenario: string): readonly StoredGeneration[] {
    return [...this.indexes.values()]
      .flatMap((generations) => [...generations.values()])
      .filter((entry) => scenario === "" || entry.scenario === scenario)
      .sort(
        (a, b) => compareText(a.scenario, b.scenario) || compareText(a.index, b.index) || b.generation - a.generation,
      );
  }

  /**
   * A generation, or the newest (0), with its number. Answers at once where it is in memory. Throws INDEX_NOT_FOUND,
   * GENERATION_NOT_FOUND, GENERATION_CORRUPT.
   */
  get(scenario: string, index: string, generation: number): OpenedGeneration | Promise<OpenedGeneration> {
    const entry = this.find(scenario, index, generation);
    entry.usedAt = ++this.uses;
    const number = entry.generation;
    if (entry.open !== undefined) return { number, content: entry.open };
    return this.read(entry).then((content) => ({ number, content }));
  }

  /** Reads a generation and keeps it, on the disk and in memory, until `release` is called as often. */
  async hold(scenario: string, index: string, generation: number): Promise<void> {
    const entry = this.find(scenario, index, generation);
    entry.holders += 1;
    try {
      await this.read(entry);
    } catch (error) {
      entry.holders -= 1;
      throw error;
    }
  }

  /** Gives back what `hold` kept; it goes when a later build makes it too old. */
  release(scenario: string, index: string, generation: number): void {
    const entry = this.indexes.get(indexKey(scenario, index))?.get(generation);
    if (entry !== undefined && entry.holders > 0) entry.holders -= 1;
  }

  /**
   * Builds the next generation from a stream of items. Throws BUILD_INVALID, BUILD_TOO_LARGE, BUILD_IN_PROGRESS,
   * BUILDS_FULL, DISK_FULL, BUILD_FAILED; whatever it throws, the generations before are untouched.
   */
  async build(header: BuildHeader, batches: AsyncIterable<ItemBatch>, signal: AbortSignal): Promise<BuildResult> {
    const { scenario, index, requestId } = header;
    const key = indexKey(scenario, index);
    const made = this.madeBy(key, requestId);
    if (made !== undefined) return made;
    if (this.building.has(key)) throw errors.BUILD_IN_PROGRESS({ index });
    if (this.building.size >= this.options.buildsMax) throw errors.BUILDS_FULL({ buildsMax: this.options.buildsMax });
    const work = this.make(header, batches, signal).finally(() => this.building.delete(key));
    this.building.set(
      key,
      work.catch(() => {}),
    );
    return work;
  }

  /** Ends builds that run. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all([...this.workers].map((worker) => worker.terminate()));
    await Promise.all(this.building.values());
  }

  private async make(
    header: BuildHeader,
    batches: AsyncIterable<ItemBatch>,
    signal: AbortSignal,
  ): Promise<BuildResult> {
    const folder = join(this.options.directory, `${buildingPrefix}${randomBytes(8).toString("hex")}`);
    try {
      await mkdir(folder);
      const builder = new GenerationBuilder(header.dimension, header.metric, this.options.limits);
      const vectors = await this.writeVectors(folder, builder, batches, signal);
      const manifest = await this.writeRest(folder, header, builder, vectors, signal);
      const content = await readContent(folder, manifest, this.options.graph);
      signal.throwIfAborted();
      await this.publish(folder, manifest, content);
      return { generation: manifest.generation, itemCount: manifest.itemCount, recall: manifest.recall };
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw buildError(error, signal);
    }
  }

  private async scan(): Promise<void> {
    const { directory, logger } = this.options;
    for (const scenario of await folders(directory)) {
      if (scenario.startsWith(buildingPrefix) || scenario.startsWith(removedPrefix)) {
        await rm(join(directory, scenario), { recursive: true, force: true });
        continue;
      }
      for (const index of await folders(join(directory, scenario))) {
        for (const name of await folders(join(directory, scenario, index))) {
          if (!generationName.test(name)) continue;
          const folder = join(directory, scenario, index, name);
          const entry = await readEntry(folder, scenario, index, Number(name));
          if (entry.fault !== undefined)
            logger.error({ scenario, index, generation: name, err: entry.fault }, "corrupt generation");
          this.add(entry);
        }
      }
    }
  }

  private add(entry: Entry): void {
    const key = indexKey(entry.scenario, entry.index);
    const generations = this.indexes.get(key) ?? new Map<number, Entry>();
    generations.set(entry.generation, entry);
    this.indexes.set(key, generations);
  }

  private find(scenario: string, index: string, generation: number): Entry {
    const generations = this.indexes.get(indexKey(scenario, index));
    if (generations === undefined || generations.size === 0) throw errors.INDEX_NOT_FOUND({ scenario, index });
    const entry = generations.get(generation === 0 ? Math.max(...generations.keys()) : generation);
    if (entry === undefined) throw errors.GENERATION_NOT_FOUND({ scenario, index, generation });
    return entry;
  }

  private read(entry: Entry): Promise<Generation> {
    if (entry.open !== undefined) return Promise.resolve(entry.open);
    entry.opening ??= this.readFiles(entry).finally(() => {
      entry.opening = undefined;
    });
    return entry.opening;
  }

  private async readFiles(entry: Entry): Promise<Generation> {
    const { scenario, index, generation, manifest, folder } = entry;
    try {
      if (manifest === undefined) throw entry.fault;
      const content = await readContent(folder, manifest, this.options.graph);
      entry.open = content;
      entry.usedAt = ++this.uses;
      this.makeRoom();
      return content;
    } catch (error) {
      const corrupt =
        error instanceof CorruptFileError
          ? error
          : new CorruptFileError(generationFiles.graph, "cannot be read", error);
      const { file, problem } = corrupt;
      throw errors.GENERATION_CORRUPT({ scenario, index, generation, file, problem }, { cause: error });
    }
  }

  /** Puts the least recently searched generations out of memory that no labelled release names. */
  private makeRoom(): void {
    const open = [...this.indexes.values()].flatMap((all) =>
      [...all.values()].filter((entry) => entry.open !== undefined),
    );
    const leaving = open.filter((entry) => entry.holders === 0).sort((a, b) => a.usedAt - b.usedAt);
    for (const entry of leaving.slice(0, Math.max(0, open.length - this.options.openGenerationsMax)))
      entry.open = undefined;
  }

  private madeBy(key: string, requestId: string): BuildResult | undefined {
    if (requestId === "") return undefined;
    for (const { manifest } of this.indexes.get(key)?.values() ?? []) {
      if (manifest?.requestId === requestId) {
        return { generation: manifest.generation, itemCount: manifest.itemCount, recall: manifest.recall };
      }
    }
    return undefined;
  }

  private async writeVectors(
    folder: string,
    builder: GenerationBuilder,
    batches: AsyncIterable<ItemBatch>,
    signal: AbortSignal,
  ): Promise<Manifest["files"][string]> {
    const file = await HashedFile.create(join(folder, generationFiles.vectors));
    try {
      for await (const batch of batches) {
        signal.throwIfAborted();
        await file.append(new Uint8Array(builder.add(batch).buffer));
      }
      return await file.finish();
    } catch (error) {
      await file.abandon();
      throw error;
    }
  }

  private async writeRest(
    folder: string,
    header: BuildHeader,
    builder: GenerationBuilder,
    vectors: Manifest["files"][string],
    signal: AbortSignal,
  ): Promise<Manifest> {
    const { scenario, index, dimension, metric, requestId } = header;
    const path = (file: string) => join(folder, file);
    const keys = builder.keys();
    const columns = builder.attributes();
    const codes = columns.map(({ codes }) => new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength));
    const itemCount = builder.itemCount;
    const files = {
      [generationFiles.vectors]: vectors,
      [generationFiles.keys]: await writeHashed(path(generationFiles.keys), encodeKeys(keys)),
      [generationFiles.attributes]: await writeHashed(path(generationFiles.attributes), [
        Buffer.from(encodeDictionaries(columns)),
      ]),
      [generationFiles.codes]: await writeHashed(path(generationFiles.codes), codes),
    };
    const { recall } = await this.buildGraph(
      {
        folder,
        itemCount,
        dimension,
        metric,
        options: this.options.graph,
        threadCount: this.options.buildThreadCount,
        recallSampleCount: this.options.recallSampleCount,
        recallNeighborCount: this.options.recallNeighborCount,
      },
      signal,
    );
    await syncPath(path(generationFiles.graph));
    const known = this.indexes.get(indexKey(scenario, index))?.keys() ?? [];
    const manifest: Manifest = {
      format: 1,
      scenario,
      index,
      generation: Math.max(0, ...known) + 1,
      dimension,
      metric,
      keyType: keys instanceof BigInt64Array ? "integer" : "text",
      itemCount,
      graph: this.options.graph,
      requestId,
      createdMs: this.options.nowMs(),
      recall,
      files: { ...files, [generationFiles.graph]: await hashFile(path(generationFiles.graph)) },
    };
    await writeManifest(folder, manifest);
    await syncPath(folder);
    return manifest;
  }

  /** Builds the graph on a thread of its own: linking 100,000 vectors takes half a minute. */
  private buildGraph(task: GraphTask, signal: AbortSignal): Promise<GraphResult> {
    const worker = new Worker(join(__dirname, "graph-worker.js"), { workerData: task });
    this.workers.add(worker);
    const cancel = () => void worker.terminate();
    signal.addEventListener("abort", cancel, { once: true });
    return new Promise<GraphResult>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
      worker.once("exit", () =>
        reject(this.closed ? errors.CANCELLED({}) : new Error("the graph's thread ended early")),
      );
    }).finally(() => {
      signal.removeEventListener("abort", cancel);
      this.workers.delete(worker);
      cancel();
    });
  }

  private async publish(folder: string, manifest: Manifest, content: Generation): Promise<void> {
    const { scenario, index, generation } = manifest;
    const parent = join(this.options.directory, scenario, index);
    await mkdir(parent, { recursive: true });
    const final = join(parent, String(generation));
    await rename(folder, final);
    for (const path of [parent, join(this.options.directory, scenario), this.options.directory]) await syncPath(path);
    this.add({ ...entryOf(final, scenario, index, generation, manifest), open: content, usedAt: ++this.uses });
    this.makeRoom();
    await this.removeOld(indexKey(scenario, index));
  }

  /** Removes generations beyond those kept; a failure leaves them for the next time. */
  private async removeOld(key: string): Promise<void> {
    const generations = this.indexes.get(key) ?? new Map<number, Entry>();
    const old = [...generations.values()]
      .sort((a, b) => b.generation - a.generation)
      .slice(this.options.generationsKept);
    for (const entry of old) {
      if (entry.holders > 0 || entry.opening !== undefined) continue;
      generations.delete(entry.generation);
      const removed = join(this.options.directory, `${removedPrefix}${randomBytes(8).toString("hex")}`);
      try {
        await rename(entry.folder, removed);
        await rm(removed, { recursive: true, force: true });
      } catch (error) {
        this.options.logger.warn(
          { key, generation: entry.generation, err: error },
          "an old generation could not be removed",
        );
      }
    }
  }
}

/** A generation in memory with its number. */
export interface OpenedGeneration {
  readonly number: number;
  readonly content: Generation;
}

/** Checks and reads a generation; it is searched as the settings say now, whatever they were when it was built. */
async function readContent(folder: string, manifest: Manifest, { searchExpansion }: GraphOptions): Promise<Generation> {
  const graph = { ...manifest.graph, searchExpansion };
  const content = await readGeneration(folder, { ...manifest, graph });
  return new Generation({ metric: manifest.metric, ...content, costs: searchCosts(graph) });
}

async function readEntry(folder: string, scenario: string, index: string, generation: number): Promise<Entry> {
  try {
    const manifest = await readManifest(folder);
    if (manifest.scenario !== scenario || manifest.index !== index || manifest.generation !== generation) {
      throw new CorruptFileError(
        manifestFile,
        `is that of ${manifest.scenario}/${manifest.index}/${manifest.generation}`,
      );
    }
    return entryOf(folder, scenario, index, generation, manifest);
  } catch (error) {
    const fault =
      error instanceof CorruptFileError ? error : new CorruptFileError(manifestFile, "cannot be read", error);
    return { ...entryOf(folder, scenario, index, generation, undefined), fault };
  }
}

function entryOf(
  folder: string,
  scenario: string,
  index: string,
  generation: number,
  manifest: Manifest | undefined,
): Entry {
  return {
    folder,
    scenario,
    index,
    generation,
    manifest,
    sizeBytes: manifest === undefined ? 0 : sizeBytesOf(manifest),
    fault: undefined,
    holders: 0,
    open: undefined,
    opening: undefined,
    usedAt: 0,
  };
}

function buildError(error: unknown, signal: AbortSignal): Error {
  if (signal.aborted) return errors.CANCELLED({}, { cause: error });
  if (isWeftError(error)) return error;
  if (error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT")) {
    return errors.DISK_FULL({}, { cause: error });
  }
  return errors.BUILD_FAILED({ problem: error instanceof Error ? error.message : String(error) }, { cause: error });
}

function indexKey(scenario: string, index: string): string {
  return `${scenario}/${index}`;
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

async function folders(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}
