import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { Code } from "@weft/errors";
import { goTool } from "@weft/local-servers";
import { connectWeft, createClient, type Listener, listenWeft, type Transport } from "@weft/rpc";
import { clientCases, failure, interopCases, sizesOf } from "./interop/cases.ts";
import { type CertificatePaths, type Envoy, startEnvoy } from "./interop/envoy.ts";
import { grpcioPython, runGrpcioClient, startGrpcioServer, writeDescriptors } from "./interop/grpcio.ts";
import { execute, makeCertificate } from "./interop/programs.ts";
import { asTestClient, createTestRouter, services, type TestClient } from "./interop/test-service.ts";

const messageBytesMax = 4_194_304;
const interopFolder = join(__dirname, "..", "..", "test", "src", "interop");
const moreOfGrpcio = ["gzip_unary", "gzip_streaming", "many_at_once", "large_metadata"] as const;

let folder = "";
let certificate: CertificatePaths;
let descriptors = "";

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "weft-peers-"));
  certificate = await makeCertificate(folder);
  descriptors = await writeDescriptors(folder);
  await grpcioPython();
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function serve(tls: boolean, port = 0): Promise<Listener> {
  return listenWeft(createTestRouter(), {
    host: "127.0.0.1",
    port,
    messageBytesMax,
    concurrentStreamsMax: 1_000,
    ...(tls ? { tls: { key: readFileSync(certificate.key), cert: readFileSync(certificate.cert) } } : {}),
  });
}

function call(port: number, tls: boolean): Transport {
  return connectWeft(`localhost:${port}`, {
    messageBytesMax,
    ...(tls ? { tls: { ca: readFileSync(certificate.cert) } } : {}),
  });
}

describe.each([false, true])("over TLS: %s", (tls) => {
  describe("grpcio's client, our server", () => {
    let listener: Listener | undefined;
    let said: ReadonlyMap<string, string>;
    beforeAll(async () => {
      listener = await serve(tls);
      said = await runGrpcioClient(descriptors, `localhost:${listener.port}`, tls ? certificate.cert : undefined);
    }, 180_000);
    afterAll(() => listener?.drain(100));

    test.each([...interopCases, ...moreOfGrpcio])("%s", (name) => expect(said.get(name)).toBe("ok"));
  });

  describe("our client, grpcio's server", () => {
    let server: Awaited<ReturnType<typeof startGrpcioServer>> | undefined;
    let transport: Transport;
    beforeAll(async () => {
      server = await startGrpcioServer(descriptors, tls ? certificate : undefined);
      transport = call(server.port, tls);
    }, 60_000);
    afterAll(async () => {
      await transport?.close();
      await server?.stop();
    });

    test.each(interopCases)("%s", (name) => clientCases(transport)[name]());
  });

  describe("our client, Envoy, our server", () => {
    let listener: Listener | undefined;
    let envoy: Envoy | undefined;
    let transport: Transport;
    let client: TestClient;
    beforeAll(async () => {
      listener = await serve(tls);
      envoy = await startEnvoy(listener.port, tls ? certificate : undefined);
      transport = call(envoy.port, tls);
      client = asTestClient(createClient(services.test, transport, []));
    }, 120_000);
    afterAll(async () => {
      await transport?.close();
      await envoy?.server.close();
      await listener?.drain(100);
    });

    test.each(interopCases)("%s", (name) => clientCases(transport)[name]());

    test("thousands of calls at once", async () => {
      const work = Array.from({ length: 3_000 }, () =>
        client.unaryCall({ responseSize: 1_000 }, { timeoutMs: 30_000 }),
      );
      for (const { payload } of await Promise.all(work)) expect(payload?.body.length).toBe(1_000);
    });

    test("metadata of many kilobytes, there and back", async () => {
      const metadata = { "x-grpc-test-echo-initial": "v".repeat(12_000) };
      await client.unaryCall({}, { metadata, timeoutMs: 10_000 });
    });

    test("messages larger than any window", async () => {
      const body = new Uint8Array(3_000_000);
      const answer = await client.unaryCall({ responseSize: 3_000_000, payload: { body } }, { timeoutMs: 20_000 });
      expect(answer.payload?.body.length).toBe(3_000_000);
    });

    test("a stream in flight ends well while the server drains; then nothing answers, and a new server does", async () => {
      const responseParameters = Array.from({ length: 10 }, () => ({ size: 10, intervalUs: 50_000 }));
      const sizes = sizesOf(client.streamingOutputCall({ responseParameters }, { timeoutMs: 20_000 }));
      await new Promise((resolve) => setTimeout(resolve, 100));
      const port = listener?.port ?? 0;
      await listener?.drain(10_000);
      expect(await sizes).toEqual(new Array(10).fill(10));
      // Envoy answers in the server's place, with trailers alone.
      expect((await failure(client.emptyCall({}, { timeoutMs: 5_000 }))).code).toBe(Code.Unavailable);
      listener = await serve(tls, port);
      for (let tries = 0; ; tries++) {
        const error = await client.emptyCall({}, { timeoutMs: 5_000 }).catch((thrown: unknown) => thrown);
        if (!(error instanceof Error)) break;
        expect(tries).toBeLessThan(50);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    });

    test("Envoy drains: a stream in flight ends well, and no call fails", async () => {
      const responseParameters = Array.from({ length: 10 }, () => ({ size: 10, intervalUs: 50_000 }));
      const sizes = sizesOf(client.streamingOutputCall({ responseParameters }, { timeoutMs: 20_000 }));
      await new Promise((resolve) => setTimeout(resolve, 100));
      const answer = await fetch(`http://127.0.0.1:${envoy?.adminPort}/drain_listeners?graceful&skip_exit`, {
        method: "POST",
      });
      expect(answer.status).toBe(200);
      for (let calls = 0; calls < 100; calls++) await client.emptyCall({}, { timeoutMs: 5_000 });
      expect(await sizes).toEqual(new Array(10).fill(10));
    });
  });
});

test("ghz: every call is answered", async () => {
  const listener = await serve(false);
  const ghz = await goTool({ module: "github.com/bojand/ghz/cmd/ghz", version: "v0.120.0" });
  const args = [
    "--insecure",
    "--proto",
    join(interopFolder, "interop.proto"),
    "--call",
    "grpc.testing.TestService.UnaryCall",
  ];
  const load = [
    "--data",
    '{"response_size":100}',
    "--total",
    "20000",
    "--concurrency",
    "100",
    "--connections",
    "4",
    "--format",
    "json",
  ];
  const { stdout } = await execute(ghz, [...args, ...load, `127.0.0.1:${listener.port}`], {
    maxBuffer: 1024 ** 3,
    timeout: 120_000,
  });
  expect(JSON.parse(stdout).statusCodeDistribution).toEqual({ OK: 20_000 });
  await listener.drain(1_000);
}, 180_000);

test("grpcurl: a unary call, a stream, and a status", async () => {
  const listener = await serve(false);
  const grpcurl = await goTool({ module: "github.com/fullstorydev/grpcurl/cmd/grpcurl", version: "v1.9.3" });
  const run = (method: string, data: string) =>
    execute(grpcurl, [
      ...["-plaintext", "-import-path", interopFolder, "-proto", "interop.proto", "-d", data],
      ...[`127.0.0.1:${listener.port}`, `grpc.testing.TestService/${method}`],
    ]).catch((error: { readonly stderr: string }) => ({ stdout: "", stderr: error.stderr }));
  expect(JSON.parse((await run("UnaryCall", '{"response_size":3}')).stdout)).toEqual({ payload: { body: "AAAA" } });
  const stream = await run("FullDuplexCall", '{"response_parameters":[{"size":3},{"size":3}]}');
  expect(stream.stdout.match(/AAAA/g)?.length).toBe(2);
  const failed = await run("UnaryCall", '{"response_status":{"code":5,"message":"not here"}}');
  expect(failed.stderr).toMatch(/Code: NotFound\s+Message: not here/);
  await listener.drain(1_000);
}, 180_000);
