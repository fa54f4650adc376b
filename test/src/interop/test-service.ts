import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { createFileRegistry, type DescService, fromBinary, type Message } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, createErrors, WeftError } from "@weft/errors";
import { type CallContext, type CallScope, type Client, type Handlers, ServiceRouter } from "@weft/rpc";

const root = join(__dirname, "..", "..", "..");

/** The descriptors come from the proto file at run time: generated code would serve nobody else. */
function loadServices(): { readonly test: DescService; readonly unimplemented: DescService } {
  const folder = join(root, "test", "src", "interop");
  const bytes = execFileSync(join(root, "node_modules", ".bin", "buf"), [
    "build",
    folder,
    "--as-file-descriptor-set",
    "-o",
    "-",
  ]);
  const files = createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
  const test = files.getService("grpc.testing.TestService");
  const unimplemented = files.getService("grpc.testing.UnimplementedService");
  if (test === undefined || unimplemented === undefined) throw new Error("the test service is missing");
  return { test, unimplemented };
}

export const services = loadServices();

/** Content of a given size. */
export interface Payload {
  readonly type?: number;
  readonly body: Uint8Array;
}

interface EchoStatus {
  readonly code: number;
  readonly message: string;
}

/** Requests and answers, as the proto has them. */
export interface SimpleRequest {
  readonly responseSize?: number;
  readonly payload?: Payload;
  readonly responseStatus?: EchoStatus;
}
export interface StreamingOutputRequest {
  readonly responseParameters?: readonly { readonly size: number; readonly intervalUs?: number }[];
  readonly payload?: Payload;
  readonly responseStatus?: EchoStatus;
}

interface Options {
  readonly compress?: boolean;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** The client of the test service, typed by hand as its descriptor is not known to the compiler. */
export interface TestClient {
  emptyCall(request: object, options?: Options): Promise<Message>;
  unaryCall(request: SimpleRequest, options?: Options): Promise<Message & { readonly payload?: Payload }>;
  unimplementedCall(request: object, options?: Options): Promise<Message>;
  streamingOutputCall(
    request: StreamingOutputRequest,
    options?: Options,
  ): AsyncIterable<{ readonly payload?: Payload }>;
  streamingInputCall(
    requests: AsyncIterable<{ readonly payload?: Payload }>,
    options?: Options,
  ): Promise<Message & { readonly aggregatedPayloadSize: number }>;
  fullDuplexCall(
    requests: AsyncIterable<StreamingOutputRequest>,
    options?: Options,
  ): AsyncIterable<{ readonly payload?: Payload }>;
}

/** A client by its true type. */
export function asTestClient(client: Client<DescService>): TestClient {
  return client as unknown as TestClient;
}

const errors = createErrors("grpc.testing", {
  UNIMPLEMENTED: { code: Code.Unimplemented, message: () => "not implemented" },
});

const echoInitial = "x-grpc-test-echo-initial";
const echoTrailing = "x-grpc-test-echo-trailing-bin";

function echoMetadata(context: CallContext): void {
  const scope = context as CallScope;
  const initial = context.metadata[echoInitial];
  const trailing = context.metadata[echoTrailing];
  if (initial !== undefined) scope.initialMetadata = { [echoInitial]: initial };
  if (trailing !== undefined) scope.trailingMetadata = { [echoTrailing]: trailing };
}

function raise(status: EchoStatus | undefined): void {
  if (status === undefined || status.code === 0) return;
  throw new WeftError({ code: status.code as Code, reason: "ECHOED", domain: "grpc.testing", message: status.message });
}

async function* outputs(request: StreamingOutputRequest) {
  for (const { size, intervalUs } of request.responseParameters ?? []) {
    if (intervalUs !== undefined && intervalUs > 0)
      await new Promise((resolve) => setTimeout(resolve, intervalUs / 1_000));
    yield { payload: { body: new Uint8Array(size) } };
  }
  raise(request.responseStatus);
}

/** Serves what the interop clients ask for. */
export function createTestRouter(): ServiceRouter {
  const simple = (request: SimpleRequest, context: CallContext) => {
    echoMetadata(context);
    raise(request.responseStatus);
    return { payload: { body: new Uint8Array(request.responseSize ?? 0) } };
  };
  const duplex = async function* (requests: AsyncIterable<StreamingOutputRequest>, context: CallContext) {
    echoMetadata(context);
    for await (const request of requests) {
      raise(request.responseStatus);
      yield* outputs(request);
    }
  };
  const handlers = {
    emptyCall: () => ({}),
    unaryCall: simple,
    cacheableUnaryCall: simple,
    streamingOutputCall: (request: StreamingOutputRequest) => outputs(request),
    async streamingInputCall(requests: AsyncIterable<{ readonly payload?: Payload }>) {
      let aggregatedPayloadSize = 0;
      for await (const { payload } of requests) aggregatedPayloadSize += payload?.body.length ?? 0;
      return { aggregatedPayloadSize };
    },
    fullDuplexCall: duplex,
    halfDuplexCall: duplex,
    unimplementedCall() {
      throw errors.UNIMPLEMENTED({});
    },
  };
  const router = new ServiceRouter([]);
  router.serve(services.test, handlers as unknown as Handlers<DescService>);
  return router;
}
