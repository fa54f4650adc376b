import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { Code } from "@weft/errors";
import type { Http2Meter } from "@weft/http2";
import { goTool } from "@weft/local-servers";
import { connectWeft, createClient, type Listener, listenWeft, type Transport } from "@weft/rpc";
import { execute, startInteropServer } from "./interop/programs.ts";
import { asTestClient, createTestRouter, services } from "./interop/test-service.ts";

const messageBytesMax = 4_194_304;
const proto = join(__dirname, "..", "src", "interop", "interop.proto");

/** Bytes of the connections of a test. */
class ByteCount implements Http2Meter {
  received = 0;
  sent = 0;

  connections(): void {}
  streams(): void {}
  bytes(received: number, sent: number): void {
    this.received += received;
    this.sent += sent;
  }
  reset(): void {}
  limit(): void {}
}

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "weft-compression-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let listener: Listener | undefined;
let transport: Transport | undefined;
let server: Awaited<ReturnType<typeof startInteropServer>> | undefined;
afterEach(async () => {
  await transport?.close();
  await listener?.drain(0);
  await server?.stop();
  [transport, listener, server] = [undefined, undefined, undefined];
});

test("grpc-go's client sends compressed requests and takes compressed answers", async () => {
  const ghz = await goTool({ module: "github.com/bojand/ghz/cmd/ghz", version: "v0.120.0" });
  const dataFile = join(folder, "data.json");
  const body = Buffer.alloc(150_000).toString("base64");
  writeFileSync(dataFile, JSON.stringify({ response_size: 200_000, payload: { body } }));
  const counts: number[][] = [];
  for (const compressed of [false, true]) {
    const bytes = new ByteCount();
    listener = await listenWeft(createTestRouter(), {
      host: "127.0.0.1",
      port: 0,
      messageBytesMax,
      concurrentStreamsMax: 100,
      meter: bytes,
      ...(compressed ? { compression: { bytesMin: 1_024 } } : {}),
    });
    const load = [
      "--insecure",
      "--proto",
      proto,
      "--call",
      "grpc.testing.TestService/UnaryCall",
      "-n",
      "50",
      "-c",
      "4",
    ];
    const { stdout } = await execute(
      ghz,
      [...load, ...(compressed ? ["-e"] : []), "-D", dataFile, "-O", "json", `127.0.0.1:${listener.port}`],
      { timeout: 60_000, maxBuffer: 64 * 1024 * 1024 },
    );
    expect(JSON.parse(stdout).statusCodeDistribution).toEqual({ OK: 50 });
    await listener.drain(1_000);
    counts.push([bytes.received, bytes.sent]);
  }
  const [[plainIn = 0, plainOut = 0] = [], [gzipIn = 0, gzipOut = 0] = []] = counts;
  expect([plainIn > 50 * 150_000, plainOut > 50 * 200_000]).toEqual([true, true]);
  expect(gzipIn).toBeLessThan(plainIn / 20);
  // More than four at once go as they are; four callers are four at once.
  expect(gzipOut).toBeLessThan(plainOut / 20);
}, 600_000);

test("grpc-go's server that does not take compressed requests says so", async () => {
  server = await startInteropServer([]);
  transport = connectWeft(`127.0.0.1:${server.port}`, { messageBytesMax });
  const client = asTestClient(createClient(services.test, transport, []));
  const request = { responseSize: 1_000, payload: { body: new Uint8Array(300_000) } };
  const refused = await client.unaryCall(request, { compress: true, timeoutMs: 10_000 }).catch((error) => error);
  expect(refused).toMatchObject({ code: Code.Unimplemented, message: expect.stringContaining("gzip") });
  expect((await client.unaryCall(request, { timeoutMs: 10_000 })).payload?.body.length).toBe(1_000);
}, 600_000);
