import { expect } from "@jest/globals";
import { Code, type WeftError } from "@weft/errors";
import { type CallScope, createClient, type Transport } from "@weft/rpc";
import { asTestClient, services } from "./test-service.ts";

/** The standard cases of gRPC's interop suite. */
export const interopCases = [
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

/** The error of a call that must fail. */
export async function failure(work: Promise<unknown>): Promise<WeftError> {
  try {
    await work;
  } catch (error) {
    return error as WeftError;
  }
  throw new Error("the call did not fail");
}

/** Sizes of the messages of a stream. */
export async function sizesOf(
  answers: AsyncIterable<{ readonly payload?: { readonly body: Uint8Array } }>,
): Promise<number[]> {
  const sizes: number[] = [];
  for await (const { payload } of answers) sizes.push(payload?.body.length ?? 0);
  return sizes;
}

/** Our client's part of each case, over a transport to a server of the suite. */
export function clientCases(transport: Transport): Record<(typeof interopCases)[number], () => Promise<void>> {
  /** The context of the call made last. */
  let context: CallScope | undefined;
  const watch = [
    (next: (call: { context: CallScope }) => unknown) => (call: { context: CallScope }) => {
      context = call.context;
      return next(call);
    },
  ] as never;
  const client = asTestClient(createClient(services.test, transport, watch));
  const unimplemented = asTestClient(createClient(services.unimplemented, transport, watch));
  return {
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
}
