import { ConnectError, createClient as createConnectClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { gateway, health, rpcDetails } from "@weft/contracts";
import { Code, createErrors } from "@weft/errors";
import { createTelemetry } from "@weft/telemetry";
import { type CallContext, type Listener, listenEdge, ServiceRouter, serverInterceptors } from "./index.ts";

const errors = createErrors("weft.test", {
  FULL: { code: Code.ResourceExhausted, message: (m: { queue: string }) => `${m.queue} is full`, retryAfterMs: 1_500 },
});

describe("the HTTP edge", () => {
  let listener: Listener;
  let seen: CallContext | undefined;
  let base = "";

  beforeAll(async () => {
    const telemetry = createTelemetry({ service: "test", logLevel: "silent", otlpEndpoint: "", traceRatio: 0 });
    const router = new ServiceRouter(serverInterceptors(telemetry));
    router.serve(gateway.GatewayService, {
      recommend: () => {
        throw errors.FULL({ queue: "ranking" });
      },
      score: async ({ scenario }, context) => {
        seen = context;
        if (scenario === "slow") await new Promise<void>((resolve) => context.onCancel(() => resolve()));
        return { decision: scenario };
      },
      async *scoreStream() {},
    });
    router.serve(health.Health, {
      check: () => ({ status: 1 }),
      list: () => ({}),
      async *watch() {
        for (const status of [2, 1, 2]) yield { status };
      },
    });
    const services = [gateway.GatewayService, health.Health];
    const options = { host: "127.0.0.1", port: 0, messageBytesMax: 1_000, allowedOrigin: "*" };
    listener = await listenEdge(router, services, options);
    base = `http://127.0.0.1:${listener.port}`;
  });
  afterAll(() => listener.drain(100));

  const transports: readonly (readonly [string, () => Transport])[] = [
    ["Connect", () => createConnectTransport({ baseUrl: base, httpVersion: "1.1" })],
    ["gRPC-Web", () => createGrpcWebTransport({ baseUrl: base, httpVersion: "1.1" })],
  ];

  test.each(transports)("%s: answers, with the identity of the request", async (_name, open) => {
    const client = createConnectClient(gateway.GatewayService, open());
    const headers = { "x-weft-request-id": "r1", "x-weft-tenant": "t1" };
    expect((await client.score({ scenario: "a" }, { headers, timeoutMs: 5_000 })).decision).toBe("a");
    expect(seen).toMatchObject({ requestId: "r1", tenant: "t1" });
    expect(seen?.remainingMs()).toBeGreaterThan(0);
  });

  test.each(transports)("%s: errors carry their reason and retry hint", async (_name, open) => {
    const error = await createConnectClient(gateway.GatewayService, open())
      .recommend({})
      .catch((thrown) => thrown);
    expect(error).toBeInstanceOf(ConnectError);
    expect((error as ConnectError).code).toBe(Code.ResourceExhausted);
    expect((error as ConnectError).findDetails(rpcDetails.ErrorInfoSchema)[0]).toMatchObject({
      reason: "FULL",
      domain: "weft.test",
      metadata: { queue: "ranking" },
    });
    expect((error as ConnectError).findDetails(rpcDetails.RetryInfoSchema)[0]?.retryDelay?.seconds).toBe(1n);
  });

  test.each(transports)("%s: streams, and ends a call at its deadline", async (_name, open) => {
    const statuses: number[] = [];
    for await (const { status } of createConnectClient(health.Health, open()).watch({})) statuses.push(status);
    expect(statuses).toEqual([2, 1, 2]);
    const slow = createConnectClient(gateway.GatewayService, open()).score({ scenario: "slow" }, { timeoutMs: 50 });
    expect(await slow.catch(({ code }) => code)).toBe(Code.DeadlineExceeded);
  });

  test("browsers may call from the allowed origin", async () => {
    const preflight = await fetch(`${base}/weft.gateway.v1.GatewayService/Score`, { method: "OPTIONS" });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("*");
    expect(preflight.headers.get("access-control-allow-headers")).toContain("x-weft-request-id");
  });

  test("an oversize message, an unknown field and an unknown path are refused", async () => {
    const post = (path: string, body: string) =>
      fetch(base + path, { method: "POST", headers: { "content-type": "application/json" }, body });
    const large = JSON.stringify({ scenario: "x".repeat(2_000) });
    expect((await post("/weft.gateway.v1.GatewayService/Score", large)).status).toBe(429);
    const misspelt = await post("/weft.gateway.v1.GatewayService/Score", JSON.stringify({ scenarios: "fraud" }));
    expect([misspelt.status, await misspelt.text()]).toEqual([400, expect.stringContaining("scenarios")]);
    expect((await post("/weft.gateway.v1.GatewayService/Fly", "{}")).status).toBe(404);
  });
});
