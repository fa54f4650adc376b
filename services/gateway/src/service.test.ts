import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, test } from "@jest/globals";
import { feature, gateway, inference, monitoring, registry, retrieval } from "@weft/contracts";
import { Code, createErrors, isWeftError, type WeftError } from "@weft/errors";
import type { Client } from "@weft/rpc";
import type { Scenario } from "@weft/scenario";
import { systemClock } from "@weft/service";
import { clientOf, quietTelemetry } from "@weft/testkit";
import { PredictionLog } from "./adapters/prediction-log.ts";
import { ReleaseLoader, type ServedRelease } from "./adapters/release-loader.ts";
import { PeerCalls } from "./adapters/rpc-peers.ts";
import { config, type Settings } from "./config.ts";
import { RequestIds } from "./domain/request-id.ts";
import { createMetrics } from "./metrics.ts";
import { createGatewayService } from "./service.ts";
import { recommending, scoring } from "./testing/scenarios.ts";

const fakes = createErrors("weft.fake", {
  DOWN: { code: Code.Unavailable, message: (_: Record<never, never>) => "down" },
  SCENARIO_UNKNOWN: { code: Code.NotFound, message: (_: Record<never, never>) => "unknown" },
});

const { PRESENT } = { PRESENT: feature.FeatureStatus.PRESENT };
const never = new AbortController().signal;
const defaults = Object.fromEntries(
  Object.entries(config.settings).map(([name, setting]) => [name, setting.default]),
) as Settings;

/** The services behind the gateway, answering in memory through all interceptors. */
function createPeers() {
  const state = {
    down: new Set<string>(),
    delayMs: 0,
    infers: [] as { model: string; rows: number; release: string }[],
  };
  const logged: monitoring.LoggedPrediction[] = [];
  const asked: feature.GetOnlineFeaturesRequest[] = [];
  const unused = () => Promise.reject(new Error("not part of this test"));
  const width = (service: string) =>
    [...scoring.models, ...recommending.models].find(({ name }) => name === service)?.features.length ?? 0;
  const column = (name: string, rows: number): MessageInitShape<typeof feature.ColumnSchema> => {
    const statuses = Array<feature.FeatureStatus>(rows).fill(PRESENT);
    const keys = (integers: bigint[]) => ({ case: "keyLists" as const, value: { values: [{ integers }] } });
    if (name === "everyone:popular_30d") return { name, statuses, values: keys([8n, 9n]) };
    if (name === "reader_loans:seen_30d") return { name, statuses, values: keys([3n]) };
    if (name === "book_profile:title")
      return { name, statuses, values: { case: "strings", value: { values: Array<string>(rows).fill("A title") } } };
    return { name, statuses, values: { case: "float32s", value: { values: Array<number>(rows).fill(1_995) } } };
  };
  const telemetry = quietTelemetry();
  const featureClient = clientOf(
    feature.FeatureService,
    {
      async getOnlineFeatures(request, context) {
        asked.push(request);
        if (state.down.has("feature")) throw fakes.DOWN({});
        if (state.delayMs > 0)
          await new Promise<void>((resolve) => {
            const timer = setTimeout(resolve, state.delayMs);
            context.onCancel(() => {
              clearTimeout(timer);
              resolve();
            });
          });
        const rows = Math.max(1, ...request.entities.map(({ texts, integers }) => texts.length + integers.length));
        if (request.layout !== feature.GetOnlineFeaturesRequest_Layout.MATRIX)
          return { releaseId: context.release, columns: request.features.map((name) => column(name, rows)) };
        const columns = width(request.featureService);
        return {
          matrix: {
            rows,
            values: new Uint8Array(Float32Array.from({ length: rows * columns }, (_, index) => index).buffer),
            statuses: new Uint8Array(rows * columns).fill(PRESENT),
          },
        };
      },
      checkParity: unused,
      push: unused,
      listEntityKeys: unused,
      getDefinitions: unused,
      materialize: async function* () {},
      rollBackViews: unused,
      listQuarantine: unused,
      resolveQuarantine: unused,
      listMaterializations: unused,
      getValidationReport: unused,
      buildTrainingSet: async function* () {},
    },
    telemetry,
  );
  const rankingClient = clientOf(
    inference.GRPCInferenceService,
    {
      modelInfer(request, context) {
        if (state.down.has("ranking")) throw fakes.DOWN({});
        const rows = Number(request.inputs[0]?.shape[0] ?? 0);
        state.infers.push({ model: request.modelName, rows, release: context.release });
        const output = request.outputs[0]?.name ?? "";
        const per = output === "embedding" ? 2 : 1;
        const data = Float32Array.from({ length: rows * per }, (_, row) => 0.25 + row / 8);
        return {
          modelName: request.modelName,
          outputs: [{ name: output, datatype: "FP32", shape: [BigInt(rows), BigInt(per)] }],
          rawOutputContents: [new Uint8Array(data.buffer)],
        };
      },
      serverLive: unused,
      serverReady: unused,
      modelReady: unused,
      serverMetadata: unused,
      modelMetadata: unused,
    },
    telemetry,
  );
  const retrievalClient = clientOf(
    retrieval.RetrievalService,
    {
      search() {
        if (state.down.has("retrieval")) throw fakes.DOWN({});
        return { neighbors: [{ keys: { integers: [1n, 2n, 3n] }, similarities: [0.9, 0.8, 0.7] }] };
      },
      buildIndex: unused,
      listIndexes: unused,
    },
    telemetry,
  );
  const monitoringClient = clientOf(
    monitoring.MonitoringService,
    {
      logPredictions({ predictions }) {
        logged.push(...predictions);
        return { acceptedCount: predictions.length };
      },
      listPredictions: unused,
      logLabels: unused,
      getDrift: unused,
    },
    telemetry,
  );
  const clients = { feature: featureClient, ranking: rankingClient, retrieval: retrievalClient };
  const calls = new PeerCalls(clients, { coalesceMax: 64, nowMs: () => performance.now(), observe: () => {} });
  return { state, logged, asked, calls, monitoring: monitoringClient };
}

function releaseOf(scenario: Scenario): registry.Release {
  return create(registry.ReleaseSchema, {
    id: `${scenario.name}-000000000001`,
    scenario: scenario.name,
    models: scenario.models.map(({ name }) => ({ scenario: scenario.name, name, version: "3" })),
    indexes: scenario.indexes.map(({ name }) => ({ index: name, generation: 2n })),
  });
}

async function start(overrides: Partial<Settings> = {}) {
  const peers = createPeers();
  const telemetry = quietTelemetry();
  const metrics = createMetrics(telemetry);
  const settings = { ...defaults, logDelayMs: 1, shadowDelayMs: 1, ...overrides };
  const { logger } = telemetry;
  const predictions = new PredictionLog({
    monitoring: peers.monitoring,
    settings,
    timers: systemClock,
    random: Math.random,
    metrics,
    logger,
  });
  const common = { calls: peers.calls, clock: systemClock, stopwatchMs: () => performance.now(), metrics };
  const log = predictions.append.bind(predictions);
  const loader = new ReleaseLoader({ ...common, random: Math.random, settings, logger, log });
  const served = new Map<string, ServedRelease>();
  for (const scenario of [scoring, recommending])
    served.set(scenario.name, await loader.load({ release: releaseOf(scenario), scenario, signal: never }));
  peers.state.infers.length = 0;
  peers.asked.length = 0;
  const releases = {
    resolve(scenario: string) {
      const found = served.get(scenario);
      if (found === undefined) throw fakes.SCENARIO_UNKNOWN({});
      return found;
    },
  };
  const requestIds = new RequestIds(Date.now(), Uint8Array.of(1, 2, 3, 4));
  const client = clientOf(
    gateway.GatewayService,
    createGatewayService({ ...common, releases, requestIds, log, settings, logger }),
    telemetry,
  );
  const counted = async (name: string) => {
    const { body } = await telemetry.metrics.expose();
    return body.split("\n").filter((line) => line.startsWith(name) && !line.endsWith(" 0"));
  };
  const close = async () => {
    for (const release of served.values()) await release.close();
    await predictions.close();
  };
  return { ...peers, client, counted, close };
}

const event = {
  scenario: "screening",
  entities: { account: { kind: { case: "text", value: "a" } } },
  features: {
    amount: { kind: { case: "number", value: 12 } },
    hour: { kind: { case: "integer", value: 3n } },
    online: { kind: { case: "flag", value: true } },
    note: { kind: { case: undefined } },
  },
  eventTime: { seconds: 1_600_000_000n, nanos: 5_000 },
} as const;
const reader = { scenario: "reading", user: { kind: { case: "integer", value: 7n } } } as const;
const weekend = { weekend: { kind: { case: "flag", value: true } } } as const;

async function errorOf(answer: Promise<unknown>): Promise<WeftError> {
  const error = await answer.then(
    () => new Error("it answered"),
    (thrown: unknown) => thrown,
  );
  if (!isWeftError(error)) throw error;
  return error;
}

async function* from<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

async function collect(client: Client<typeof gateway.GatewayService>, items: readonly gateway.ScoreStreamRequest[]) {
  const answers: gateway.ScoreStreamResponse[] = [];
  for await (const answer of client.scoreStream(from(items))) answers.push(answer);
  return answers;
}

const streamed = (id: string, request: object) =>
  create(gateway.ScoreStreamRequestSchema, { id, request: request as gateway.ScoreRequest });

describe("Score", () => {
  test("answers with the release, its models, the decision and each stage's time, and logs what replays it", async () => {
    const { client, close, logged, asked, state, counted } = await start();
    const answer = await client.score(event, { requestId: "request-1", tenant: "bank", arm: "b", timeoutMs: 5_000 });
    expect(answer).toMatchObject({
      requestId: "request-1",
      releaseId: "screening-000000000001",
      models: [{ model: "tree", version: "3" }],
      score: 0.25,
      decision: "approve",
      predictions: [{ model: "tree", label: "probability", probability: 0.25 }],
      degraded: false,
      degradations: [],
      eventTime: { seconds: 1_600_000_000n, nanos: 5_000 },
    });
    expect(answer.stages.map(({ stage }) => stage)).toEqual(["features", "scoring", "decision"]);
    expect(asked[0]).toMatchObject({
      scenario: "screening",
      featureService: "tree",
      features: [],
      entities: [{ entity: "account", texts: ["a"] }],
      requestFeatures: [{ name: "amount", values: { case: "float32s", value: { values: [12] } } }],
      asOf: { seconds: 1_600_000_000n, nanos: 5_000 },
    });
    expect(await counted("gateway_requests_total")).toEqual([
      'gateway_requests_total{scenario="screening",method="Score",outcome="ok"} 1',
    ]);
    await close();
    expect(state.infers.every(({ release }) => release === "screening-000000000001")).toBe(true);
    expect(logged).toHaveLength(1);
    expect(logged[0]).toMatchObject({
      requestId: "request-1",
      item: "",
      scenario: "screening",
      releaseId: "screening-000000000001",
      eventTimeUs: 1_600_000_000_000_005n,
      entities: { account: "a" },
      featureModel: "tree",
      scores: [
        { model: "tree", version: "3", score: 0.25, shadow: false },
        { model: "narrow", shadow: true },
        { model: "other", shadow: true },
      ],
      decision: "approve",
      degraded: false,
      tenant: "bank",
      arm: "b",
    });
    expect(new Float32Array(logged[0]?.features.slice().buffer ?? new ArrayBuffer(0))).toEqual(
      Float32Array.of(0, 1, 2, 3),
    );
    expect([...(logged[0]?.statuses ?? [])]).toEqual([1, 1, 1, 1]);
    expect(Object.keys(logged[0]?.request ?? {})).toContain("amount");
    expect(Number(logged[0]?.readTimeUs)).toBeGreaterThan(1_600_000_000_000_000);
  });

  test("makes a request id where the caller brings none", async () => {
    const { client, close } = await start();
    const ids = await Promise.all([client.score(event), client.score(event)]);
    expect(ids[0]?.requestId).toMatch(/^[0-9a-f-]{36}$/);
    expect(ids[0]?.requestId).not.toBe(ids[1]?.requestId);
    await close();
  });

  test("is answered by the rules while a peer is down, and logged so", async () => {
    const { client, close, logged, state, counted } = await start();
    state.down.add("ranking");
    const answer = await client.score(event);
    expect(answer).toMatchObject({
      score: expect.closeTo(0.1),
      decision: "approve",
      models: [],
      predictions: [],
      degraded: true,
      degradations: [{ stage: "scoring", reason: "UNAVAILABLE", fallback: "amount_rules" }],
    });
    expect(await counted("gateway_fallbacks_total")).toHaveLength(1);
    await close();
    expect(logged[0]).toMatchObject({ degraded: true, scores: [{ model: "amount_rules" }, {}, {}].slice(0, 1) });
  });

  test("is answered inside the caller's deadline when a peer hangs", async () => {
    const { client, close, state } = await start();
    state.delayMs = 60_000;
    // Resolves: a late answer would be refused with DEADLINE_EXCEEDED.
    const answer = await client.score(event, { timeoutMs: 1_000 });
    expect(answer.degradations[0]).toMatchObject({ stage: "features", reason: "DEADLINE_EXCEEDED" });
    await close();
  });

  test("refuses what the caller got wrong, all of it at once, with the fields", async () => {
    const { client, close, counted } = await start();
    const error = await errorOf(
      client.score({
        ...event,
        entities: { acount: { kind: { case: "text", value: "a" } } },
        features: { ...event.features, amount: { kind: { case: "number", value: Number.NaN } } },
        eventTime: { seconds: -5n, nanos: 0 },
      }),
    );
    expect(error).toMatchObject({ code: Code.InvalidArgument, reason: "INVALID_REQUEST", domain: "weft.gateway" });
    expect(error.violations.map(({ field }) => field)).toEqual([
      "entities.account",
      "entities.acount",
      "features.amount",
      "event_time",
    ]);
    expect((await errorOf(client.score({ ...event, scenario: "" }))).reason).toBe("SCENARIO_MISSING");
    expect((await errorOf(client.score({ ...event, scenario: "nowhere" }))).code).toBe(Code.NotFound);
    expect(await errorOf(client.score({ ...event, scenario: "reading" }))).toMatchObject({
      reason: "WRONG_PIPELINE",
      message: 'scenario "reading" answers Recommend, not Score',
    });
    expect((await errorOf(client.score(event, { timeoutMs: 0 }))).code).toBe(Code.DeadlineExceeded);
    expect((await counted("gateway_requests_total")).join("\n")).not.toContain("nowhere");
    await close();
  });

  test("refuses at once, with a time to come back, when too many are under way", async () => {
    const { client, close, state } = await start({ inflightMax: 2 });
    state.delayMs = 10;
    const answers = await Promise.allSettled(Array.from({ length: 5 }, () => client.score(event)));
    const refused = answers.flatMap((answer) => (answer.status === "rejected" ? [answer.reason as WeftError] : []));
    expect(refused).toHaveLength(3);
    expect(refused[0]).toMatchObject({ code: Code.ResourceExhausted, reason: "OVERLOADED", retryAfterMs: 50 });
    await close();
  });

  test("a caller who leaves cancels the work and is not logged", async () => {
    const { client, close, logged, state } = await start();
    state.delayMs = 50;
    const abort = new AbortController();
    const answer = errorOf(client.score(event, { signal: abort.signal }));
    setTimeout(() => abort.abort(), 5);
    expect((await answer).code).toBe(Code.Cancelled);
    await close();
    expect(logged).toEqual([]);
  });
});

describe("ScoreStream", () => {
  test("answers in order, an error only for its own event, with ids of their own", async () => {
    const { client, close, logged } = await start();
    const answers = await collect(client, [
      streamed("a", event),
      streamed("b", { ...event, entities: {} }),
      streamed("c", event),
      create(gateway.ScoreStreamRequestSchema, { id: "d" }),
      streamed("e".repeat(129), event),
    ]);
    expect(answers.map(({ id, result }) => [id.slice(0, 1), result.case])).toEqual([
      ["a", "response"],
      ["b", "error"],
      ["c", "response"],
      ["d", "error"],
      ["e", "error"],
    ]);
    expect(answers[1]?.result.value).toMatchObject({ code: Code.InvalidArgument, reason: "INVALID_REQUEST" });
    expect(answers[3]?.result.value).toMatchObject({ reason: "EVENT_MISSING" });
    await close();
    expect(new Set(logged.map(({ requestId }) => requestId)).size).toBe(2);
  });

  test("500 events with four under way come back in order", async () => {
    const { client, close, state } = await start({ streamConcurrencyMax: 4 });
    state.delayMs = 0;
    const ids = Array.from({ length: 500 }, (_, index) => String(index));
    const answers = await collect(
      client,
      ids.map((id) => streamed(id, event)),
    );
    expect(answers.map(({ id }) => id)).toEqual(ids);
    expect(answers.every(({ result }) => result.case === "response")).toBe(true);
    await close();
  });
});

describe("Recommend", () => {
  test("answers the list with attributes and sources, one record an item", async () => {
    const { client, close, logged } = await start();
    const answer = await client.recommend({ ...reader, context: weekend, count: 2 }, { requestId: "r" });
    expect(answer).toMatchObject({
      requestId: "r",
      releaseId: "reading-000000000001",
      degraded: false,
      items: [
        {
          id: { kind: { case: "integer", value: 2n } },
          source: "near",
          attributes: { "book_profile:title": { kind: { case: "text", value: "A title" } } },
        },
        { id: { kind: { case: "integer", value: 1n } }, source: "near" },
      ],
    });
    expect(answer.models.map(({ model }) => model)).toEqual(["reader_tower", "ranker"]);
    await close();
    expect(logged.map(({ item, entities, featureModel }) => ({ item, entities, featureModel }))).toEqual([
      { item: "2", entities: { reader: "7", book: "2" }, featureModel: "ranker" },
      { item: "1", entities: { reader: "7", book: "1" }, featureModel: "ranker" },
    ]);
    expect(logged[0]?.features.length).toBe(8);
  });

  test("falls back to the popular list, less what was seen, and never violates a filter", async () => {
    const { client, close, state } = await start();
    state.down.add("retrieval").add("ranking");
    const popular = await client.recommend({ ...reader, context: weekend });
    expect(popular.items.map(({ id, source }) => [id?.kind.value, source])).toEqual([
      [8n, "popular"],
      [9n, "popular"],
    ]);
    expect(popular.items[0]?.attributes["book_profile:title"]?.kind.value).toBe("A title");
    expect(popular.degraded).toBe(true);
    state.down.add("feature");
    const filters = [{ attribute: "book_profile:year", atLeast: 2_000 }];
    expect((await client.recommend({ ...reader, context: weekend, filters })).items).toEqual([]);
    await close();
  });

  test("refuses counts, filters, exclusions and users that cannot be", async () => {
    const { client, close } = await start();
    const error = await errorOf(
      client.recommend({
        scenario: "reading",
        count: 1_001,
        filters: [{ attribute: "book_profile:colour", atLeast: 1 }],
        excludedIds: [{ kind: { case: "text", value: "x" } }],
      }),
    );
    expect(error.violations.map(({ field }) => field)).toEqual([
      "user",
      "count",
      "excluded_ids[0]",
      "context.weekend",
      "filters[0].attribute",
    ]);
    const many = Array.from(
      { length: 10_001 },
      (_, index) => ({ kind: { case: "integer", value: BigInt(index) } }) as const,
    );
    const tooMany = await errorOf(client.recommend({ ...reader, context: weekend, excludedIds: many }));
    expect(tooMany.violations).toEqual([{ field: "excluded_ids", description: "must be at most 10000" }]);
    expect((await errorOf(client.recommend({ ...reader, scenario: "screening" }))).reason).toBe("WRONG_PIPELINE");
    await close();
  });
});
