import { expect, test } from "@jest/globals";
import { monitoring as contract } from "@weft/contracts";
import { createClient, grpcJs } from "@weft/rpc";
import { startServices } from "@weft/service";
import { startOnFreePorts } from "@weft/testkit";
import { floatBytes, prediction, startUs } from "./domain/prediction-fixture.ts";
import { monitoring } from "./index.ts";

test("runs alone: takes predictions over gRPC while the registry is away, and says what it cannot answer", async () => {
  const running = await startOnFreePorts([monitoring], ["--peers.registry=127.0.0.1:1"]);
  try {
    await running.ready();
    const address = running.addresses.get("monitoring");
    const transport = grpcJs.connect(`127.0.0.1:${address?.port}`, { messageBytesMax: 4_194_304 });
    const client = createClient(contract.MonitoringService, transport, []);
    const predictions = Array.from({ length: 100 }, (_, i) =>
      prediction(`r${i}`, { eventTimeUs: BigInt(startUs + i), features: floatBytes([i, Number.NaN]) }),
    );
    expect((await client.logPredictions({ predictions }, { timeoutMs: 10_000 })).acceptedCount).toBe(100);
    const listed = await client.listPredictions({ scenario: "fraud", pageSize: 2 }, { timeoutMs: 10_000 });
    expect(listed.predictions.map(({ requestId }) => requestId)).toEqual(["r99", "r98"]);
    expect(listed.nextPageToken).not.toBe("");
    const labels = [{ requestId: "r1", value: 1 }];
    const labelled = await client.logLabels({ scenario: "fraud", labels }, { timeoutMs: 10_000 });
    expect(labelled).toMatchObject({ acceptedCount: 1, joinedCount: 1 });
    await expect(client.getDrift({ scenario: "fraud" }, { timeoutMs: 10_000 })).rejects.toMatchObject({
      name: "WeftError",
      reason: "REGISTRY_UNAVAILABLE",
    });
    await transport.close();
    const second = startServices([monitoring], {
      arguments: [
        "--monitoring.port=0",
        "--monitoring.metrics-port=0",
        "--process.log-level=silent",
        `--process.data-directory=${running.directory}`,
      ],
      environment: {},
    });
    await expect(second).rejects.toMatchObject({
      reason: "LOG_NOT_OPENED",
      message: expect.stringMatching(/another process holds it/),
    });
    const metrics = await fetch(`http://127.0.0.1:${address?.metricsPort}/metrics`);
    expect(await metrics.text()).toContain('monitoring_log_rows{kind="prediction"} 100');
  } finally {
    await running.stop();
  }
});
