import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { defineConfig, integer } from "@weft/config";
import { gateway, health, monitoring } from "@weft/contracts";
import { createClient, grpcJs } from "@weft/rpc";
import { defineService, type RunningServices, startServices } from "./index.ts";

const order: string[] = [];

const toy = defineService({
  name: "monitoring",
  config: defineConfig("monitoring", { answer: integer({ default: 1, min: 0, max: 9, doc: "What it counts." }) }),
  compose({ rpc, settings, own, readiness }) {
    readiness.set("warm", false);
    own({ close: () => void order.push("first") });
    own({ close: () => void order.push("second") });
    rpc.serve(monitoring.MonitoringService, {
      logPredictions: () => ({ acceptedCount: settings.answer }),
      listPredictions: () => ({}),
      logLabels: () => {
        readiness.set("warm", true);
        return {};
      },
      getDrift: () => ({}),
    });
  },
});

const caller = defineService({
  name: "gateway",
  config: defineConfig("gateway", {}),
  edge: [gateway.GatewayService],
  compose({ rpc }) {
    const peer = rpc.dial(monitoring.MonitoringService);
    rpc.serve(gateway.GatewayService, {
      recommend: () => ({}),
      score: async (_request, context) => ({
        score: (await peer.logPredictions({}, { parent: context })).acceptedCount,
      }),
      async *scoreStream() {},
    });
  },
});

describe("startServices", () => {
  let directory = "";
  let running: RunningServices | undefined;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "weft-service-"));
    order.length = 0;
  });
  afterEach(async () => {
    await running?.stop();
    running = undefined;
    rmSync(directory, { recursive: true, force: true });
  });
  const args = (...more: string[]) => [
    ...["gateway", "monitoring"].flatMap((name) => [`--${name}.port=0`, `--${name}.metrics-port=0`]),
    "--gateway.edge-port=0",
    `--process.data-directory=${directory}`,
    "--process.log-level=silent",
    ...more,
  ];

  test("serves gRPC, the HTTP edge, health, metrics; a peer in the process is reached in memory", async () => {
    running = await startServices([caller, toy], { arguments: args("--monitoring.answer=7"), environment: {} });
    const own = running.addresses.get("gateway");
    const transport = grpcJs.connect(`127.0.0.1:${own?.port}`, { messageBytesMax: 1_000_000 });
    expect((await createClient(gateway.GatewayService, transport, []).score({})).score).toBe(7);
    const edge = await fetch(`http://127.0.0.1:${own?.edgePort}/weft.gateway.v1.GatewayService/Score`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "{}",
    });
    expect(await edge.json()).toEqual({ score: 7 });
    expect(await (await fetch(`http://127.0.0.1:${own?.metricsPort}/metrics`)).text()).toContain(
      'rpc_server_call_seconds_count{method="weft.gateway.v1.GatewayService/Score",code="OK"} 2',
    );
    await transport.close();
  });

  test("is ready when every condition is met, and health says so to a watcher", async () => {
    running = await startServices([caller, toy], { arguments: args(), environment: {} });
    const { port, metricsPort } = running.addresses.get("monitoring") ?? {};
    expect(running.unmet()).toEqual(["monitoring: warm"]);
    expect((await fetch(`http://127.0.0.1:${metricsPort}/readyz`)).status).toBe(503);
    const transport = grpcJs.connect(`127.0.0.1:${port}`, { messageBytesMax: 1_000_000 });
    const statuses: number[] = [];
    const watch = (async () => {
      for await (const { status } of createClient(health.Health, transport, []).watch({
        service: "weft.monitoring.v1.MonitoringService",
      })) {
        statuses.push(status);
        if (statuses.length === 1) await createClient(monitoring.MonitoringService, transport, []).logLabels({});
        if (statuses.length === 2) break;
      }
    })();
    await watch;
    await running.ready();
    expect(statuses).toEqual([
      health.HealthCheckResponse_ServingStatus.NOT_SERVING,
      health.HealthCheckResponse_ServingStatus.SERVING,
    ]);
    expect((await fetch(`http://127.0.0.1:${metricsPort}/readyz`)).status).toBe(200);
    await transport.close();
  });

  test("an open health watch is told and does not hold up the end", async () => {
    running = await startServices([toy], {
      arguments: args().filter((argument) => !argument.includes("gateway")),
      environment: {},
    });
    const transport = grpcJs.connect(`127.0.0.1:${running.addresses.get("monitoring")?.port}`, {
      messageBytesMax: 1_000_000,
    });
    const client = createClient(monitoring.MonitoringService, transport, []);
    await client.logLabels({});
    const statuses: number[] = [];
    let stopping: Promise<void> | undefined;
    const start = Date.now();
    for await (const { status } of createClient(health.Health, transport, []).watch({ service: "" })) {
      statuses.push(status);
      stopping ??= running.stop();
    }
    await stopping;
    running = undefined;
    expect(statuses).toEqual([
      health.HealthCheckResponse_ServingStatus.SERVING,
      health.HealthCheckResponse_ServingStatus.NOT_SERVING,
    ]);
    expect(Date.now() - start).toBeLessThan(3_000);
    await transport.close();
  });

  test("a call in flight is answered before the end, and a new one is refused", async () => {
    const entered = Promise.withResolvers<void>();
    const leave = Promise.withResolvers<void>();
    const slow = defineService({
      name: "monitoring",
      config: defineConfig("monitoring", {}),
      compose({ rpc }) {
        rpc.serve(monitoring.MonitoringService, {
          async logPredictions() {
            entered.resolve();
            await leave.promise;
            return { acceptedCount: 1 };
          },
          listPredictions: () => ({}),
          logLabels: () => ({}),
          getDrift: () => ({}),
        });
      },
    });
    running = await startServices([slow], {
      arguments: args().filter((argument) => !argument.includes("gateway")),
      environment: {},
    });
    const connect = () =>
      grpcJs.connect(`127.0.0.1:${running?.addresses.get("monitoring")?.port}`, { messageBytesMax: 1_000 });
    const [transport, late] = [connect(), connect()];
    const answer = createClient(monitoring.MonitoringService, transport, []).logPredictions({});
    await entered.promise;
    const stopped = running.stop();
    const refused = createClient(monitoring.MonitoringService, late, []).logLabels({}, { timeoutMs: 5_000 });
    expect(await refused.catch(({ reason }) => reason)).toBe("UNAVAILABLE");
    leave.resolve();
    expect((await answer).acceptedCount).toBe(1);
    await stopped;
    running = undefined;
    await transport.close();
    await late.close();
  });

  test("closes what it owns in reverse", async () => {
    running = await startServices([toy], {
      arguments: args().filter((argument) => !argument.includes("gateway")),
      environment: {},
    });
    await running.stop();
    running = undefined;
    expect(order).toEqual(["second", "first"]);
  });

  test("a taken port is a clear error, and nothing is left behind", async () => {
    const taken = createServer();
    const port = await new Promise<number>((resolve) =>
      taken.listen(0, "127.0.0.1", () => resolve((taken.address() as { port: number }).port)),
    );
    const start = startServices([caller, toy], { arguments: args(`--monitoring.port=${port}`), environment: {} });
    await expect(start).rejects.toMatchObject({
      reason: "PORT_TAKEN",
      message: `monitoring: port ${port} is taken; set --monitoring.port to another, or to 0 for a free one`,
    });
    expect(order).toEqual(["second", "first"]);
    taken.close();
  });

  test("an unknown setting is refused before anything starts", async () => {
    await expect(startServices([toy], { arguments: ["--monitoring.colour=1"], environment: {} })).rejects.toMatchObject(
      { name: "ConfigError" },
    );
  });
});
