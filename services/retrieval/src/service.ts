import { retrieval } from "@weft/contracts";
import type { CallContext, Handlers } from "@weft/rpc";
import type { BuildHeader, GenerationStore, StoredGeneration } from "./adapters/generation-store.ts";
import type { AttributeCondition, AttributeScalar } from "./domain/attribute-column.ts";
import type { CandidateResult, SearchPlan } from "./domain/candidate-search.ts";
import type { ItemBatch } from "./domain/generation-builder.ts";
import type { ItemKeyColumn, KeyList } from "./domain/item-keys.ts";
import type { Metric } from "./domain/vector-index.ts";
import { errors } from "./errors.ts";
import type { RetrievalMetrics } from "./metrics.ts";

/** What the handlers need. */
export interface RetrievalServiceOptions {
  readonly store: GenerationStore;
  /** Generation of an index that a release names; undefined where it names none. Throws for a release that is not here. */
  readonly generationOf: (release: string, scenario: string, index: string) => number | undefined;
  readonly metrics: RetrievalMetrics;
  /** Longest time that the queries of one request hold the event loop, in milliseconds. */
  readonly sliceMs: number;
  /** Milliseconds since 1970, with fractions. */
  readonly nowMs: () => number;
  /** Resolves when the event loop has seen to everything else. */
  readonly turn: () => Promise<void>;
}

const limits = {
  queriesMax: 256,
  neighborsMax: 10_000,
  neighborsDefault: 100,
  filtersMax: 32,
  anyOfMax: 1_000,
  excludedMax: 10_000,
  dimensionMax: 4_096,
  itemsPerMessageMax: 10_000,
  requestIdBytesMax: 128,
  pageSizeMax: 1_000,
  pageSizeDefault: 100,
} as const;

const nameShape = /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/;
const metricOf: Readonly<Record<number, Metric>> = {
  [retrieval.Metric.INNER_PRODUCT]: "inner_product",
  [retrieval.Metric.COSINE]: "cosine",
};

/** Nearest neighbours over the generations of a store. */
export function createRetrievalService(options: RetrievalServiceOptions): Handlers<typeof retrieval.RetrievalService> {
  const { store, metrics, nowMs } = options;
  return {
    async search(request, context) {
      const { scenario, index } = request;
      checkName("scenario", scenario);
      checkName("index", index);
      const startMs = nowMs();
      const number = generationNumber(request, context, options);
      const found = store.get(scenario, index, number);
      const { number: generation, content } = "then" in found ? await found : found;
      const queries = readQueries(request.queries, index, content.dimension);
      const search = content.prepare({
        count: readCount(request.neighborCount),
        conditions: readFilters(request.filters),
        excluded: readExcluded(request.excluded),
        exact: request.exact,
      });
      const neighbors: retrieval.Neighbors[] = [];
      let plan: SearchPlan = "graph";
      let sliceStartMs = nowMs();
      for (const query of queries) {
        if (neighbors.length > 0 && nowMs() - sliceStartMs >= options.sliceMs) {
          await options.turn();
          sliceStartMs = nowMs();
        }
        checkAlive(context, nowMs());
        const result = search(query);
        plan = heavier(plan, result.plan);
        neighbors.push(neighborsOf(result, content.parts.keys));
      }
      metrics.searched(scenario, index, plan, queries.length, (nowMs() - startMs) / 1_000);
      const response: retrieval.SearchResponse = {
        $typeName: "weft.retrieval.v1.SearchResponse",
        neighbors,
        generation: BigInt(generation),
        plan,
      };
      return response;
    },

    async buildIndex(requests, context) {
      const parts = requests[Symbol.asyncIterator]();
      try {
        const first = await parts.next();
        const part = first.done === true ? undefined : first.value.part;
        if (part?.case !== "header") throw invalid("part", "the first message must be the header");
        const header = readHeader(part.value);
        const startMs = nowMs();
        try {
          const { generation, itemCount, recall } = await store.build(header, itemBatches(parts), context.signal);
          metrics.built(header.scenario, header.index, itemCount, recall, (nowMs() - startMs) / 1_000);
          return { generation: BigInt(generation), itemCount: BigInt(itemCount), recall };
        } catch (error) {
          metrics.buildFailed(header.scenario, header.index);
          throw error;
        }
      } finally {
        // A build that is over before its stream is, faulty or made already, lets the caller know.
        void parts.return?.()?.catch(() => {});
      }
    },

    listIndexes(request) {
      if (request.scenario !== "") checkName("scenario", request.scenario);
      const size = readPageSize(request.pageSize);
      const all = store.list(request.scenario);
      const after = request.pageToken === "" ? undefined : readPageToken(request.pageToken);
      const from = after === undefined ? 0 : all.findIndex((stored) => comesAfter(stored, after));
      const page = from === -1 ? [] : all.slice(from, from + size);
      const last = page[page.length - 1];
      const more = last !== undefined && from + size < all.length;
      return { generations: page.map(generationMessage), nextPageToken: more ? pageToken(last) : "" };
    },
  };
}

function invalid(field: string, problem: string): Error {
  return errors.REQUEST_INVALID({ field, problem }, { violations: [{ field, description: problem }] });
}

function checkName(field: string, name: string): void {
  if (!nameShape.test(name))
    throw invalid(field, "a name has 1 to 128 letters, digits, - and _, a letter or digit first");
}

function checkAlive(context: CallContext, now: number): void {
  if (context.deadlineMs <= now || context.cancelled === "deadline") throw errors.DEADLINE_PASSED({});
  if (context.cancelled !== undefined) throw errors.CANCELLED({});
}

/** The generation asked for, the release's, or 0 for the newest. */
function generationNumber(
  request: retrieval.SearchRequest,
  context: CallContext,
  { generationOf }: RetrievalServiceOptions,
): number {
  const { generation, scenario, index } = request;
  if (generation < 0n || generation > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid("generation", "must be 0 or more");
  if (generation > 0n || context.release === "") return Number(generation);
  return generationOf(context.release, scenario, index) ?? 0;
}

function readCount(count: number): number {
  if (count < 0 || count > limits.neighborsMax) throw invalid("neighbor_count", `must be 1 to ${limits.neighborsMax}`);
  return count === 0 ? limits.neighborsDefault : count;
}

/** One array a query, each a copy: bytes of a message may lie at any address, and cosine queries are scaled. */
function readQueries(bytes: Uint8Array, index: string, dimension: number): Float32Array[] {
  const queryBytes = dimension * 4;
  const count = bytes.byteLength / queryBytes;
  if (count < 1 || !Number.isInteger(count) || count > limits.queriesMax) {
    throw errors.QUERY_DIMENSION({ index, dimension, bytes: bytes.byteLength });
  }
  const all = bytes.slice();
  return Array.from({ length: count }, (_, i) => new Float32Array(all.buffer, i * queryBytes, dimension));
}

function readFilters(filters: readonly retrieval.AttributeFilter[]): AttributeCondition[] {
  if (filters.length > limits.filtersMax) throw invalid("filters", `at most ${limits.filtersMax}`);
  return filters.map(({ attribute, anyOf, atLeast, atMost }, i) => {
    const field = `filters[${i}]`;
    if (anyOf.length > limits.anyOfMax) throw invalid(`${field}.any_of`, `at most ${limits.anyOfMax} values`);
    if (anyOf.length === 0 && atLeast === undefined && atMost === undefined)
      throw invalid(field, "it has no condition");
    if (Number.isNaN(atLeast) || Number.isNaN(atMost)) throw invalid(field, "a bound is not a number");
    return { attribute, anyOf: anyOf.map(readScalar), atLeast, atMost };
  });
}

function readScalar({ kind }: retrieval.AttributeValue): AttributeScalar {
  return kind.case === undefined ? null : kind.value;
}

function readExcluded(keys: retrieval.ItemKeys | undefined): KeyList | undefined {
  if (keys === undefined || keys.texts.length + keys.integers.length === 0) return undefined;
  const list = readKeys("excluded", keys);
  if (list.values.length > limits.excludedMax) throw invalid("excluded", `at most ${limits.excludedMax} keys`);
  return list;
}

function readKeys(field: string, { texts, integers }: retrieval.ItemKeys): KeyList {
  if (texts.length > 0 && integers.length > 0) throw invalid(field, "texts and integers are both set");
  return texts.length > 0 ? { type: "text", values: texts } : { type: "integer", values: integers };
}

function heavier(a: SearchPlan, b: SearchPlan): SearchPlan {
  return a === "graph" ? b : a;
}

function neighborsOf(result: CandidateResult, keys: ItemKeyColumn): retrieval.Neighbors {
  const found = keys.at(result.rows);
  return {
    $typeName: "weft.retrieval.v1.Neighbors",
    keys: {
      $typeName: "weft.retrieval.v1.ItemKeys",
      texts: found.type === "text" ? [...found.values] : [],
      integers: found.type === "integer" ? [...found.values] : [],
    },
    similarities: Array.from(result.similarities),
  };
}

function readHeader(header: retrieval.IndexHeader): BuildHeader {
  const { scenario, index, dimension, requestId } = header;
  checkName("header.scenario", scenario);
  checkName("header.index", index);
  if (dimension < 1 || dimension > limits.dimensionMax)
    throw invalid("header.dimension", `must be 1 to ${limits.dimensionMax}`);
  const metric = metricOf[header.metric];
  if (metric === undefined) throw invalid("header.metric", "must be METRIC_INNER_PRODUCT or METRIC_COSINE");
  if (Buffer.byteLength(requestId) > limits.requestIdBytesMax) {
    throw invalid("header.request_id", `at most ${limits.requestIdBytesMax} bytes`);
  }
  return { scenario, index, dimension, metric, requestId };
}

async function* itemBatches(parts: AsyncIterator<retrieval.BuildIndexRequest>): AsyncIterable<ItemBatch> {
  for (let step = await parts.next(); step.done !== true; step = await parts.next()) {
    const { part } = step.value;
    if (part.case !== "items") throw invalid("part", "every message after the header holds items");
    const { keys, vectors, attributes } = part.value;
    if (keys === undefined) throw invalid("items.keys", "missing");
    const list = readKeys("items.keys", keys);
    if (list.values.length > limits.itemsPerMessageMax) {
      throw invalid("items.keys", `at most ${limits.itemsPerMessageMax} a message`);
    }
    yield {
      keys: list,
      vectors,
      attributes: attributes.map(({ name, values }) => ({ name, values: values.map(readScalar) })),
    };
  }
}

function readPageSize(size: number): number {
  if (size < 0 || size > limits.pageSizeMax) throw invalid("page_size", `must be 1 to ${limits.pageSizeMax}`);
  return size === 0 ? limits.pageSizeDefault : size;
}

type Position = Pick<StoredGeneration, "scenario" | "index" | "generation">;

function pageToken({ scenario, index, generation }: Position): string {
  return Buffer.from(`${scenario}/${index}/${generation}`).toString("base64url");
}

function readPageToken(token: string): Position {
  const [scenario = "", index = "", generation = ""] = Buffer.from(token, "base64url").toString().split("/");
  if (!nameShape.test(scenario) || !nameShape.test(index) || !/^[0-9]{1,15}$/.test(generation)) {
    throw invalid("page_token", "not one that this service gave");
  }
  return { scenario, index, generation: Number(generation) };
}

/** Whether a generation comes behind a position in the order of the list. */
function comesAfter(stored: Position, position: Position): boolean {
  if (stored.scenario !== position.scenario) return stored.scenario > position.scenario;
  if (stored.index !== position.index) return stored.index > position.index;
  return stored.generation < position.generation;
}

function generationMessage({ scenario, index, generation, manifest, sizeBytes }: StoredGeneration) {
  const createdMs = manifest?.createdMs ?? 0;
  const seconds = Math.floor(createdMs / 1_000);
  const protoMetric = { inner_product: retrieval.Metric.INNER_PRODUCT, cosine: retrieval.Metric.COSINE } as const;
  return {
    scenario,
    index,
    generation: BigInt(generation),
    itemCount: BigInt(manifest?.itemCount ?? 0),
    dimension: manifest?.dimension ?? 0,
    metric: manifest === undefined ? retrieval.Metric.UNSPECIFIED : protoMetric[manifest.metric],
    createTime: { seconds: BigInt(seconds), nanos: Math.round((createdMs - seconds * 1_000) * 1e6) },
    sizeBytes: BigInt(sizeBytes),
  };
}
