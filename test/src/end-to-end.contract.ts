import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { Client, credentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { feature, gateway, health, inference, monitoring, registry, retrieval } from "@weft/contracts";
import { Code, type WeftError } from "@weft/errors";
import { createClient, grpcJs } from "@weft/rpc";
import { grpcurlPath } from "./grpcurl.ts";
import { removeState, runWeft, startWeft, type Weft } from "./weft.ts";

const execute = promisify(execFile);

async function failure(work: Promise<unknown>): Promise<WeftError> {
  try {
    await work;
  } catch (error) {
    return error as WeftError;
  }
  throw new Error("the call did not fail");
}

/** What both topologies must do with the two example scenarios: the same suite, so that no caller can tell them apart. */
export function endToEndContract(name: string, args: readonly string[], answered: Map<string, string>): void {
  describe(name, () => {
    let weft: Weft;
    let score: Omit<gateway.ScoreRequest, "$typeName">;
    let recommend: Omit<gateway.RecommendRequest, "$typeName">;
    const client = () => weft.dial(gateway.GatewayService);

    beforeAll(async () => {
      weft = await startWeft(["examples/recommender", "examples/fraud"], args);
      const body = (method: string) => {
        const line = weft.output.paste.find(({ curl }) => curl.includes(method))?.curl ?? "";
        return JSON.parse(/-d '([^']*)'/.exec(line)?.[1] ?? "{}") as JsonValue;
      };
      const { $typeName: _score, ...scoreFields } = fromJson(gateway.ScoreRequestSchema, body("/Score"));
      const { $typeName: _recommend, ...recommendFields } = fromJson(
        gateway.RecommendRequestSchema,
        body("/Recommend"),
      );
      [score, recommend] = [scoreFields, recommendFields];
    }, 400_000);

    afterAll(async () => {
      if (weft === undefined) return;
      expect(await weft.stop()).toBe(0);
      removeState(weft);
    }, 60_000);

    test("Recommend answers ranked, unseen items with what made them", async () => {
      const response = await client().recommend({ ...recommend, count: 20 });
      expect(response.items).toHaveLength(20);
      expect(response.degraded).toBe(false);
      expect(response.releaseId).toBe(weft.output.releases.recommender);
      expect(response.requestId).not.toBe("");
      expect(response.models.length).toBeGreaterThanOrEqual(2);
      expect(response.stages.map(({ stage }) => stage)).toEqual(
        expect.arrayContaining(["retrieval", "filtering", "scoring", "ordering"]),
      );
      const scores = response.items.map((item) => item.score);
      expect(scores).toEqual([...scores].sort((a, b) => b - a));
      expect(new Set(response.items.map(({ id }) => String(id?.kind.value))).size).toBe(20);
      for (const { source, attributes } of response.items) {
        expect(source).not.toBe("");
        expect(Object.keys(attributes).length).toBeGreaterThan(0);
      }
      answered.set(
        `${name} recommend`,
        JSON.stringify(response.items.map(({ id, score: value }) => [String(id?.kind.value), value])),
      );
    });

    test("excluded items never come back, and every item meets the filters", async () => {
      const first = await client().recommend({ ...recommend, count: 5 });
      const excludedIds = first.items.flatMap(({ id }) => (id === undefined ? [] : [id]));
      const second = await client().recommend({ ...recommend, count: 5, excludedIds });
      const keys = (response: gateway.RecommendResponse) => response.items.map(({ id }) => String(id?.kind.value));
      expect(keys(second).filter((key) => keys(first).includes(key))).toEqual([]);
      const filters = [
        { attribute: "item_profile:year", atLeast: 1990, atMost: 1995 },
        { attribute: "item_profile:comedy", anyOf: [{ kind: { case: "flag", value: true } } as const] },
      ];
      const comedies = await client().recommend({ ...recommend, count: 10, filters });
      expect(comedies.items).toHaveLength(10);
      for (const { attributes } of comedies.items) {
        const year = Number(attributes["item_profile:year"]?.kind.value);
        expect(year).toBeGreaterThanOrEqual(1990);
        expect(year).toBeLessThanOrEqual(1995);
        expect(String(attributes["item_profile:genres"]?.kind.value)).toContain("Comedy");
      }
      const unknown = await failure(
        client().recommend({ ...recommend, filters: [{ attribute: "nothing:here", atLeast: 1 }] }),
      );
      expect([Code.InvalidArgument, Code.NotFound]).toContain(unknown.code);
    });

    test("an unknown user is answered from the fallback and says so", async () => {
      const response = await client().recommend({
        ...recommend,
        user: { kind: { case: "integer", value: 9_007_199_254_740_993n } },
      });
      expect(response.items.length).toBeGreaterThan(0);
    });

    test("requests that come together are answered like one by one, a faulty one among them", async () => {
      const requests = Array.from({ length: 40 }, (_, at) => ({
        ...score,
        entities:
          at % 3 === 0
            ? { ...score.entities, card: { kind: { case: "integer", value: BigInt(at) } } as const }
            : score.entities,
        features: { ...score.features, amount: { kind: { case: "number", value: 10 + at } } as const },
        eventTime: { seconds: (score.eventTime?.seconds ?? 0n) - BigInt(at % 5), nanos: 0 },
      }));
      const fault = {
        ...score,
        entities: { ...score.entities, card: { kind: { case: "text", value: "x" } } as const },
      };
      const askTogether = () =>
        Promise.all([...requests.map((request) => client().score(request)), failure(client().score(fault))]);
      // On a busy machine one can pass its budget and be answered by the rules: that is not what is compared here.
      let together = await askTogether();
      for (let tries = 0; tries < 20 && together.some((answer) => "degraded" in answer && answer.degraded); tries++)
        together = await askTogether();
      expect(together.pop()).toMatchObject({ code: Code.InvalidArgument });
      for (const [at, request] of requests.entries()) {
        const alone = await client().score(request);
        if (alone.degraded) continue;
        const answer = together[at] as typeof alone;
        expect([answer.score, answer.decision, answer.degraded]).toEqual([alone.score, alone.decision, false]);
      }
      expect(new Set(together.map((answer) => (answer as { score?: number }).score)).size).toBeGreaterThan(3);
    });

    test("Score decides, with probabilities and stages, the same each time", async () => {
      const [first, second] = [await client().score(score), await client().score(score)];
      expect(first.degraded).toBe(false);
      expect(first.releaseId).toBe(weft.output.releases.fraud);
      expect(first.score).toBe(second.score);
      expect(first.predictions[0]?.probability).toBe(first.score);
      expect(["approve", "review", "decline"]).toContain(first.decision);
      expect(first.requestId).not.toBe(second.requestId);
      expect(first.stages.map(({ stage }) => stage)).toEqual(expect.arrayContaining(["features", "scoring"]));
      const decisions = weft.output.results.flatMap((result) =>
        result.score === undefined ? [] : [result.score as { decision: string; score: number }],
      );
      expect(new Set(decisions.map(({ decision }) => decision)).size).toBeGreaterThan(1);
      answered.set(`${name} score`, JSON.stringify(decisions.map(({ decision, score: value }) => [decision, value])));
    });

    test("both topologies give the same answers", () => {
      for (const method of ["recommend", "score"]) {
        const own = answered.get(`${name} ${method}`);
        expect(own).toBeDefined();
        for (const [key, value] of answered) if (key.endsWith(` ${method}`)) expect(value).toBe(own);
      }
    });

    test("ScoreStream answers each event in order, faults included", async () => {
      const events = Array.from({ length: 200 }, (_, index) => ({
        id: `e${index}`,
        request: index % 10 === 3 ? { ...score, scenario: "none" } : score,
      }));
      const answers: gateway.ScoreStreamResponse[] = [];
      const requests = async function* () {
        yield* events;
      };
      for await (const answer of client().scoreStream(requests())) answers.push(answer);
      expect(answers.map(({ id }) => id)).toEqual(events.map(({ id }) => id));
      const expected = answers.map((_, index) => (index % 10 === 3 ? "error" : "response"));
      expect(answers.map(({ result }) => result.case)).toEqual(expected);
    });

    test("the HTTP edge answers JSON", async () => {
      const { host, edgePort } = weft.output.addresses.gateway;
      const line = weft.output.paste.find(({ curl }) => curl.includes("/Score"))?.curl ?? "";
      const response = await fetch(`http://${host}:${edgePort}/weft.gateway.v1.GatewayService/Score`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: /-d '([^']*)'/.exec(line)?.[1] ?? "",
      });
      expect(response.status).toBe(200);
      expect(await response.json()).toMatchObject({
        releaseId: weft.output.releases.fraud,
        decision: expect.any(String),
      });
      const bad = await fetch(`http://${host}:${edgePort}/weft.gateway.v1.GatewayService/Score`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: '{"nonsense": 1}',
      });
      expect(bad.status).toBe(400);
    });

    test("grpcurl lists, describes and calls every service without files, and the pasted lines work", async () => {
      const grpcurl = await grpcurlPath();
      for (const [service, { host, port }] of Object.entries(weft.output.addresses)) {
        const { stdout } = await execute(grpcurl, ["-plaintext", `${host}:${port}`, "list"]);
        const own = stdout
          .split("\n")
          .find((line) => line.startsWith(`weft.${service}.`) || line.startsWith("inference."));
        expect(own).toBeDefined();
        expect(stdout).toContain("grpc.health.v1.Health");
        expect((await execute(grpcurl, ["-plaintext", `${host}:${port}`, "describe", own ?? ""])).stdout).toContain(
          "rpc ",
        );
        expect(
          (await execute(grpcurl, ["-plaintext", `${host}:${port}`, "grpc.health.v1.Health/Check"])).stdout,
        ).toContain("SERVING");
      }
      for (const lines of weft.output.paste)
        for (const line of [lines.grpcurl.replace(/^grpcurl/, grpcurl), lines.curl]) {
          const { stdout } = await execute("sh", ["-c", line]);
          expect(JSON.parse(stdout)).toHaveProperty("releaseId");
        }
    }, 300_000);

    const clear = (error: WeftError, code: Code, reason: string) => {
      expect(error.reason).toBe(reason);
      expect(error.code).toBe(code);
      expect(error.message.length).toBeGreaterThan(10);
    };

    test("bad input gets a clear error with its reason", async () => {
      clear(await failure(client().score({ ...score, scenario: "none" })), Code.NotFound, "SCENARIO_UNKNOWN");
      const text = { kind: { case: "text", value: "x" } } as const;
      const faults = [
        { ...score, entities: {} },
        { ...score, entities: { ...score.entities, spaceship: text } },
        { ...score, features: {} },
        { ...score, features: { ...score.features, unknown_field: { kind: { case: "number", value: 1 } } as const } },
        {
          ...score,
          features: Object.fromEntries(
            Object.keys(score.features).map((field) => [
              field,
              { kind: { case: "number", value: Number.NaN } } as const,
            ]),
          ),
        },
      ];
      for (const fault of faults) {
        const error = await failure(client().score(fault));
        expect(error.code).toBe(Code.InvalidArgument);
        expect(error.violations.length).toBeGreaterThan(0);
      }
      expect((await failure(client().recommend({ ...recommend, count: 100_000 }))).code).toBe(Code.InvalidArgument);
      expect((await failure(client().score(score, { release: "fraud-000000000000" }))).reason).toMatch(/RELEASE/);
      expect((await failure(client().score({ ...score, scenario: "x".repeat(5_000_000) }))).code).toBe(
        Code.ResourceExhausted,
      );
    });

    test("ranking refuses wrong tensors and unknown models by name", async () => {
      const ranking = weft.dial(inference.GRPCInferenceService);
      const [model] = (await client().score(score)).models;
      const width = BigInt((await ranking.modelMetadata({ name: model?.model ?? "" })).inputs[0]?.shape[1] ?? 0n);
      const input = { name: "features", datatype: "FP32", shape: [1n, width] };
      const infer = (request: object) => failure(ranking.modelInfer({ modelName: model?.model ?? "", ...request }));
      expect((await infer({ modelName: "none", inputs: [input] })).code).toBe(Code.NotFound);
      expect(
        (
          await infer({
            inputs: [{ ...input, shape: [1n, width + 1n] }],
            rawInputContents: [new Uint8Array(Number(width + 1n) * 4)],
          })
        ).code,
      ).toBe(Code.InvalidArgument);
      expect((await infer({ inputs: [input], rawInputContents: [new Uint8Array(3)] })).code).toBe(Code.InvalidArgument);
      expect(
        (
          await infer({
            inputs: [{ ...input, datatype: "INT64" }],
            rawInputContents: [new Uint8Array(Number(width) * 8)],
          })
        ).code,
      ).toBe(Code.InvalidArgument);
      expect(
        (await infer({ inputs: [{ ...input, name: "other" }], rawInputContents: [new Uint8Array(Number(width) * 4)] }))
          .code,
      ).toBe(Code.InvalidArgument);
    });

    test("features are read by reference, and unknown ones are refused", async () => {
      const features = weft.dial(feature.FeatureService);
      const error = await failure(features.getOnlineFeatures({ scenario: "fraud", features: ["nothing:here"] }));
      expect([Code.NotFound, Code.InvalidArgument]).toContain(error.code);
      expect((await failure(features.push({ scenario: "fraud", source: "nothing" }))).code).toBe(Code.NotFound);
    });

    test("graph search agrees with exact search", async () => {
      const search = weft.dial(retrieval.RetrievalService);
      const [generation] = (await search.listIndexes({ scenario: "recommender" })).generations;
      expect(generation?.itemCount).toBeGreaterThan(1_000n);
      const dimension = generation?.dimension ?? 0;
      const query = Float32Array.from({ length: dimension }, (_, index) => Math.sin(index + 1));
      const request = {
        scenario: "recommender",
        index: generation?.index ?? "",
        queries: new Uint8Array(query.buffer),
        neighborCount: 100,
      };
      const [graph, exact] = [await search.search(request), await search.search({ ...request, exact: true })];
      const keys = (response: retrieval.SearchResponse) => response.neighbors[0]?.keys?.integers ?? [];
      expect(keys(exact)).toHaveLength(100);
      const found = new Set(keys(exact));
      expect(keys(graph).filter((key) => found.has(key)).length).toBeGreaterThanOrEqual(90);
    });

    test("what a release is made of: its lineage to the sources and back, and what can be read from it", async () => {
      const id = weft.output.releases.fraud ?? "";
      const { host, port } = weft.output.addresses.registry;
      const { code, stdout } = await runWeft(["lineage", "fraud", `release:${id}`, `--peers.registry=${host}:${port}`]);
      expect(code).toBe(0);
      const lines = stdout.trim().split("\n");
      for (const kind of ["source", "view", "training-set", "model", "release"])
        expect(lines.some((line) => line.startsWith(`${kind} `))).toBe(true);
      expect(lines.at(-1)).toContain(`release ${id} <- `);
      const [source = ""] = lines.filter((line) => line.startsWith("source "));
      const { releases } = await weft.dial(registry.RegistryService).getLineage({
        scenario: "fraud",
        part: { case: "source", value: source.slice(7) },
      });
      expect(releases.map((release) => release.id)).toContain(id);

      const { host: own, port: at } = weft.output.addresses.feature;
      const shown = await runWeft(["features", "fraud", "--json", `--peers.feature=${own}:${at}`]);
      expect(shown.code).toBe(0);
      const { releaseId, featureServices } = JSON.parse(shown.stdout) as feature.GetDefinitionsResponse;
      expect(releaseId).toBe(id);
      const names = featureServices.map(({ name }) => name);
      const { models } = await weft.dial(registry.RegistryService).listModels({ scenario: "fraud" });
      expect(names).toEqual(expect.arrayContaining(models.map(({ name }) => name)));
    });

    test("the registry pushes a moved label to a watcher in under a second", async () => {
      const releases = weft.dial(registry.RegistryService);
      const id = weft.output.releases.fraud ?? "";
      let movedAt = 0;
      for await (const { releases: labelled } of releases.watchReleases({ scenario: "fraud" }, { timeoutMs: 10_000 })) {
        if (labelled.some(({ label }) => label === "canary")) break;
        if (movedAt !== 0) continue;
        movedAt = performance.now();
        await releases.setLabel({ scenario: "fraud", label: "canary", releaseId: id });
      }
      expect(performance.now() - movedAt).toBeLessThan(1_000);
      await releases.setLabel({ scenario: "fraud", label: "canary", releaseId: "" });
    });

    test("predictions are logged, labels join them, and drift is computed against the release's reference", async () => {
      const log = weft.dial(monitoring.MonitoringService);
      const { requestId } = await client().score(score);
      let joined = 0;
      for (let attempt = 0; attempt < 50 && joined === 0; attempt++) {
        joined = (await log.logLabels({ scenario: "fraud", labels: [{ requestId, value: 1 }] })).joinedCount;
        if (joined === 0) await new Promise((resolve) => setTimeout(resolve, 100));
      }
      expect(joined).toBe(1);
      const drift = await log.getDrift({ scenario: "fraud", window: { seconds: 86_400n * 30n } });
      expect(drift.releaseId).toBe(weft.output.releases.fraud);
      expect(drift.predictionCount).toBeGreaterThan(0n);
      expect(drift.statistics.length).toBeGreaterThan(10);
      expect(drift.statistics.every(({ psi }) => Number.isFinite(psi))).toBe(true);
    });

    test("a call without time left is refused, and a short one is answered in time", async () => {
      expect((await failure(client().score(score, { timeoutMs: -1 }))).code).toBe(Code.DeadlineExceeded);
      const start = performance.now();
      await client().score(score, { timeoutMs: 60 });
      expect(performance.now() - start).toBeLessThan(200);
    });

    test("health can be watched and metrics are exposed for every service", async () => {
      for (const { host, port, metricsPort } of Object.values(weft.output.addresses)) {
        const transport = grpcJs.connect(`${host}:${port}`, { messageBytesMax: 1_000_000 });
        for await (const { status } of createClient(health.Health, transport, []).watch({ service: "" })) {
          expect(status).toBe(health.HealthCheckResponse_ServingStatus.SERVING);
          break;
        }
        await transport.close();
        expect(await (await fetch(`http://${host}:${metricsPort}/metrics`)).text()).toContain(
          "rpc_server_call_seconds_bucket",
        );
        expect((await fetch(`http://${host}:${metricsPort}/readyz`)).status).toBe(200);
      }
    });

    test("malformed bytes are refused and the server lives on", async () => {
      const { host, port } = weft.output.addresses.gateway;
      const bare = new Client(`${host}:${port}`, credentials.createInsecure());
      const code = await new Promise<number>((resolve) => {
        const bytes = (value: Buffer) => value;
        bare.makeUnaryRequest(
          "/weft.gateway.v1.GatewayService/Score",
          bytes,
          bytes,
          Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f, 1]),
          (error: { code: number } | null) => resolve(error?.code ?? 0),
        );
      });
      bare.close();
      expect(code).toBe(Code.InvalidArgument);
      expect((await client().score(score)).decision).not.toBe("");
    });
  });
}
