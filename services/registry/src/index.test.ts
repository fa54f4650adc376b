import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { registry as contract } from "@weft/contracts";
import { ReleaseSource } from "@weft/release";
import { scenarioBundle } from "@weft/release/testing";
import { type Client, clientInterceptors, createClient, grpcJs } from "@weft/rpc";
import { systemClock } from "@weft/service";
import { quietTelemetry, startOnFreePorts } from "@weft/testkit";
import { sha256 } from "./domain/canonical.ts";
import { onnxFile, scoringGraph } from "./domain/onnx-fixture.ts";
import { registry } from "./index.ts";

type Started = Awaited<ReturnType<typeof startOnFreePorts>>;

let running: Started;
const telemetry = quietTelemetry();
const folder = mkdtempSync(join(tmpdir(), "weft-registry-"));
beforeAll(async () => {
  running = await startOnFreePorts([registry]);
  await running.ready();
});
afterAll(async () => {
  await running.stop();
  rmSync(folder, { recursive: true, force: true });
});

const transports = {
  "in memory": () => ({ client: running.dial(contract.RegistryService), close: () => {} }),
  "over gRPC": () => {
    const port = running.addresses.get("registry")?.port;
    const transport = grpcJs.connect(`127.0.0.1:${port}`, { messageBytesMax: 4_194_304 });
    const client = createClient(contract.RegistryService, transport, clientInterceptors(telemetry));
    return { client, close: () => transport.close() };
  },
};

async function* upload(bytes: Uint8Array) {
  for (let start = 0; start === 0 || start < bytes.length; start += 1_000_000) {
    yield { chunk: bytes.subarray(start, start + 1_000_000) };
  }
}

async function release(client: Client<typeof contract.RegistryService>, scenario: string, generation: bigint) {
  const model = await client.putArtifact(upload(onnxFile(scoringGraph(1))));
  const code = await client.putArtifact(upload(scenarioBundle(scenario).bytes));
  await client.registerModel({
    model: {
      scenario,
      name: "tree",
      artifactDigest: model.digest,
      inputs: [{ name: "features", datatype: "FP32", shape: [-1n, 1n] }],
      outputs: [{ name: "probability", datatype: "FP32", shape: [-1n] }],
      features: ["card_stats:amount"],
    },
  });
  const made = await client.createRelease({
    scenario,
    codeDigest: code.digest,
    models: [{ name: "tree" }],
    indexes: [{ index: "items", generation }],
  });
  return made.release?.id ?? "";
}

describe.each(Object.entries(transports))("the registry %s", (name, open) => {
  const scenario = name === "in memory" ? "near" : "far";

  test("keeps an artifact of several messages and refuses with a reason", async () => {
    const { client, close } = open();
    const bytes = Buffer.alloc(5_000_000, name);
    expect(await client.putArtifact(upload(bytes))).toMatchObject({ digest: sha256(bytes), sizeBytes: 5_000_000n });
    const parts: Uint8Array[] = [];
    for await (const { chunk } of client.getArtifact({ digest: sha256(bytes) })) parts.push(chunk);
    expect(Buffer.concat(parts).equals(bytes)).toBe(true);
    const wrong = client.getModel({ scenario: "Fraud", name: "tree" });
    await expect(wrong).rejects.toMatchObject({
      code: 3,
      reason: "REQUEST_INVALID",
      violations: [{ field: "scenario" }],
    });
    await close();
  });

  test("a release reaches a service within a second of its label", async () => {
    const { client, close } = open();
    const first = await release(client, scenario, 1n);
    const second = await release(client, scenario, 2n);
    await client.setLabel({ scenario, label: "champion", releaseId: first });
    const source = ReleaseSource.start({
      registry: client,
      cacheDirectory: join(folder, scenario),
      scenario,
      load: async ({ release, artifact }) =>
        `${release.id} ${sha256(readFileSync(await artifact(release.models[0]?.artifactDigest ?? "")))}`,
      clock: systemClock,
      logger: telemetry.logger,
    });
    await source.firstReleaseWarm();
    const digest = sha256(onnxFile(scoringGraph(1)));
    expect(source.resolve(scenario, "")).toBe(`${first} ${digest}`);
    const loaded = new Promise<void>((resolve) => {
      source.onChange((event) => {
        if (event.kind === "loaded" && event.release.id === second) resolve();
      });
    });
    const startMs = performance.now();
    await client.setLabel({ scenario, label: "champion", releaseId: second, expectedReleaseId: first });
    await loaded;
    expect(performance.now() - startMs).toBeLessThan(1_000);
    expect(source.resolve(scenario, "")).toBe(`${second} ${digest}`);
    await source.close();
    await close();
  });
});

test("watchers do not hold up the end of the process", async () => {
  const own = await startOnFreePorts([registry], ["--process.drain-grace-ms=20000"]);
  const transport = grpcJs.connect(`127.0.0.1:${own.addresses.get("registry")?.port}`, { messageBytesMax: 4_194_304 });
  const client = createClient(contract.RegistryService, transport, clientInterceptors(telemetry));
  const watch = client.watchReleases({})[Symbol.asyncIterator]();
  await watch.next();
  const startMs = performance.now();
  const ended = watch.next();
  await own.stop();
  expect((await ended).done).toBe(true);
  expect(performance.now() - startMs).toBeLessThan(5_000);
  await transport.close();
});
