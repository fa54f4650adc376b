import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { health } from "@weft/contracts";
import { Code, type WeftError } from "@weft/errors";
import { frame, uint32 } from "@weft/http2/testing";
import { createClient, type Listener, ServiceRouter, type Transport } from "../index.ts";
import { RawCaller, type RawFields, RawResponder, rawBlock, rawMessage } from "../testing/raw-grpc.ts";
import { connect } from "./client.ts";
import { listen } from "./server.ts";

const messageBytesMax = 10_000;
const protocolError = 1;
const enhanceYourCalm = 11;

const base: Readonly<Record<string, string>> = {
  ":method": "POST",
  ":scheme": "http",
  ":path": "/grpc.health.v1.Health/Check",
  ":authority": "localhost",
  te: "trailers",
  "content-type": "application/grpc",
};
const request = rawMessage(
  toBinary(health.HealthCheckRequestSchema, create(health.HealthCheckRequestSchema, { service: "abcd" })),
);
const served = "00000000020804";

/** The request's fields, some changed, some left out. */
function requestFields(changes: Readonly<Record<string, string | undefined>>, ...more: RawFields): RawFields {
  const fields = Object.entries({ ...base, ...changes });
  return [...fields.flatMap(([name, value]): RawFields => (value === undefined ? [] : [[name, value]])), ...more];
}

/** Fields that are few bytes on the wire and many as RFC 9113 counts them. */
function manyFields(count: number): RawFields {
  return new Array(count).fill(["x", "a"]);
}

describe("a request", () => {
  let listener: Listener;
  let caller: RawCaller;
  beforeAll(async () => {
    const router = new ServiceRouter([]);
    router.serve(health.Health, {
      check: ({ service }) => ({ status: service.length }),
      list: () => ({}),
      async *watch({ service }) {
        yield { status: service.length };
      },
    });
    listener = await listen(router, { host: "127.0.0.1", port: 0, messageBytesMax, concurrentStreamsMax: 100 });
    caller = new RawCaller(listener.port);
  });
  afterAll(async () => {
    caller.close();
    await listener.drain(0);
  });

  /** The connection serves on. */
  async function expectAlive(): Promise<void> {
    const { fields, content } = await caller.ask(requestFields({}), request);
    expect([fields["grpc-status"], content.toString("hex")]).toEqual(["0", served]);
    expect(caller.peer.goAwayCode).toBeUndefined();
  }

  test.each<[string, RawFields]>([
    ["without te, which only tells proxies apart", requestFields({ te: undefined })],
    ["with host in place of :authority", requestFields({ ":authority": undefined }, ["host", "localhost"])],
    ["with https on a connection without TLS, as behind a proxy", requestFields({ ":scheme": "https" })],
    ["with a content-type in capitals", requestFields({ "content-type": "Application/gRPC" })],
    ["with parameters of its content-type", requestFields({ "content-type": "application/grpc;charset=utf-8" })],
    ["with the greatest timeout", requestFields({ "grpc-timeout": "99999999H" })],
    ["with an encoding that it does not use", requestFields({ "grpc-encoding": "gzip" })],
    ["with the encoding identity", requestFields({ "grpc-encoding": "identity" })],
    ["that takes encodings which nobody has", requestFields({ "grpc-accept-encoding": "br,zstd" })],
    ["with keys of gRPC's own that nobody knows", requestFields({ "grpc-previous-rpc-attempts": "1" })],
    ["with a key twice", requestFields({}, ["x-key", "a"], ["x-key", "b"])],
    [
      "with binary metadata, padded or not",
      requestFields({}, ["x-a-bin", "AAA="], ["x-b-bin", "AAA"], ["x-c-bin", "AA==,AAA"]),
    ],
    ["with a traceparent that is none", requestFields({ traceparent: "00-xyz" })],
    ["with an identity that is none", requestFields({ "x-weft-priority": "highest!" })],
  ])("%s is served", async (_name, fields) => {
    const answer = await caller.ask(fields, request);
    expect([answer.fields[":status"], answer.fields["grpc-status"], answer.content.toString("hex")]).toEqual([
      "200",
      "0",
      served,
    ]);
  });

  test("with an empty message, or trailers after it, is served", async () => {
    expect((await caller.ask(requestFields({}), rawMessage(new Uint8Array(0)))).fields["grpc-status"]).toBe("0");
    expect((await caller.ask(requestFields({}), request, [["x-trailer", "a"]])).fields["grpc-status"]).toBe("0");
  });

  test.each<[string, RawFields, number]>([
    ["a path of an unknown service", requestFields({ ":path": "/a.B/Check" }), Code.Unimplemented],
    ["a path of an unknown method", requestFields({ ":path": "/grpc.health.v1.Health/Chek" }), Code.Unimplemented],
    ["a path in other letters", requestFields({ ":path": "/grpc.health.v1.health/check" }), Code.Unimplemented],
    ["a path with too many parts", requestFields({ ":path": "/grpc.health.v1.Health/Check/x" }), Code.Unimplemented],
    ["a path with a query", requestFields({ ":path": "/grpc.health.v1.Health/Check?x=1" }), Code.Unimplemented],
    ["a path with two slashes", requestFields({ ":path": "//grpc.health.v1.Health/Check" }), Code.Unimplemented],
    ["a path with an escape", requestFields({ ":path": "/grpc.health.v1.Health%2FCheck" }), Code.Unimplemented],
    ["a path of one slash", requestFields({ ":path": "/" }), Code.Unimplemented],
    ...["", "1", "S", "1s", "-1S", "+1S", "1.5S", "0x1S", "1 S", "1SS", "123456789S", "1D"].map(
      (timeout): [string, RawFields, number] => [
        `the timeout "${timeout}"`,
        requestFields({ "grpc-timeout": timeout }),
        Code.Internal,
      ],
    ),
    ["a timeout of nothing", requestFields({ "grpc-timeout": "0S" }), Code.DeadlineExceeded],
    ["an encoding that nobody has", requestFields({ "grpc-encoding": "br" }), Code.Unimplemented],
    ["an encoding of HTTP's", requestFields({ "grpc-encoding": "deflate" }), Code.Unimplemented],
    ["an encoding without a name", requestFields({ "grpc-encoding": "" }), Code.Unimplemented],
    ["binary metadata that is not base64", requestFields({}, ["x-bin", "a b"]), Code.Internal],
    ["binary metadata with padding in it", requestFields({}, ["x-bin", "A=AA"]), Code.Internal],
  ])("with %s fails, and its connection lives", async (_name, fields, code) => {
    const { fields: answer, reset } = await caller.ask(fields, request);
    expect([answer[":status"], answer["grpc-status"], reset]).toEqual(["200", String(code), undefined]);
    expect(answer["content-type"]).toBe("application/grpc");
    expect(answer["grpc-accept-encoding"]).toBe("identity,gzip");
    await expectAlive();
  });

  test.each<[string, RawFields, string]>([
    ...["text/plain", "application/json", "application/grpc+json", "application/grpcx", "application/grpc-web", ""].map(
      (type): [string, RawFields, string] => [
        `the content-type "${type}"`,
        requestFields({ "content-type": type }),
        "415",
      ],
    ),
    ["no content-type", requestFields({ "content-type": undefined }), "415"],
    ...["GET", "PUT", "DELETE", "OPTIONS", "post"].map((method): [string, RawFields, string] => [
      `the method ${method}`,
      requestFields({ ":method": method }),
      "405",
    ]),
  ])("with %s is HTTP's to refuse, and its connection lives", async (_name, fields, status) => {
    const { fields: answer } = await caller.ask(fields, request);
    expect([answer[":status"], answer["grpc-status"]]).toEqual([status, undefined]);
    await expectAlive();
  });

  test.each<[string, RawFields, number]>([
    ["te other than trailers", requestFields({ te: "gzip" }), protocolError],
    ["a field of HTTP/1.1", requestFields({ connection: "close" }), protocolError],
    ["a name in capitals", requestFields({}, ["X-Key", "a"]), protocolError],
    ["a value with a line's end", requestFields({}, ["x-key", "a\nb"]), protocolError],
    ["a value with a space before it", requestFields({}, ["x-key", " a"]), protocolError],
    ["a path without a slash", requestFields({ ":path": "grpc.health.v1.Health/Check" }), protocolError],
    ["an empty path", requestFields({ ":path": "" }), protocolError],
    ["no path", requestFields({ ":path": undefined }), protocolError],
    ["no method", requestFields({ ":method": undefined }), protocolError],
    ["no scheme", requestFields({ ":scheme": undefined }), protocolError],
    ["no authority", requestFields({ ":authority": undefined }), protocolError],
    ["a content-length that is not that of its content", requestFields({ "content-length": "7" }), protocolError],
    ["metadata beyond the limit", requestFields({}, ...manyFields(500)), enhanceYourCalm],
  ])("with %s is malformed HTTP/2: its stream is reset, and its connection lives", async (_name, fields, code) => {
    expect((await caller.ask(fields, request)).reset).toBe(code);
    await expectAlive();
  });

  const gzip = { "grpc-encoding": "gzip" };
  test.each<[string, Readonly<Record<string, string>>, Uint8Array | undefined, number]>([
    ["no content", {}, undefined, Code.Unimplemented],
    ["no message", {}, new Uint8Array(0), Code.Unimplemented],
    ["two messages", {}, Buffer.concat([request, request]), Code.Unimplemented],
    ["a message and half of another", {}, Buffer.concat([request, request.subarray(0, 7)]), Code.Internal],
    ["half a prefix", {}, request.subarray(0, 3), Code.Internal],
    ["half a message", {}, request.subarray(0, 8), Code.Internal],
    ["a prefix and no message", {}, request.subarray(0, 5), Code.Internal],
    ["a flag that is none", {}, rawMessage(request.subarray(5), 2), Code.Internal],
    ["all flags", {}, rawMessage(request.subarray(5), 255), Code.Internal],
    ["the flag of compression, and no encoding", {}, rawMessage(gzipSync(request.subarray(5)), 1), Code.Internal],
    [
      "the flag of compression, and identity",
      { "grpc-encoding": "identity" },
      rawMessage(request.subarray(5), 1),
      Code.Internal,
    ],
    ["what is not gzip", gzip, rawMessage(request.subarray(5), 1), Code.Internal],
    ["half of what is gzip", gzip, rawMessage(gzipSync(request.subarray(5)).subarray(0, 12), 1), Code.Internal],
    ["a compressed message of nothing", gzip, rawMessage(new Uint8Array(0), 1), Code.Internal],
    ["a compressed bomb", gzip, rawMessage(gzipSync(Buffer.alloc(5_000_000)), 1), Code.ResourceExhausted],
    ["a byte more than is taken", {}, rawMessage(new Uint8Array(messageBytesMax + 1)), Code.ResourceExhausted],
    ["the promise of 4 GB", {}, Buffer.from("00ffffffff", "hex"), Code.ResourceExhausted],
    ["what is no protobuf", {}, rawMessage(Buffer.from("0a05", "hex")), Code.InvalidArgument],
    ["a field number of zero", {}, rawMessage(Buffer.from("0000", "hex")), Code.InvalidArgument],
    ["text that is not UTF-8", {}, rawMessage(Buffer.from("0a02c328", "hex")), Code.InvalidArgument],
  ])("whose content is %s fails, and its connection lives", async (_name, changes, content, code) => {
    for (const path of ["Check", "Watch"]) {
      const fields = requestFields({ ...changes, ":path": `/grpc.health.v1.Health/${path}` });
      const answer = await caller.ask(fields, content);
      expect([path, answer.fields[":status"], answer.fields["grpc-status"]]).toEqual([path, "200", String(code)]);
    }
    await expectAlive();
  });
});

describe("an answer", () => {
  let responder: RawResponder | undefined;
  let transport: Transport | undefined;
  afterEach(async () => {
    await transport?.close();
    await responder?.close();
  });

  const head: RawFields = [
    [":status", "200"],
    ["content-type", "application/grpc"],
  ];
  const content = rawMessage(Buffer.from("0801", "hex"));
  const ok: RawFields = [["grpc-status", "0"]];
  type Answer = (id: number) => Uint8Array;
  const only =
    (...fields: RawFields): Answer =>
    (id) =>
      frame(1, 5, id, rawBlock(fields));
  const whole =
    (bytes: Uint8Array, trailers = ok, fields = head): Answer =>
    (id) =>
      Buffer.concat([frame(1, 4, id, rawBlock(fields)), frame(0, 0, id, bytes), frame(1, 5, id, rawBlock(trailers))]);
  const reset =
    (code: number): Answer =>
    (id) =>
      frame(3, 0, id, uint32(code));

  /** Makes calls of which the second is answered well; answers what came of the first. */
  async function outcomeOf(answer: Answer): Promise<{ readonly code: number; readonly message: string }> {
    responder = await RawResponder.start((id) => (id === 1 ? answer(id) : whole(content)(id)));
    transport = connect(`127.0.0.1:${responder.port}`, { messageBytesMax });
    const client = createClient(health.Health, transport, []);
    const outcome = await client.check({}, { timeoutMs: 5_000 }).then(
      ({ status }) => ({ code: 0, message: String(status) }),
      ({ code, message }: WeftError) => ({ code, message }),
    );
    expect((await client.check({}, { timeoutMs: 5_000 })).status).toBe(1);
    expect(responder.connections).toBe(1);
    return outcome;
  }

  test.each<[string, Answer]>([
    [
      "with 103 before it",
      (id) => Buffer.concat([frame(1, 4, id, rawBlock([[":status", "103"]])), whole(content)(id)]),
    ],
    [
      "with the format in its content-type",
      whole(content, ok, [
        [":status", "200"],
        ["content-type", "application/grpc+proto"],
      ]),
    ],
    [
      "that is compressed",
      whole(rawMessage(gzipSync(Buffer.from("0801", "hex")), 1), ok, [...head, ["grpc-encoding", "gzip"]]),
    ],
    ["with keys that nobody knows", whole(content, [...ok, ["grpc-x", "1"], ["x-y", "2"]])],
    ["with a message beside its status OK", whole(content, [...ok, ["grpc-message", "fine"]])],
    [
      "after which more comes on its stream",
      (id) =>
        Buffer.concat([
          whole(content)(id),
          frame(0, 1, id, content),
          frame(8, 0, id, uint32(1)),
          frame(3, 0, id, uint32(0)),
        ]),
    ],
    ["refused, and given when it is asked for again", reset(7)],
  ])("%s is taken", async (_name, answer) => {
    expect(await outcomeOf(answer)).toEqual({ code: 0, message: "1" });
  });

  test.each<[string, Answer, number]>([
    ...(
      [
        ["301", Code.Unknown],
        ["400", Code.Internal],
        ["401", Code.Unauthenticated],
        ["403", Code.PermissionDenied],
        ["404", Code.Unimplemented],
        ["415", Code.Unknown],
        ["429", Code.Unavailable],
        ["500", Code.Unknown],
        ["502", Code.Unavailable],
        ["503", Code.Unavailable],
        ["504", Code.Unavailable],
      ] as const
    ).flatMap(([status, code]): [string, Answer, number][] => [
      [`HTTP status ${status}`, only([":status", status]), code],
      [
        `HTTP status ${status} with a page`,
        (id) =>
          Buffer.concat([
            frame(
              1,
              4,
              id,
              rawBlock([
                [":status", status],
                ["content-type", "text/html"],
              ]),
            ),
            frame(0, 1, id, Buffer.from("<p>")),
          ]),
        code,
      ],
    ]),
    [
      "HTTP status 503 and a grpc-status",
      only([":status", "503"], ["content-type", "application/grpc"], ["grpc-status", "5"]),
      Code.NotFound,
    ],
    ["no content-type", whole(content, ok, [[":status", "200"]]), Code.Unknown],
    [
      "a content-type of another format",
      whole(content, ok, [
        [":status", "200"],
        ["content-type", "application/grpc+json"],
      ]),
      Code.Unknown,
    ],
    ["no trailers", (id) => Buffer.concat([frame(1, 4, id, rawBlock(head)), frame(0, 1, id, content)]), Code.Internal],
    [
      "no trailers and no content",
      (id) => Buffer.concat([frame(1, 4, id, rawBlock(head)), frame(0, 1, id)]),
      Code.Internal,
    ],
    ["trailers without grpc-status", whole(content, [["x", "y"]]), Code.Unknown],
    ...["", "x", "-1", "1.0", "99", "1000", "0x0"].map((status): [string, Answer, number] => [
      `the grpc-status "${status}"`,
      whole(content, [["grpc-status", status]]),
      Code.Unknown,
    ]),
    ["status OK and no message", only(...head, ["grpc-status", "0"]), Code.Unimplemented],
    ["status OK after no message", whole(new Uint8Array(0)), Code.Unimplemented],
    ["two messages", whole(Buffer.concat([content, content])), Code.Unimplemented],
    ["half a message", whole(content.subarray(0, 6)), Code.Internal],
    ["half a prefix", whole(content.subarray(0, 2)), Code.Internal],
    ["a flag that is none", whole(rawMessage(content.subarray(5), 4)), Code.Internal],
    ["the flag of compression, and no encoding", whole(rawMessage(gzipSync(content.subarray(5)), 1)), Code.Internal],
    ["an encoding that nobody has", whole(content, ok, [...head, ["grpc-encoding", "br"]]), Code.Internal],
    [
      "what is not gzip",
      whole(rawMessage(content.subarray(5), 1), ok, [...head, ["grpc-encoding", "gzip"]]),
      Code.Internal,
    ],
    [
      "a compressed bomb",
      whole(rawMessage(gzipSync(Buffer.alloc(5_000_000)), 1), ok, [...head, ["grpc-encoding", "gzip"]]),
      Code.ResourceExhausted,
    ],
    ["a message too large", whole(rawMessage(new Uint8Array(messageBytesMax + 1))), Code.ResourceExhausted],
    [
      "the promise of 4 GB",
      (id) => Buffer.concat([frame(1, 4, id, rawBlock(head)), frame(0, 0, id, Buffer.from("00ffffffff", "hex"))]),
      Code.ResourceExhausted,
    ],
    ["content before its headers", (id) => frame(0, 0, id, content), Code.Internal],
    [
      "trailers that do not end it",
      (id) => Buffer.concat([frame(1, 4, id, rawBlock(head)), frame(1, 4, id, rawBlock(ok))]),
      Code.Internal,
    ],
    ["101", only([":status", "101"]), Code.Internal],
    ["no status", only(["content-type", "application/grpc"]), Code.Internal],
    [
      "a value with a space at its end",
      whole(content, [
        ["grpc-status", "5"],
        ["grpc-message", "gone "],
      ]),
      Code.Internal,
    ],
    ["a name in capitals", whole(content, [...ok, ["X-Key", "a"]]), Code.Internal],
    ["a wrong content-length", whole(content, ok, [...head, ["content-length", "3"]]), Code.Internal],
    ["metadata beyond the limit", whole(content, [...ok, ...manyFields(2_000)]), Code.ResourceExhausted],
    ["CANCEL", reset(8), Code.Cancelled],
    ["NO_ERROR", reset(0), Code.Internal],
    ["PROTOCOL_ERROR", reset(1), Code.Internal],
    ["INTERNAL_ERROR", reset(2), Code.Internal],
    ["FLOW_CONTROL_ERROR", reset(3), Code.Internal],
    ["FRAME_SIZE_ERROR", reset(6), Code.Internal],
    ["COMPRESSION_ERROR", reset(9), Code.Internal],
    ["CONNECT_ERROR", reset(10), Code.Internal],
    ["ENHANCE_YOUR_CALM", reset(11), Code.ResourceExhausted],
    ["INADEQUATE_SECURITY", reset(12), Code.PermissionDenied],
    ["a code that nobody knows", reset(4_711), Code.Internal],
  ])("%s fails by gRPC's table, and its connection lives", async (_name, answer, code) => {
    expect((await outcomeOf(answer)).code).toBe(code);
  });

  test.each([
    ["a%20b%E2%98%BA", "a b☺"],
    ["100%", "100%"],
    ["%zz%", "%zz%"],
    ["%ff", "\ufffd"],
  ])("a grpc-message %s reads %s", async (encoded, message) => {
    expect(await outcomeOf(only(...head, ["grpc-status", "5"], ["grpc-message", encoded]))).toEqual({
      code: Code.NotFound,
      message,
    });
  });

  test("details that are not base64, or no protobuf, add nothing", async () => {
    for (const details of ["!", "AAAA", "CAUSA2Fi//"]) {
      const answer = only(
        ...head,
        ["grpc-status", "5"],
        ["grpc-message", "gone"],
        ["grpc-status-details-bin", details],
      );
      expect(await outcomeOf(answer)).toEqual({ code: Code.NotFound, message: "gone" });
      await transport?.close();
      await responder?.close();
    }
  });
});
