import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { gateway, registry } from "@weft/contracts";
import { Code, createErrors, type WeftError } from "@weft/errors";
import { createTelemetry } from "@weft/telemetry";
import {
  type CallContext,
  clientInterceptors,
  createClient,
  type Router,
  ServiceRouter,
  serverInterceptors,
  type Transport,
} from "./index.ts";

/** Opens a transport to a router; `close` ends both sides. */
export type OpenTransport = (router: Router) => Promise<{ readonly transport: Transport; close(): Promise<void> }>;

const errors = createErrors("weft.test", {
  BAD: { code: Code.InvalidArgument, message: (m: { why: string }) => `bad: ${m.why}` },
  FULL: { code: Code.ResourceExhausted, message: () => "full", retryAfterMs: 1_500 },
});

const telemetry = createTelemetry({ service: "test", logLevel: "silent", otlpEndpoint: "", traceRatio: 0 });

/** A promise and its controls. */
function deferred<T>() {
  return Promise.withResolvers<T>();
}

/** What every transport must do: run by each of them, so that no service can tell them apart. */
export function transportContract(name: string, open: OpenTransport): void {
  describe(`transport ${name}`, () => {
    let close = async () => {};
    let seen: CallContext | undefined;
    let produced = 0;
    let bytesSeen: (chunk: Uint8Array) => void = () => {};
    let streamEnded = deferred<void>();
    let entered = deferred<void>();
    let score: (request: gateway.ScoreRequest, context: CallContext) => object | Promise<object> = () => ({});

    const connect = async () => {
      const router = new ServiceRouter(serverInterceptors(telemetry));
      router.serve(gateway.GatewayService, {
        recommend: () => ({}),
        score(request, context) {
          seen = context;
          entered.resolve();
          return score(request, context);
        },
        async *scoreStream(requests) {
          for await (const { id } of requests) yield { id };
        },
      });
      const unused = () => {
        throw errors.BAD({ why: "unused" });
      };
      router.serve(registry.RegistryService, {
        async putArtifact(requests) {
          let sizeBytes = 0n;
          for await (const { chunk } of requests) {
            bytesSeen(chunk);
            sizeBytes += BigInt(chunk.length);
          }
          return { digest: "d", sizeBytes };
        },
        async *getArtifact({ digest }, context) {
          try {
            if (digest === "fails") {
              yield { chunk: new Uint8Array(1) };
              throw errors.BAD({ why: "midway" });
            }
            for (produced = 0; produced < 100_000 && context.cancelled === undefined; produced++)
              yield { chunk: new Uint8Array(16_384) };
          } finally {
            streamEnded.resolve();
          }
        },
        registerFeatureView: unused,
        listFeatureViews: unused,
        registerModel: unused,
        getModel: unused,
        listModels: unused,
        createRelease: unused,
        getRelease: unused,
        listReleases: unused,
        setLabel: unused,
        getLineage: unused,
        async *watchReleases() {
          yield {};
          await new Promise(() => {});
        },
      });
      const opened = await open(router);
      close = opened.close;
      return {
        gateway: createClient(gateway.GatewayService, opened.transport, clientInterceptors(telemetry)),
        registry: createClient(registry.RegistryService, opened.transport, clientInterceptors(telemetry)),
      };
    };

    beforeEach(() => {
      produced = 0;
      streamEnded = deferred<void>();
      entered = deferred<void>();
      score = () => ({});
    });
    afterEach(() => close());

    const failure = async (work: Promise<unknown>): Promise<WeftError> => {
      try {
        await work;
      } catch (error) {
        return error as WeftError;
      }
      throw new Error("the call did not fail");
    };

    test("answers a unary call with a whole message", async () => {
      const client = await connect();
      score = (request) => ({ decision: request.scenario, reasons: ["a"], models: [{ model: "m", version: "1" }] });
      const response = await client.gateway.score({
        scenario: "fraud",
        entities: { card: { kind: { case: "integer", value: 2n ** 62n + 1n } } },
      });
      expect(response).toEqual(
        create(gateway.ScoreResponseSchema, {
          decision: "fraud",
          reasons: ["a"],
          models: [{ model: "m", version: "1" }],
        }),
      );
    });

    test("carries identity, metadata, trace and deadline", async () => {
      const client = await connect();
      const before = Date.now();
      await client.gateway.score(
        {},
        {
          timeoutMs: 5_000,
          requestId: "r1",
          tenant: "t1",
          priority: 3,
          release: "fraud-1",
          arm: "b",
          metadata: { "x-custom": "value" },
        },
      );
      expect(seen).toMatchObject({ requestId: "r1", tenant: "t1", priority: 3, release: "fraud-1", arm: "b" });
      expect(seen?.metadata["x-custom"]).toBe("value");
      expect(seen?.deadlineMs).toBeGreaterThanOrEqual(before + 4_900);
      expect(seen?.deadlineMs).toBeLessThanOrEqual(Date.now() + 5_050);
    });

    test("hands a parent's identity, deadline and cancellation on", async () => {
      const client = await connect();
      const abort = new AbortController();
      score = async (_request, context) => {
        if (context.requestId === "outer")
          return client.gateway.score({}, { parent: { ...spread(context), requestId: "inner" } });
        await new Promise<void>((resolve) => context.onCancel(() => resolve()));
        streamEnded.resolve();
        return {};
      };
      const work = failure(
        client.gateway.score({}, { requestId: "outer", tenant: "t", timeoutMs: 10_000, signal: abort.signal }),
      );
      await entered.promise;
      await new Promise((resolve) => setTimeout(resolve, 30));
      abort.abort();
      expect((await work).code).toBe(Code.Cancelled);
      await streamEnded.promise;
      expect(seen).toMatchObject({ requestId: "inner", tenant: "t" });
    });

    test("sends an error with its reason, facts, retry hint and violations, and never its cause", async () => {
      const client = await connect();
      score = () => {
        throw errors.BAD(
          { why: "x" },
          { cause: new Error("secret"), violations: [{ field: "entities.card", description: "missing" }] },
        );
      };
      const bad = await failure(client.gateway.score({}));
      expect(bad).toMatchObject({
        name: "WeftError",
        code: Code.InvalidArgument,
        reason: "BAD",
        domain: "weft.test",
        metadata: { why: "x" },
        message: "bad: x",
      });
      expect(bad.violations).toEqual([{ field: "entities.card", description: "missing" }]);
      score = () => {
        throw errors.FULL({});
      };
      expect(await failure(client.gateway.score({}))).toMatchObject({
        code: Code.ResourceExhausted,
        reason: "FULL",
        retryAfterMs: 1_500,
      });
      score = () => {
        throw new Error("secret");
      };
      const internal = await failure(client.gateway.score({}));
      expect(internal).toMatchObject({ code: Code.Internal, reason: "INTERNAL" });
      expect(internal.message).not.toContain("secret");
    });

    test("ends a call at its deadline and tells the handler", async () => {
      const client = await connect();
      const told = deferred<string>();
      score = (_request, context) => {
        context.onCancel((reason) => told.resolve(reason));
        return new Promise(() => {});
      };
      const start = Date.now();
      const error = await failure(client.gateway.score({}, { timeoutMs: 80 }));
      expect(error).toMatchObject({ code: Code.DeadlineExceeded, reason: "DEADLINE_EXCEEDED" });
      expect(Date.now() - start).toBeLessThan(2_000);
      expect(["deadline", "cancelled"]).toContain(await told.promise);
    });

    test("does not begin work whose deadline has passed", async () => {
      const client = await connect();
      expect((await failure(client.gateway.score({}, { timeoutMs: -1 }))).code).toBe(Code.DeadlineExceeded);
      expect(seen?.requestId ?? "").not.toBe("late");
    });

    test("cancelling ends the call and aborts the handler's signal", async () => {
      const client = await connect();
      const aborted = deferred<void>();
      score = (_request, context) => {
        context.signal.addEventListener("abort", () => aborted.resolve());
        return new Promise(() => {});
      };
      const abort = new AbortController();
      const work = failure(client.gateway.score({}, { signal: abort.signal }));
      await entered.promise;
      abort.abort();
      expect((await work).code).toBe(Code.Cancelled);
      await aborted.promise;
    });

    test("neither side sees a later change of the other's message", async () => {
      const client = await connect();
      const kept: { reasons: string[] } = { reasons: ["first"] };
      const gate = deferred<void>();
      const entities: Record<string, { kind: { case: "text"; value: string } }> = {
        card: { kind: { case: "text", value: "a" } },
      };
      let found: unknown;
      score = async (request) => {
        await gate.promise;
        found = request.entities.card?.kind.value;
        return kept;
      };
      const work = client.gateway.score({ entities });
      if (entities.card !== undefined) entities.card.kind.value = "changed";
      gate.resolve();
      const response = await work;
      kept.reasons.push("later");
      expect(found).toBe("a");
      expect(response.reasons).toEqual(["first"]);
    });

    test("bytes arrive as a plain Uint8Array, whose slice is a copy", async () => {
      const client = await connect();
      const chunks: Uint8Array[] = [];
      for await (const { chunk } of client.registry.getArtifact({ digest: "long" })) {
        chunks.push(chunk);
        if (chunks.length === 2) break;
      }
      for (const chunk of chunks) {
        expect(Object.getPrototypeOf(chunk)).toBe(Uint8Array.prototype);
        expect(chunk.slice().buffer).not.toBe(chunk.buffer);
      }
      let received: Uint8Array | undefined;
      bytesSeen = (chunk) => {
        received = chunk;
      };
      const requests = async function* () {
        yield { chunk: Buffer.from([1, 2, 3]) };
      };
      await client.registry.putArtifact(requests());
      expect(Object.getPrototypeOf(received)).toBe(Uint8Array.prototype);
      expect([...(received ?? [])]).toEqual([1, 2, 3]);
    });

    test("streams requests to one answer", async () => {
      const client = await connect();
      const chunks = async function* () {
        for (let part = 0; part < 100; part++) yield { chunk: new Uint8Array(1_000) };
      };
      expect((await client.registry.putArtifact(chunks())).sizeBytes).toBe(100_000n);
    });

    test("a source of requests that fails ends the call", async () => {
      const client = await connect();
      const chunks = async function* () {
        yield { chunk: new Uint8Array(1) };
        throw errors.BAD({ why: "source" });
      };
      expect((await failure(client.registry.putArtifact(chunks()))).reason).toBe("BAD");
    });

    test("streams both ways, in order", async () => {
      const client = await connect();
      const ids = Array.from({ length: 500 }, (_, index) => `e${index}`);
      const requests = async function* () {
        for (const id of ids) yield { id };
      };
      const answers: string[] = [];
      for await (const { id } of client.gateway.scoreStream(requests())) answers.push(id);
      expect(answers).toEqual(ids);
    });

    test("a reader that leaves ends the stream, and a slow reader holds the producer back", async () => {
      const client = await connect();
      let read = 0;
      for await (const { chunk } of client.registry.getArtifact({ digest: "long" })) {
        expect(chunk.length).toBe(16_384);
        if (++read === 3) break;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await streamEnded.promise;
      expect(produced).toBeLessThan(5_000);
    });

    test("a stream that fails midway says why after what it sent", async () => {
      const client = await connect();
      let read = 0;
      const error = await failure(
        (async () => {
          for await (const _part of client.registry.getArtifact({ digest: "fails" })) read++;
        })(),
      );
      expect(read).toBe(1);
      expect(error).toMatchObject({ reason: "BAD", metadata: { why: "midway" } });
    });

    test("a stream whose producer hangs ends at its deadline", async () => {
      const client = await connect();
      let read = 0;
      const error = await failure(
        (async () => {
          for await (const _part of client.registry.watchReleases({}, { timeoutMs: 500 })) read++;
        })(),
      );
      expect(read).toBe(1);
      expect(error.code).toBe(Code.DeadlineExceeded);
    });
  });
}

/** The fields of a context, as a parent under another request id needs them. */
function spread(context: CallContext): CallContext {
  const { tenant, priority, release, arm, deadlineMs, trace, metadata, cancelled, signal, requestId } = context;
  return {
    tenant,
    priority,
    release,
    arm,
    deadlineMs,
    trace,
    metadata,
    cancelled,
    signal,
    requestId,
    remainingMs: () => context.remainingMs(),
    onCancel: (listener) => context.onCancel(listener),
  };
}
