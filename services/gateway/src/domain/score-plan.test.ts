import { describe, expect, test } from "@jest/globals";
import { FakeClock, settle } from "@weft/testkit";
import { type Failure, FakePeers } from "../testing/fake-peers.ts";
import { scorePipeline, scoring } from "../testing/scenarios.ts";
import { FeatureStatus } from "./peers.ts";
import { RulesFailure, type ScoreAnswer, type ScoreInput, ScorePlan } from "./score-plan.ts";
import { scoreShadows } from "./shadow-scoring.ts";

const input: ScoreInput = { keys: [["a"]], fields: [12, 3n, true, ""], eventTimeUs: 1_700_000_000_000_000 };

function create(pipeline = scorePipeline) {
  const clock = new FakeClock();
  const peers = new FakePeers(clock);
  const failures: string[] = [];
  const plan = new ScorePlan(scoring, pipeline, (model) => `${model}-v1`, {
    nowMs: () => clock.nowMs(),
    answerReserveMs: 5,
    onFailure: (stage, reason) => failures.push(`${stage} ${reason}`),
  });
  const run = async (
    totalMs = 100,
    advanceMs = 200,
    given = input,
  ): Promise<{ answer: ScoreAnswer; tookMs: number }> => {
    const startMs = clock.nowMs();
    let tookMs = Number.NaN;
    const answer = plan.run(given, peers, startMs, totalMs).finally(() => {
      tookMs = clock.nowMs() - startMs;
    });
    answer.catch(() => {});
    await settle();
    await clock.advance(advanceMs);
    return { answer: await answer, tookMs };
  };
  return { clock, peers, plan, failures, run };
}

describe("score plan", () => {
  test("features, scoring and decision answer within their budgets", async () => {
    const { peers, run } = create();
    peers.output = () => [0.75];
    peers.behaviour.set("matrix", { delayMs: 4 });
    peers.behaviour.set("infer", { delayMs: 6 });
    const { answer } = await run();
    expect(answer).toMatchObject({ score: 0.75, decision: "review", fromModel: true, degradations: [] });
    expect(answer).toMatchObject({ featuresMs: 4, scoringMs: 6, decisionMs: 0 });
    expect(peers.calls).toEqual([
      { peer: "matrix", subject: "tree", timeoutMs: 20, rows: 1 },
      { peer: "infer", subject: "tree", timeoutMs: 30, rows: 1 },
    ]);
  });

  test("the model scores the bytes that were read, and reasons see its features by name", async () => {
    const { peers, run } = create();
    peers.value = (reference) => (reference === "totals:amount_1h" ? 250 : Number.NaN);
    peers.output = (_, row) => [(row[0] ?? 0) / 1_000];
    const { answer } = await run();
    expect(answer.score).toBeCloseTo(0.25);
    expect(answer.reasons).toEqual(["SPENT_A_LOT"]);
  });

  test.each<[string, Failure, string]>([
    ["matrix", "PEER_DOWN", "UNAVAILABLE"],
    ["matrix", "QUEUE_FULL", "RESOURCE_EXHAUSTED"],
    ["matrix", "RELEASE_NOT_LOADED", "RELEASE_NOT_LOADED"],
    ["infer", "PEER_DOWN", "UNAVAILABLE"],
    ["infer", "QUEUE_FULL", "RESOURCE_EXHAUSTED"],
    ["infer", "MODEL_BROKEN", "MODEL_BROKEN"],
  ])("%s failing with %s is answered by the rules with %s", async (peer, failure, reason) => {
    const { peers, run, failures } = create();
    peers.behaviour.set(peer, { failure });
    const { answer } = await run();
    const stage = peer === "matrix" ? "features" : "scoring";
    expect(answer).toMatchObject({ score: 0.1, decision: "approve", fromModel: false });
    expect(answer.degradations).toEqual([{ stage, reason, fallback: "amount_rules", subject: "", failed: true }]);
    expect(failures).toEqual([`${stage} ${reason}`]);
    expect(answer.matrix === undefined).toBe(peer === "matrix");
  });

  test.each(["matrix", "infer"])("a late %s is cut off at its budget and answered by the rules", async (peer) => {
    const { peers, run } = create();
    peers.behaviour.set(peer, { delayMs: 1_000 });
    const { answer, tookMs } = await run(100, 200, { ...input, fields: [2_000, 3n, true, ""] });
    expect(answer).toMatchObject({ score: 0.95, decision: "decline", reasons: ["LARGE_AMOUNT"] });
    expect(answer.degradations[0]?.reason).toBe("DEADLINE_EXCEEDED");
    expect(tookMs).toBe(peer === "matrix" ? 20 : 30);
  });

  test("the answer leaves before the deadline, however short, with time kept for it", async () => {
    for (const totalMs of [3, 10, 25, 40, 60]) {
      const { peers, run } = create();
      peers.behaviour.set("matrix", { delayMs: 15 });
      peers.behaviour.set("infer", { delayMs: 1_000 });
      const { answer, tookMs } = await run(totalMs);
      expect(tookMs).toBeLessThanOrEqual(totalMs * 0.8 + 1e-6);
      expect(answer.fromModel).toBe(false);
    }
  });

  test("with no time left no peer is called", async () => {
    const { peers, run } = create();
    const { answer } = await run(0.5);
    expect(peers.calls).toEqual([]);
    expect(answer.degradations[0]).toMatchObject({ stage: "features", reason: "DEADLINE_EXCEEDED" });
  });

  test("stale and defaulted values degrade the answer with their view; missing ones do not", async () => {
    const { peers, run } = create();
    peers.status = (reference) =>
      reference === "totals:amount_1h"
        ? FeatureStatus.OutsideMaxAge
        : reference === "profile:risk"
          ? FeatureStatus.Defaulted
          : FeatureStatus.NotFound;
    const { answer } = await run();
    expect(answer.fromModel).toBe(true);
    expect(answer.degradations).toEqual([
      { stage: "features", reason: "FEATURE_STALE", fallback: "", subject: "totals", failed: false },
      { stage: "features", reason: "FEATURE_DEFAULTED", fallback: "", subject: "profile", failed: false },
    ]);
    peers.status = () => FeatureStatus.NotFound;
    expect((await run()).answer.degradations).toEqual([]);
  });

  test.each([[[Number.NaN]], [[]], [[0.1, 0.2]]])("a model that answers %p has not scored", async (output) => {
    const { peers, run } = create();
    peers.output = () => output;
    const { answer } = await run();
    expect(answer.degradations[0]).toMatchObject({ stage: "scoring", reason: "SCORE_INVALID" });
  });

  test("nothing is answered to a caller who has gone", async () => {
    const { peers, run } = create();
    peers.behaviour.set("matrix", { failure: "PEER_DOWN" });
    peers.cancelled = true;
    await expect(run()).rejects.toThrow("down");
  });

  test("rules that throw or answer no number are an error with its cause; reasons that throw are left out", async () => {
    for (const rules of [
      () => {
        throw new TypeError("oops");
      },
      () => ({ score: Number.NaN, reasons: [] }),
    ]) {
      const { peers, run } = create({ ...scorePipeline, fallback: { name: "bad", rules } });
      peers.behaviour.set("matrix", { failure: "PEER_DOWN" });
      await expect(run()).rejects.toThrow(RulesFailure);
    }
    const reasons = () => {
      throw new TypeError("oops");
    };
    const { run } = create({ ...scorePipeline, reasons });
    expect((await run()).answer).toMatchObject({ fromModel: true, reasons: [], degradations: [{ stage: "decision" }] });
  });
});

describe("shadow scoring", () => {
  async function events(count: number, { run }: ReturnType<typeof create>) {
    const made = [];
    for (let index = 0; index < count; index++) {
      const { answer } = await run();
      if (answer.matrix === undefined) throw new Error("no matrix");
      made.push({ input, matrix: answer.matrix });
    }
    return made;
  }

  test("shadows score a batch at once, reading only what the champion has not read", async () => {
    const created = create();
    const { peers, plan } = created;
    peers.value = (reference) => (reference === "request:amount" ? 7 : 3);
    const batch = await events(3, created);
    peers.calls.length = 0;
    peers.output = (model, row) => (model === "narrow" ? [(row[0] ?? 0) * 10 + (row[1] ?? 0)] : [0.5]);
    const scores = await scoreShadows(plan, batch, peers, 1_000);
    expect(scores.map(({ shadow, scores: values }) => [shadow.model.name, ...values])).toEqual([
      ["narrow", 73, 73, 73],
      ["other", 0.5, 0.5, 0.5],
    ]);
    expect(peers.calls.filter(({ peer }) => peer === "infer").map(({ subject, rows }) => `${subject} ${rows}`)).toEqual(
      ["narrow 3", "other 3"],
    );
    expect(peers.calls.filter(({ peer }) => peer === "matrix").map(({ subject }) => subject)).toEqual([
      "other",
      "other",
      "other",
    ]);
  });

  test("a shadow that fails leaves the others be", async () => {
    const created = create();
    const batch = await events(2, created);
    created.peers.behaviour.set("matrix other", { failure: "PEER_DOWN" });
    const [narrow, other] = await scoreShadows(created.plan, batch, created.peers, 1_000);
    expect([...(narrow?.scores ?? [])]).toEqual([0.25, 0.25]);
    expect([...(other?.scores ?? [])]).toEqual([Number.NaN, Number.NaN]);
    expect(String(other?.error)).toMatch(/down/);
  });
});
