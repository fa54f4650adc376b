import type { FeatureReference, KeyType, Model, RecommendPipeline, Scenario, Value, ValueType } from "@weft/scenario";
import { callMs, DeadlineBudget } from "./budget.ts";
import { type Candidate, mergeCandidates, orderByScore, type SourceResult } from "./candidates.ts";
import { budgetExhausted, type Degradation, FreshnessCheck, failedStage, StageFailure } from "./degradation.ts";
import { RequestInputs } from "./inputs.ts";
import { featureType } from "./item-filters.ts";
import {
  type FeatureColumn,
  type FeatureMatrix,
  type FeatureRead,
  FeatureStatus,
  type IndexTarget,
  type ItemFilter,
  type Key,
  type ModelTarget,
  type Peers,
} from "./peers.ts";
import type { PopularItem, PopularList } from "./popular-list.ts";
import { checkMatrix, modelTarget, type PlanOptions } from "./score-plan.ts";

/** A request for recommendations, checked. */
export interface RecommendInput {
  readonly user: Key;
  /** One value a request field, in the order of the plan's inputs. */
  readonly fields: readonly Value[];
  readonly count: number;
  readonly filters: readonly ItemFilter[];
  readonly excluded: readonly Key[];
  /** Microseconds since 1970. */
  readonly eventTimeUs: number;
}

/** One recommended item. */
export interface RankedItem {
  readonly key: Key;
  readonly score: number;
  readonly source: string;
  readonly attributes: Readonly<Record<FeatureReference, Value>>;
  /** Row of the answer's matrix; -1 where the ranker has not scored it. */
  readonly row: number;
}

/** Wall time of a stage. */
export interface StageTime {
  readonly stage: string;
  readonly ms: number;
}

/** The answer to one request. */
export interface RecommendAnswer {
  readonly items: readonly RankedItem[];
  /** Models that took part. */
  readonly models: readonly ModelTarget[];
  readonly degradations: readonly Degradation[];
  readonly stages: readonly StageTime[];
  /** Features of the candidates; undefined where the ranker has not scored. */
  readonly matrix: FeatureMatrix | undefined;
}

/** What a release brings to the plan of a recommender. */
export interface RecommendParts {
  /** The release's version of a model. */
  readonly version: (model: string) => string;
  /** The release's generation of an index; undefined where it has none yet. */
  readonly generation: (index: string) => bigint | undefined;
}

/** Limits of a recommender's plan. */
export interface RecommendOptions extends PlanOptions {
  /** Candidates that are scored, at most; 1 to 1,000. */
  readonly candidateMax: number;
  /** Time for the display attributes, in milliseconds. */
  readonly displayBudgetMs: number;
  /** Items that the fallback list holds, 1 to 1,000. */
  readonly popularMax: number;
}

interface QueryModel {
  readonly model: ModelTarget;
  /** Position of each of its features in the user read. */
  readonly columns: readonly number[];
}

interface Source {
  readonly name: string;
  readonly count: number;
  /** Undefined where the release holds no generation of the index. */
  readonly target: IndexTarget | undefined;
  /** Position among the query models. */
  readonly query: number;
}

/** How the user-side read of a request went. */
interface UserState {
  readonly columns: readonly FeatureColumn[];
  readonly seen: readonly Key[];
}

/** Most keys that a search takes as excluded. */
const excludedMax = 10_000;
const stages = { retrieval: 0, scoring: 1, display: 2 } as const;

/** The pipeline of a scenario that answers `Recommend`, compiled once a release: retrieval → filtering → scoring → ordering. */
export class RecommendPlan {
  readonly pipeline: RecommendPipeline;
  readonly inputs: RequestInputs;
  readonly model: ModelTarget;
  /** What filters can use: the attributes that every source's index carries, with their types. */
  readonly attributes: ReadonlyMap<FeatureReference, ValueType>;
  /** False while the release lacks an index that a source searches. */
  readonly hasIndexes: boolean;
  readonly popular: PopularList;
  /** Reads the fallback list. */
  readonly popularRead: FeatureRead;
  /** Reads what is known of the list's items: display and filter attributes. */
  readonly popularItemsRead: FeatureRead;
  readonly #userRead: FeatureRead;
  readonly #userViewColumns: readonly number[];
  readonly #seenColumn: number;
  readonly #queries: readonly QueryModel[];
  readonly #sources: readonly Source[];
  readonly #read: FeatureRead;
  readonly #displayRead: FeatureRead;
  readonly #budget: DeadlineBudget;
  readonly #freshness: FreshnessCheck;
  readonly #options: RecommendOptions;

  constructor(
    scenario: Scenario,
    pipeline: RecommendPipeline,
    parts: RecommendParts,
    popular: PopularList,
    options: RecommendOptions,
  ) {
    const { retrieval, filtering, scoring, ordering } = pipeline.stages;
    this.pipeline = pipeline;
    this.popular = popular;
    this.#options = options;
    this.inputs = new RequestInputs(scenario, [pipeline.user, pipeline.item]);
    this.model = modelTarget(scoring.model, parts.version);
    this.#read = this.inputs.read(scoring.model.features, scoring.model.name);
    this.#freshness = new FreshnessCheck("scoring", this.#read);

    const queryModels: readonly Model[] = [...new Set(retrieval.sources.map(({ queryModel }) => queryModel))];
    const references = [...new Set(queryModels.flatMap(({ features }) => features))];
    this.#seenColumn = filtering.seen === undefined ? -1 : references.length;
    this.#userRead = this.inputs.read(filtering.seen === undefined ? references : [...references, filtering.seen]);
    this.#userViewColumns = references.flatMap((reference, column) => {
      const view = scenario.views.find(({ name }) => name === reference.slice(0, reference.indexOf(":")));
      return view?.entities.some(({ entity }) => entity.name === pipeline.user.name) ? [column] : [];
    });
    this.#queries = queryModels.map((model) => ({
      model: modelTarget(model, parts.version),
      columns: model.features.map((reference) => references.indexOf(reference)),
    }));
    this.#sources = retrieval.sources.map(({ name, count, index, queryModel }) => {
      const generation = parts.generation(index.name);
      const target = { scenario: scenario.name, index: index.name, itemKey: index.item.key };
      return {
        name,
        count,
        target: generation === undefined ? undefined : { ...target, generation },
        query: queryModels.indexOf(queryModel),
      };
    });
    this.hasIndexes = this.#sources.every(({ target }) => target !== undefined);

    const attributes = retrieval.sources
      .map(({ index }) => index.attributes)
      .reduce((common, others) => common.filter((attribute) => others.includes(attribute)));
    this.attributes = new Map(
      attributes.flatMap((attribute) => {
        const type = featureType(scenario, attribute);
        return type === undefined ? [] : [[attribute, type] as const];
      }),
    );
    this.#displayRead = this.inputs.read(ordering.display);
    this.popularRead = this.inputs.read([pipeline.fallback.list]);
    this.popularItemsRead = this.inputs.read([...new Set([...ordering.display, ...attributes])]);
    const displayMs = ordering.display.length === 0 ? 0 : options.displayBudgetMs;
    // Filtering has no share: its list is read with the user's features, within retrieval's time.
    this.#budget = new DeadlineBudget([retrieval.budgetMs, scoring.budgetMs, displayMs], options.answerReserveMs);
  }

  get itemKey(): KeyType {
    return this.pipeline.item.key;
  }

  /**
   * Answers a request within `totalMs` of `startMs`. Without retrieval the fallback list answers, without scoring the
   * order of retrieval; no filter and no exclusion is ever violated. Rejects only when the caller has gone.
   */
  async run(input: RecommendInput, peers: Peers, startMs: number, totalMs: number): Promise<RecommendAnswer> {
    const { nowMs, candidateMax } = this.#options;
    const endMs = this.#budget.endMs(startMs, totalMs);
    const run = new Run(peers, this.#options);
    const retrievalStartMs = nowMs();
    const retrievalEndMs = retrievalStartMs + this.#budget.timeoutMs(stages.retrieval, endMs, retrievalStartMs);
    const user = await this.#readUser(input, peers, retrievalEndMs, run);
    const seen = user?.seen ?? [];
    const dropped = new Set<Key>(input.excluded);
    for (const key of seen) dropped.add(key);
    const found = user === undefined ? [] : await this.#retrieve(input, user, dropped, peers, retrievalEndMs, run);
    run.time("retrieval", nowMs() - retrievalStartMs);
    if (found.length === 0) return this.#answerPopular(input, dropped, run);

    const filteringStartMs = nowMs();
    const candidates = mergeCandidates(found, dropped, candidateMax);
    run.time("filtering", nowMs() - filteringStartMs);

    const scoringStartMs = nowMs();
    const scored = await this.#score(input, candidates, peers, endMs, run);
    run.time("scoring", nowMs() - scoringStartMs);

    const orderingStartMs = nowMs();
    const items = await this.#display(scored.items, input, peers, endMs, run);
    run.time("ordering", nowMs() - orderingStartMs);
    return run.answer(items, scored.matrix);
  }

  /** Reads the query models' features and the seen list in one call. Undefined where that fails or the user is unknown. */
  async #readUser(input: RecommendInput, peers: Peers, endMs: number, run: Run): Promise<UserState | undefined> {
    try {
      const timeoutMs = endMs - this.#options.nowMs();
      if (timeoutMs < callMs) throw budgetExhausted("retrieval");
      const keys = [[input.user], []];
      const columns = await peers.readColumns(this.#userRead, keys, input.fields, input.eventTimeUs, timeoutMs);
      if (columns.length !== this.#userRead.references.length)
        throw new StageFailure("FEATURES_MALFORMED", `wanted ${this.#userRead.references.length} columns of the user`);
      return { columns, seen: this.#seenColumn === -1 ? [] : readKeys(columns[this.#seenColumn]?.values[0]) };
    } catch (error) {
      run.fail("retrieval", error, this.pipeline.fallback.name);
      if (this.#seenColumn !== -1) run.fail("filtering", error, "");
      return undefined;
    }
  }

  /** Searches every source that can be; those that cannot are named in the answer. */
  async #retrieve(
    input: RecommendInput,
    user: UserState,
    dropped: ReadonlySet<Key>,
    peers: Peers,
    endMs: number,
    run: Run,
  ): Promise<readonly SourceResult[]> {
    const popular = this.pipeline.fallback.name;
    if (this.#isUnknown(user)) {
      run.fail("retrieval", new StageFailure("USER_UNKNOWN", "no features of the user were found", false), popular);
      return [];
    }
    const { nowMs } = this.#options;
    const excluded = [...dropped].slice(0, excludedMax);
    const embeddings = this.#queries.map(async ({ model, columns }) => {
      const timeoutMs = endMs - nowMs();
      if (timeoutMs < callMs) throw budgetExhausted("retrieval");
      const embedding = await peers.infer(model, 1, packRow(user.columns, columns), timeoutMs);
      if (embedding.length === 0 || !embedding.every(Number.isFinite))
        throw new StageFailure("EMBEDDING_INVALID", `model "${model.name}" answered no finite embedding`);
      return embedding;
    });
    const results = await Promise.allSettled(
      this.#sources.map(async ({ name, count, target, query }): Promise<SourceResult> => {
        const embedding = await embeddings[query];
        if (target === undefined)
          throw new StageFailure("INDEX_MISSING", `the release has no index for "${name}"`, false);
        const timeoutMs = endMs - nowMs();
        if (embedding === undefined || timeoutMs < callMs) throw budgetExhausted("retrieval");
        const neighbors = await peers.search(target, embedding, count, input.filters, excluded, timeoutMs);
        return { source: name, count, neighbors };
      }),
    );
    const found: SourceResult[] = [];
    const failures: { readonly source: string; readonly error: unknown }[] = [];
    for (const [position, result] of results.entries()) {
      if (result.status === "fulfilled") found.push(result.value);
      else failures.push({ source: this.#sources[position]?.name ?? "", error: result.reason });
    }
    const instead = found.length === 0 ? popular : found.map(({ source }) => source).join(",");
    for (const { source, error } of failures) run.fail("retrieval", error, instead, source);
    if (found.length > 0) for (const { model } of this.#queries) run.models.push(model);
    return found;
  }

  /** A user is unknown when no view of users has a row for it. */
  #isUnknown({ columns }: UserState): boolean {
    return (
      this.#userViewColumns.length > 0 &&
      this.#userViewColumns.every((column) => {
        const status = columns[column]?.statuses[0];
        return status === FeatureStatus.NotFound || status === FeatureStatus.Defaulted;
      })
    );
  }

  /** The best candidates by the ranker, or in the order of retrieval where it does not answer. */
  async #score(
    input: RecommendInput,
    candidates: readonly Candidate[],
    peers: Peers,
    endMs: number,
    run: Run,
  ): Promise<{ readonly items: readonly RankedItem[]; readonly matrix: FeatureMatrix | undefined }> {
    if (candidates.length === 0) return { items: [], matrix: undefined };
    const { nowMs } = this.#options;
    try {
      const startMs = nowMs();
      const scoringEndMs = startMs + this.#budget.timeoutMs(stages.scoring, endMs, startMs);
      if (scoringEndMs - startMs < callMs) throw budgetExhausted("scoring");
      const rows = candidates.length;
      const keys = [[input.user], candidates.map(({ key }) => key)];
      const readMs = scoringEndMs - startMs;
      const matrix = await peers.readMatrix(this.#read, keys, input.fields, input.eventTimeUs, readMs);
      checkMatrix(matrix, rows, this.model.features);
      const inferMs = scoringEndMs - nowMs();
      if (inferMs < callMs) throw budgetExhausted("scoring");
      const scores = await peers.infer(this.model, rows, matrix.values, inferMs);
      if (scores.length !== rows)
        throw new StageFailure(
          "SCORE_INVALID",
          `model "${this.model.name}" answered ${scores.length} scores of ${rows}`,
        );
      const best = orderByScore(scores, input.count);
      if (best.length === 0) throw new StageFailure("SCORE_INVALID", `no score of "${this.model.name}" is finite`);
      run.models.push(this.model);
      const items = best.flatMap((row) => {
        const candidate = candidates[row];
        return candidate === undefined ? [] : [{ ...candidate, score: scores[row] ?? 0, attributes: {}, row }];
      });
      for (const { row } of items) run.found = this.#freshness.check(matrix.statuses, row, 1, run.found);
      return { items, matrix };
    } catch (error) {
      run.fail("scoring", error, "retrieval");
      const items = candidates
        .slice(0, input.count)
        .map((candidate) => ({ ...candidate, score: candidate.similarity, attributes: {}, row: -1 }));
      return { items, matrix: undefined };
    }
  }

  /** Adds what the pipeline shows of each item; items go without it where it cannot be read. */
  async #display(
    items: readonly RankedItem[],
    input: RecommendInput,
    peers: Peers,
    endMs: number,
    run: Run,
  ): Promise<readonly RankedItem[]> {
    const { references } = this.#displayRead;
    if (references.length === 0 || items.length === 0) return items;
    try {
      const nowMs = this.#options.nowMs();
      const timeoutMs = this.#budget.timeoutMs(stages.display, endMs, nowMs);
      if (timeoutMs < callMs) throw budgetExhausted("ordering");
      const keys = [[input.user], items.map(({ key }) => key)];
      const columns = await peers.readColumns(this.#displayRead, keys, input.fields, input.eventTimeUs, timeoutMs);
      return items.map((item, row) => ({ ...item, attributes: readRow(references, columns, row) }));
    } catch (error) {
      run.fail("ordering", error, "");
      return items;
    }
  }

  #answerPopular(input: RecommendInput, dropped: ReadonlySet<Key>, run: Run): RecommendAnswer {
    const { name } = this.pipeline.fallback;
    const startMs = this.#options.nowMs();
    const { items, unknown } = this.popular.select(input.count, dropped, input.filters);
    const empty = (reason: string, subject: string) =>
      run.add({ stage: "ordering", reason, fallback: "", subject, failed: false });
    if (!this.popular.loaded) empty("FALLBACK_NOT_LOADED", name);
    if (unknown > 0) empty("ATTRIBUTES_UNKNOWN", name);
    const display = this.pipeline.stages.ordering.display;
    const ranked = items.map((item, position) => popularItem(item, position, display, name));
    run.time("ordering", this.#options.nowMs() - startMs);
    return run.answer(ranked, undefined);
  }

  /** Items of the fallback list from its two reads; `columns` is undefined where the second one failed. */
  popularItems(keys: readonly Key[], columns: readonly FeatureColumn[] | undefined): readonly PopularItem[] {
    const { references } = this.popularItemsRead;
    return keys.map((key, row) => ({
      key,
      attributes: columns === undefined ? undefined : readRow(references, columns, row),
    }));
  }

  /** Keys of the fallback list, best first, at most `popularMax`. */
  popularKeys(columns: readonly FeatureColumn[]): readonly Key[] {
    return readKeys(columns[0]?.values[0]).slice(0, this.#options.popularMax);
  }
}

/** What one request gathers on its way through the stages. */
class Run {
  readonly models: ModelTarget[] = [];
  found: Degradation[] | undefined;
  readonly #times: StageTime[] = [];
  readonly #peers: Peers;
  readonly #options: PlanOptions;

  constructor(peers: Peers, options: PlanOptions) {
    this.#peers = peers;
    this.#options = options;
  }

  time(stage: string, ms: number): void {
    this.#times.push({ stage, ms });
  }

  add(degradation: Degradation): void {
    this.found ??= [];
    this.found.push(degradation);
  }

  /** Notes that a stage failed; throws on where the caller has gone, because no answer is wanted then. */
  fail(stage: string, error: unknown, fallback: string, subject = ""): void {
    if (this.#peers.cancelled) throw error;
    const degradation = failedStage(stage, error, fallback, subject);
    this.add(degradation);
    if (degradation.failed) this.#options.onFailure(stage, degradation.reason, error);
  }

  answer(items: readonly RankedItem[], matrix: FeatureMatrix | undefined): RecommendAnswer {
    return { items, models: this.models, degradations: this.found ?? [], stages: this.#times, matrix };
  }
}

/** Falling scores by position, so that the order of the list is the order of the scores: 1, 1/2, 1/3, … */
function popularItem(
  item: PopularItem,
  position: number,
  display: readonly FeatureReference[],
  source: string,
): RankedItem {
  const attributes: Record<FeatureReference, Value> = {};
  for (const reference of display) {
    const value = item.attributes?.[reference];
    if (value !== undefined) attributes[reference] = value;
  }
  return { key: item.key, score: 1 / (position + 1), source, attributes, row: -1 };
}

/** One row of columns by reference, without what has no value. */
function readRow(
  references: readonly FeatureReference[],
  columns: readonly FeatureColumn[],
  row: number,
): Record<FeatureReference, Value> {
  const values: Record<FeatureReference, Value> = {};
  for (const [column, reference] of references.entries()) {
    const value = columns[column]?.values[row];
    if (value !== undefined && value !== null) values[reference] = value;
  }
  return values;
}

/** The keys of a list feature; none where it has no value. */
function readKeys(value: Value | undefined): readonly Key[] {
  return Array.isArray(value) ? (value as readonly Key[]) : [];
}

/** The first row of some columns as a model's input, float32 little-endian; NaN where there is no value. */
function packRow(columns: readonly FeatureColumn[], positions: readonly number[]): Uint8Array {
  const packed = new Uint8Array(positions.length * 4);
  const view = new DataView(packed.buffer);
  for (const [index, position] of positions.entries()) {
    const value = columns[position]?.values[0];
    const known = typeof value === "number" || typeof value === "bigint" || typeof value === "boolean";
    view.setFloat32(index * 4, known ? Number(value) : Number.NaN, true);
  }
  return packed;
}
