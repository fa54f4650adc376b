import { describe, expect, test } from "@jest/globals";
import { FakeClock, settle } from "@weft/testkit";
import { type Failure, FakePeers } from "../testing/fake-peers.ts";
import { recommending, recommendPipeline } from "../testing/scenarios.ts";
import { FeatureStatus, type Key } from "./peers.ts";
import { PopularList } from "./popular-list.ts";
import { type RecommendInput, RecommendPlan } from "./recommend-plan.ts";

const base: RecommendInput = {
  user: 1n,
  fields: [false],
  count: 3,
  filters: [],
  excluded: [],
  eventTimeUs: 1_700_000_000_000_000,
};
const popular = "popular";

function create(options: { seen?: readonly Key[]; indexes?: readonly string[]; candidateMax?: number } = {}) {
  const clock = new FakeClock();
  const peers = new FakePeers(clock);
  const failures: string[] = [];
  const list = new PopularList();
  list.replace(
    [20n, 21n, 22n, 1n, 2n].map((key, position) => ({
      key,
      attributes: { "book_profile:title": `title ${key}`, "book_profile:year": 1990 + position },
    })),
  );
  const indexes = options.indexes ?? ["near_books", "new_books"];
  const plan = new RecommendPlan(
    recommending,
    recommendPipeline,
    { version: () => "1", generation: (name) => (indexes.includes(name) ? 5n : undefined) },
    list,
    {
      nowMs: () => clock.nowMs(),
      answerReserveMs: 5,
      onFailure: (stage, reason) => failures.push(`${stage} ${reason}`),
      candidateMax: options.candidateMax ?? 1_000,
      displayBudgetMs: 20,
      popularMax: 100,
    },
  );
  peers.column = (reference, rows) => {
    if (reference === "reader_loans:seen_30d")
      return { values: [options.seen ?? []], statuses: [FeatureStatus.Present] };
    if (reference === "book_profile:title")
      return {
        values: Array.from({ length: rows }, (_, row) => `title ${row}`),
        statuses: Array(rows).fill(FeatureStatus.Present),
      };
    return undefined;
  };
  peers.found = (index) =>
    index === "near_books"
      ? { keys: [1n, 2n, 3n, 4n], similarities: [0.9, 0.8, 0.7, 0.6] }
      : { keys: [2n, 7n], similarities: [5, 4] };
  peers.value = (_, row) => row;
  peers.output = (model, row) => (model === "ranker" ? [row[1] ?? 0] : [0.1, 0.2]);
  const run = async (given: Partial<RecommendInput> = {}, totalMs = 200) => {
    const startMs = clock.nowMs();
    let tookMs = Number.NaN;
    const answer = plan.run({ ...base, ...given }, peers, startMs, totalMs).finally(() => {
      tookMs = clock.nowMs() - startMs;
    });
    answer.catch(() => {});
    await settle();
    await clock.advance(1_000);
    return { answer: await answer, tookMs };
  };
  const keysOf = async (given: Partial<RecommendInput> = {}) => (await run(given)).answer.items.map(({ key }) => key);
  return { clock, peers, plan, list, failures, run, keysOf };
}

describe("recommend plan", () => {
  test("retrieval, filtering, scoring and ordering answer the best candidates with their attributes", async () => {
    const { peers, run } = create();
    const { answer } = await run();
    // Candidates by turns: 1 (near), 2 (new), 7 (new), 3, 4 (near); the ranker scores later rows higher.
    expect(answer.items.map(({ key, source, score }) => [key, source, score])).toEqual([
      [4n, "near", 4],
      [3n, "near", 3],
      [7n, "new", 2],
    ]);
    expect(answer.items[0]?.attributes).toEqual({ "book_profile:title": "title 0" });
    expect(answer.degradations).toEqual([]);
    expect(answer.models.map(({ name }) => name)).toEqual(["reader_tower", "ranker"]);
    expect(answer.stages.map(({ stage }) => stage)).toEqual(["retrieval", "filtering", "scoring", "ordering"]);
    expect(peers.calls.map(({ peer, subject, rows }) => `${peer} ${subject} ${rows}`)).toEqual([
      "columns reader_loans:loans_30d reader_loans:seen_30d 1",
      "infer reader_tower 1",
      "search near_books 4",
      "search new_books 2",
      "matrix ranker 5",
      "infer ranker 5",
      "columns book_profile:title 3",
    ]);
  });

  test("seen and excluded items are kept out of the search and of the answer", async () => {
    const { peers, keysOf } = create({ seen: [4n, 9n] });
    expect(await keysOf({ excluded: [3n] })).toEqual([7n, 2n, 1n]);
    expect(new Set(peers.searches[0]?.excluded)).toEqual(new Set([3n, 4n, 9n]));
  });

  test("filters go to every search as they are", async () => {
    const { peers, run } = create();
    const filters = [{ attribute: "book_profile:year", anyOf: [], atLeast: 1990, atMost: undefined }];
    await run({ filters });
    expect(peers.searches.map((search) => search.filters)).toEqual([filters, filters]);
  });

  test("a search that finds nothing answers nothing, and that is not degraded", async () => {
    const { peers, run } = create();
    peers.found = () => ({ keys: [], similarities: [] });
    const { answer } = await run();
    expect(answer.items).toEqual([]);
    expect(answer.degradations).toEqual([]);
  });

  test("one source that fails is named, and the others answer", async () => {
    const { peers, run } = create();
    peers.behaviour.set("search near_books", { failure: "PEER_DOWN" });
    const { answer } = await run();
    expect(answer.items.map(({ key }) => key)).toEqual([7n, 2n]);
    expect(answer.degradations).toEqual([
      { stage: "retrieval", reason: "UNAVAILABLE", fallback: "new", subject: "near", failed: true },
    ]);
  });

  test.each<[string, Failure, string]>([
    ["infer reader_tower", "PEER_DOWN", "UNAVAILABLE"],
    ["infer reader_tower", "QUEUE_FULL", "RESOURCE_EXHAUSTED"],
    ["search", "PEER_DOWN", "UNAVAILABLE"],
  ])("without %s (%s) the popular list answers, less what was seen", async (peer, failure, reason) => {
    const { peers, run } = create({ seen: [21n] });
    peers.behaviour.set(peer, { failure });
    const { answer } = await run({ excluded: [20n] });
    expect(answer.items.map(({ key, source }) => [key, source])).toEqual([
      [22n, popular],
      [1n, popular],
      [2n, popular],
    ]);
    expect(answer.items[0]?.attributes).toEqual({ "book_profile:title": "title 22" });
    expect(answer.degradations.map((d) => `${d.stage} ${d.reason} ${d.subject} ${d.fallback}`)).toEqual([
      `retrieval ${reason} near popular`,
      `retrieval ${reason} new popular`,
    ]);
  });

  test("without features the popular list answers and says that what was seen is not known", async () => {
    const { peers, run } = create({ seen: [20n] });
    peers.behaviour.set("columns", { failure: "PEER_DOWN" });
    const { answer } = await run();
    expect(answer.items.map(({ key }) => key)).toEqual([20n, 21n, 22n]);
    expect(answer.degradations.map(({ stage, reason }) => `${stage} ${reason}`)).toEqual([
      "retrieval UNAVAILABLE",
      "filtering UNAVAILABLE",
    ]);
  });

  test.each<[string, Failure]>([
    ["matrix", "PEER_DOWN"],
    ["infer ranker", "QUEUE_FULL"],
  ])("without %s the order of retrieval answers", async (peer, failure) => {
    const { peers, run } = create();
    peers.behaviour.set(peer, { failure });
    const { answer } = await run();
    expect(answer.items.map(({ key, score }) => [key, score])).toEqual([
      [1n, 0.9],
      [2n, 5],
      [7n, 4],
    ]);
    expect(answer.degradations).toMatchObject([{ stage: "scoring", fallback: "retrieval", failed: true }]);
    expect(answer.models.map(({ name }) => name)).toEqual(["reader_tower"]);
  });

  test("without display attributes the items go without them", async () => {
    const { peers, run } = create();
    peers.behaviour.set("columns book_profile:title", { failure: "PEER_DOWN" });
    const { answer } = await run();
    expect(answer.items).toHaveLength(3);
    expect(answer.items[0]?.attributes).toEqual({});
    expect(answer.degradations).toMatchObject([{ stage: "ordering", reason: "UNAVAILABLE" }]);
  });

  test("the popular list never violates a filter", async () => {
    const { peers, list, run, keysOf } = create();
    peers.behaviour.set("search", { failure: "PEER_DOWN" });
    const filters = [{ attribute: "book_profile:year", anyOf: [], atLeast: 1992, atMost: undefined }];
    expect(await keysOf({ filters })).toEqual([22n, 1n, 2n]);
    list.replace([{ key: 20n, attributes: undefined }]);
    const { answer } = await run({ filters });
    expect(answer.items).toEqual([]);
    expect(answer.degradations.at(-1)).toMatchObject({ reason: "ATTRIBUTES_UNKNOWN", subject: "popular" });
  });

  test("an unknown user is answered from the popular list; no peer has failed then", async () => {
    const { peers, run, failures } = create();
    peers.status = () => FeatureStatus.NotFound;
    const { answer } = await run({ user: 404n });
    expect(answer.items.map(({ key }) => key)).toEqual([20n, 21n, 22n]);
    expect(answer.degradations).toMatchObject([{ reason: "USER_UNKNOWN", fallback: "popular", failed: false }]);
    expect(failures).toEqual([]);
  });

  test("a release without its indexes answers from the popular list, without counting as failed", async () => {
    const { plan, run } = create({ indexes: [] });
    expect(plan.hasIndexes).toBe(false);
    const { answer } = await run();
    expect(answer.items).toHaveLength(3);
    expect(answer.degradations.every(({ reason, failed }) => reason === "INDEX_MISSING" && !failed)).toBe(true);
  });

  test("an embedding that is not finite is not searched with", async () => {
    const { peers, run } = create();
    peers.output = () => [Number.NaN, 1];
    const { answer } = await run();
    expect(peers.searches).toEqual([]);
    expect(answer.degradations[0]).toMatchObject({ stage: "retrieval", reason: "EMBEDDING_INVALID" });
  });

  test("values older than they may be degrade an answer only where its own items have them", async () => {
    const { peers, run } = create();
    peers.status = (reference, row) =>
      reference === "book_profile:year" && row === 0 ? FeatureStatus.Defaulted : FeatureStatus.Present;
    expect((await run()).answer.degradations).toEqual([]);
    expect((await run({ count: 5 })).answer.degradations).toMatchObject([
      { stage: "scoring", reason: "FEATURE_DEFAULTED", subject: "book_profile" },
    ]);
  });

  test("candidates are bounded", async () => {
    const { peers, run } = create({ candidateMax: 2 });
    await run();
    expect(peers.calls.find(({ peer }) => peer === "matrix")?.rows).toBe(2);
  });

  test.each(["columns", "infer reader_tower", "search", "matrix", "infer ranker", "columns book_profile:title"])(
    "the answer leaves before the deadline when %s hangs",
    async (peer) => {
      for (const totalMs of [10, 40, 120, 200]) {
        const { peers, run } = create();
        peers.behaviour.set(peer, { delayMs: 100_000 });
        const { answer, tookMs } = await run({}, totalMs);
        expect(tookMs).toBeLessThanOrEqual(totalMs - Math.min(5, totalMs / 5) + 1e-6);
        expect(answer.items).toHaveLength(3);
        expect(answer.degradations.some(({ reason }) => reason === "DEADLINE_EXCEEDED")).toBe(true);
      }
    },
  );

  test("stages that each use up their budget leave time for the later ones", async () => {
    const { peers, run } = create();
    peers.behaviour.set("columns", { delayMs: 20 });
    peers.behaviour.set("matrix", { delayMs: 30 });
    peers.behaviour.set("infer ranker", { delayMs: 20 });
    peers.behaviour.set("columns book_profile:title", { delayMs: 10 });
    const { answer, tookMs } = await run({}, 100);
    expect(answer.degradations).toEqual([]);
    expect(tookMs).toBe(80);
  });

  test("nothing is answered to a caller who has gone", async () => {
    const { peers, run } = create();
    peers.behaviour.set("columns", { failure: "PEER_DOWN" });
    peers.cancelled = true;
    await expect(run()).rejects.toThrow("down");
  });
});
