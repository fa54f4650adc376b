import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { Code, type WeftError } from "@weft/errors";
import { type CallScope, connectWeft, createClient, type Listener, listenWeft, type Transport } from "@weft/rpc";
import { execute, interopPath, makeCertificate, startInteropServer } from "./interop/programs.ts";
import { asTestClient, createTestRouter, services, type TestClient } from "./interop/test-service.ts";

const cases = [
  "empty_unary",
  "large_unary",
  "client_streaming",
  "server_streaming",
  "ping_pong",
  "empty_stream",
  "timeout_on_sleeping_server",
  "cancel_after_begin",
  "cancel_after_first_response",
  "status_code_and_message",
  "special_status_message",
  "custom_metadata",
  "unimplemented_method",
  "unimplemented_service",
] as const;

const specialMessage = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
const requestSizes = [27_182, 8, 1_828, 45_904];
const responseSizes = [31_415, 9, 2_653, 58_979];

let folder = "";
let certificate = { key: "", cert: "" };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "weft-interop-"));
  certificate = await makeCertificate(folder);
  await Promise.all([interopPath("client"), interopPath("server")]);
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function failure(work: Promise<unknown>): Promise<WeftError> {
  try {
    await work;
  } catch (error) {
    return error as WeftError;
  }
  throw new Error("the call did not fail");
}

async function sizesOf(answers: AsyncIterable<{ readonly payload?: { readonly body: Uint8Array } }>) {
  const sizes: number[] = [];
  for await (const { payload } of answers) sizes.push(payload?.body.length ?? 0);
  return sizes;
}

describe.each([false, true])("over TLS: %s", (tls) => {
  describe("grpc-go's client, our server", () => {
    let listener: Listener | undefined;
    beforeAll(async () => {
      listener = await listenWeft(createTestRouter(), {
        host: "127.0.0.1",
        port: 0,
        messageBytesMax: 4_194_304,
        concurrentStreamsMax: 100,
        ...(tls ? { tls: { key: readFileSync(certificate.key), cert: readFileSync(certificate.cert) } } : {}),
      });
    });
    afterAll(() => listener?.drain(100));

    test.each(cases)("%s", async (name) => {
      const secure = tls
        ? ["-use_tls", "-use_test_ca", "-ca_file", certificate.cert, "-server_host_override", "localhost"]
        : [];
      await execute(
        await interopPath("client"),
        ["-server_host", "127.0.0.1", "-server_port", String(listener?.port), "-test_case", name, ...secure],
        { timeout: 30_000 },
      );
    });
  });

  describe("our client, grpc-go's server", () => {
    let server: Awaited<ReturnType<typeof startInteropServer>> | undefined;
    let transport: Transport | undefined;
    let client: TestClient;
    let unimplemented: TestClient;
    /** The context of the call made last. */
    let context: CallScope | undefined;
    beforeAll(async () => {
      server = await startInteropServer(
        tls ? ["-use_tls", "-tls_cert_file", certificate.cert, "-tls_key_file", certificate.key] : [],
      );
      transport = connectWeft(`localhost:${server.port}`, {
        messageBytesMax: 4_194_304,
        ...(tls ? { tls: { ca: readFileSync(certificate.cert) } } : {}),
      });
      const watch = [
        (next: (call: { context: CallScope }) => unknown) => (call: { context: CallScope }) => {
          context = call.context;
          return next(call);
        },
      ] as never;
      client = asTestClient(createClient(services.test, transport, watch));
      unimplemented = asTestClient(createClient(services.unimplemented, transport, watch));
    });
    afterAll(async () => {
      await transport?.close();
      await server?.stop();
    });

    const work: Record<(typeof cases)[number], () => Promise<void>> = {
      async empty_unary() {
        await client.emptyCall({});
      },
      async large_unary() {
        const answer = await client.unaryCall({ responseSize: 314_159, payload: { body: new Uint8Array(271_828) } });
        expect(answer.payload?.body.length).toBe(314_159);
      },
      async client_streaming() {
        const answer = await client.streamingInputCall(
          (async function* () {
            for (const size of requestSizes) yield { payload: { body: new Uint8Array(size) } };
          })(),
        );
        expect(answer.aggregatedPayloadSize).toBe(74_922);
      },
      async server_streaming() {
        const answers = client.streamingOutputCall({ responseParameters: responseSizes.map((size) => ({ size })) });
        expect(await sizesOf(answers)).toEqual(responseSizes);
      },
      async ping_pong() {
        let answered = Promise.withResolvers<void>();
        const requests = async function* () {
          for (const [index, size] of responseSizes.entries()) {
            answered = Promise.withResolvers<void>();
            yield { responseParameters: [{ size }], payload: { body: new Uint8Array(requestSizes[index] ?? 0) } };
            await answered.promise;
          }
        };
        const sizes: number[] = [];
        for await (const { payload } of client.fullDuplexCall(requests())) {
          sizes.push(payload?.body.length ?? 0);
          answered.resolve();
        }
        expect(sizes).toEqual(responseSizes);
      },
      async empty_stream() {
        expect(await sizesOf(client.fullDuplexCall((async function* () {})()))).toEqual([]);
      },
      async timeout_on_sleeping_server() {
        const requests = async function* () {
          yield { payload: { body: new Uint8Array(27_182) } };
          await new Promise((resolve) => setTimeout(resolve, 200));
        };
        const error = await failure(sizesOf(client.fullDuplexCall(requests(), { timeoutMs: 1 })));
        expect(error.code).toBe(Code.DeadlineExceeded);
      },
      async cancel_after_begin() {
        const abort = new AbortController();
        const requests = async function* () {
          abort.abort();
          await new Promise((resolve) => setTimeout(resolve, 200));
          yield {};
        };
        const error = await failure(client.streamingInputCall(requests(), { signal: abort.signal }));
        expect(error.code).toBe(Code.Cancelled);
      },
      async cancel_after_first_response() {
        const abort = new AbortController();
        const requests = async function* () {
          yield { responseParameters: [{ size: 31_415 }], payload: { body: new Uint8Array(27_182) } };
          await new Promise((resolve) => setTimeout(resolve, 1_000));
        };
        const error = await failure(
          (async () => {
            for await (const _answer of client.fullDuplexCall(requests(), { signal: abort.signal })) abort.abort();
          })(),
        );
        expect(error.code).toBe(Code.Cancelled);
      },
      async status_code_and_message() {
        const responseStatus = { code: 2, message: "test status message" };
        expect(await failure(client.unaryCall({ responseStatus }))).toMatchObject(responseStatus);
        const requests = async function* () {
          yield { responseStatus };
        };
        expect(await failure(sizesOf(client.fullDuplexCall(requests())))).toMatchObject(responseStatus);
      },
      async special_status_message() {
        const responseStatus = { code: 2, message: specialMessage };
        expect(await failure(client.unaryCall({ responseStatus }))).toMatchObject(responseStatus);
      },
      async custom_metadata() {
        const metadata = {
          "x-grpc-test-echo-initial": "test_initial_metadata_value",
          "x-grpc-test-echo-trailing-bin": Buffer.from("ababab", "hex").toString("base64"),
        };
        const echoed = () => {
          expect(context?.initialMetadata).toMatchObject({
            "x-grpc-test-echo-initial": metadata["x-grpc-test-echo-initial"],
          });
          expect(context?.trailingMetadata).toMatchObject({
            "x-grpc-test-echo-trailing-bin": metadata["x-grpc-test-echo-trailing-bin"],
          });
        };
        await client.unaryCall({ responseSize: 314_159, payload: { body: new Uint8Array(271_828) } }, { metadata });
        echoed();
        const requests = async function* () {
          yield { responseParameters: [{ size: 314_159 }], payload: { body: new Uint8Array(271_828) } };
        };
        expect(await sizesOf(client.fullDuplexCall(requests(), { metadata }))).toEqual([314_159]);
        echoed();
      },
      async unimplemented_method() {
        expect((await failure(client.unimplementedCall({}))).code).toBe(Code.Unimplemented);
      },
      async unimplemented_service() {
        expect((await failure(unimplemented.unimplementedCall({}))).code).toBe(Code.Unimplemented);
      },
    };
    test.each(cases)("%s", (name) => work[name]());
  });
});
