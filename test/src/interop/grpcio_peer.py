"""gRPC's interop cases with grpcio, as a client or as a server: python grpcio_peer.py ROLE DESCRIPTORS ..."""

import signal
import sys
import time
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SPECIAL_MESSAGE = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"
REQUEST_SIZES = (27182, 8, 1828, 45904)
RESPONSE_SIZES = (31415, 9, 2653, 58979)
INITIAL_KEY = "x-grpc-test-echo-initial"
TRAILING_KEY = "x-grpc-test-echo-trailing-bin"
SERVICE = "grpc.testing.TestService"


def load_messages(path):
    """Message classes by their short names, from a file descriptor set."""
    with open(path, "rb") as file:
        files = descriptor_pb2.FileDescriptorSet.FromString(file.read())
    pool = descriptor_pool.DescriptorPool()
    messages = {}
    for file in files.file:
        pool.Add(file)
        for message in file.message_type:
            descriptor = pool.FindMessageTypeByName(f"{file.package}.{message.name}")
            messages[message.name] = message_factory.GetMessageClass(descriptor)
    return messages


class Client:
    """The cases, each a method."""

    def __init__(self, channel, messages):
        self.channel = channel
        self.messages = messages

    def method(self, kind, name, response, service=SERVICE):
        return getattr(self.channel, kind)(
            f"/{service}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=self.messages[response].FromString,
        )

    def unary(self):
        return self.method("unary_unary", "UnaryCall", "SimpleResponse")

    def duplex(self):
        return self.method("stream_stream", "FullDuplexCall", "StreamingOutputCallResponse")

    def payload(self, size):
        return self.messages["Payload"](body=bytes(size))

    def output_request(self, size, payload_size=0):
        parameters = [self.messages["ResponseParameters"](size=size)]
        return self.messages["StreamingOutputCallRequest"](
            response_parameters=parameters, payload=self.payload(payload_size)
        )

    def input_requests(self):
        for size in REQUEST_SIZES:
            yield self.messages["StreamingInputCallRequest"](payload=self.payload(size))

    def empty_unary(self):
        self.method("unary_unary", "EmptyCall", "Empty")(self.messages["Empty"]())

    def large_unary(self, compression=None):
        request = self.messages["SimpleRequest"](response_size=314159, payload=self.payload(271828))
        assert len(self.unary()(request, compression=compression).payload.body) == 314159

    def gzip_unary(self):
        self.large_unary(grpc.Compression.Gzip)

    def client_streaming(self, compression=None):
        call = self.method("stream_unary", "StreamingInputCall", "StreamingInputCallResponse")
        assert call(self.input_requests(), compression=compression).aggregated_payload_size == 74922

    def gzip_streaming(self):
        self.client_streaming(grpc.Compression.Gzip)

    def server_streaming(self):
        call = self.method("unary_stream", "StreamingOutputCall", "StreamingOutputCallResponse")
        parameters = [self.messages["ResponseParameters"](size=size) for size in RESPONSE_SIZES]
        request = self.messages["StreamingOutputCallRequest"](response_parameters=parameters)
        assert [len(answer.payload.body) for answer in call(request)] == list(RESPONSE_SIZES)

    def ping_pong(self):
        answered = futures.Future()

        def requests():
            nonlocal answered
            for size, payload_size in zip(RESPONSE_SIZES, REQUEST_SIZES):
                yield self.output_request(size, payload_size)
                answered.result(10)
                answered = futures.Future()

        sizes = []
        for answer in self.duplex()(requests()):
            sizes.append(len(answer.payload.body))
            answered.set_result(None)
            time.sleep(0.01)
        assert sizes == list(RESPONSE_SIZES)

    def empty_stream(self):
        assert list(self.duplex()(iter(()))) == []

    def timeout_on_sleeping_server(self):
        def requests():
            yield self.output_request(1, 27182)
            time.sleep(0.5)

        expect_code(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: list(self.duplex()(requests(), timeout=0.001)))

    def cancel_after_begin(self):
        def requests():
            time.sleep(0.2)
            yield from self.input_requests()

        call = self.method("stream_unary", "StreamingInputCall", "StreamingInputCallResponse")
        work = call.future(requests())
        work.cancel()
        assert work.cancelled() and work.code() == grpc.StatusCode.CANCELLED

    def cancel_after_first_response(self):
        def requests():
            yield self.output_request(31415, 27182)
            time.sleep(0.5)

        call = self.duplex()(requests())
        next(call)
        call.cancel()
        expect_code(grpc.StatusCode.CANCELLED, lambda: next(call))

    def status_code_and_message(self):
        self.echoed_status("test status message")

    def special_status_message(self):
        self.echoed_status(SPECIAL_MESSAGE)

    def echoed_status(self, text):
        status = self.messages["EchoStatus"](code=2, message=text)
        request = self.messages["SimpleRequest"](response_status=status)
        error = expect_code(grpc.StatusCode.UNKNOWN, lambda: self.unary()(request))
        assert error.details() == text, error.details()
        stream_request = self.messages["StreamingOutputCallRequest"](response_status=status)
        error = expect_code(grpc.StatusCode.UNKNOWN, lambda: list(self.duplex()(iter([stream_request]))))
        assert error.details() == text, error.details()

    def custom_metadata(self):
        metadata = ((INITIAL_KEY, "test_initial_metadata_value"), (TRAILING_KEY, b"\xab\xab\xab"))
        request = self.messages["SimpleRequest"](response_size=314159, payload=self.payload(271828))
        _, call = self.unary().with_call(request, metadata=metadata)
        assert dict(call.initial_metadata())[INITIAL_KEY] == "test_initial_metadata_value"
        assert dict(call.trailing_metadata())[TRAILING_KEY] == b"\xab\xab\xab"

    def unimplemented_method(self):
        call = self.method("unary_unary", "UnimplementedCall", "Empty")
        expect_code(grpc.StatusCode.UNIMPLEMENTED, lambda: call(self.messages["Empty"]()))

    def unimplemented_service(self):
        call = self.method("unary_unary", "UnimplementedCall", "Empty", "grpc.testing.UnimplementedService")
        expect_code(grpc.StatusCode.UNIMPLEMENTED, lambda: call(self.messages["Empty"]()))

    def many_at_once(self):
        request = self.messages["SimpleRequest"](response_size=1000, payload=self.payload(1000))
        work = [self.unary().future(request, timeout=30) for _ in range(2000)]
        assert all(len(each.result().payload.body) == 1000 for each in work)

    def large_metadata(self):
        metadata = ((INITIAL_KEY, "v" * 6000),)
        _, call = self.unary().with_call(self.messages["SimpleRequest"](), metadata=metadata)
        assert dict(call.initial_metadata())[INITIAL_KEY] == "v" * 6000


def expect_code(code, work):
    try:
        work()
    except grpc.RpcError as error:
        assert error.code() == code, (error.code(), error.details())
        return error
    raise AssertionError(f"no {code}")


CASES = [name for name in vars(Client) if name in {
    "empty_unary", "large_unary", "gzip_unary", "client_streaming", "gzip_streaming", "server_streaming", "ping_pong",
    "empty_stream", "timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response",
    "status_code_and_message", "special_status_message", "custom_metadata", "unimplemented_method",
    "unimplemented_service", "many_at_once", "large_metadata",
}]


def run_client(messages, target, ca_file):
    """Runs every case; prints a line for each."""
    if ca_file:
        with open(ca_file, "rb") as file:
            channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(file.read()))
    else:
        channel = grpc.insecure_channel(target)
    client = Client(channel, messages)
    for name in CASES:
        try:
            getattr(client, name)()
            print(name, "ok", flush=True)
        except Exception as error:  # What it was is for the test to show.
            print(name, repr(error).replace("\n", " "), flush=True)


def run_server(messages, key_file, cert_file):
    """Serves the suite's service; prints its port."""

    def echo(context):
        metadata = dict(context.invocation_metadata())
        if INITIAL_KEY in metadata:
            context.send_initial_metadata(((INITIAL_KEY, metadata[INITIAL_KEY]),))
        if TRAILING_KEY in metadata:
            context.set_trailing_metadata(((TRAILING_KEY, metadata[TRAILING_KEY]),))

    def refuse(request, context):
        if request.HasField("response_status") and request.response_status.code != 0:
            codes = {code.value[0]: code for code in grpc.StatusCode}
            context.abort(codes[request.response_status.code], request.response_status.message)

    def unary(request, context):
        echo(context)
        refuse(request, context)
        payload = messages["Payload"](body=bytes(request.response_size))
        return messages["SimpleResponse"](payload=payload)

    def outputs(request):
        for parameters in request.response_parameters:
            time.sleep(parameters.interval_us / 1e6)
            payload = messages["Payload"](body=bytes(parameters.size))
            yield messages["StreamingOutputCallResponse"](payload=payload)

    def streaming_input(requests, context):
        size = sum(len(request.payload.body) for request in requests)
        return messages["StreamingInputCallResponse"](aggregated_payload_size=size)

    def duplex(requests, context):
        echo(context)
        for request in requests:
            refuse(request, context)
            yield from outputs(request)

    def handler(kind, behavior, request):
        return getattr(grpc, f"{kind}_rpc_method_handler")(
            behavior, messages[request].FromString, lambda message: message.SerializeToString()
        )

    handlers = {
        "EmptyCall": handler("unary_unary", lambda request, context: messages["Empty"](), "Empty"),
        "UnaryCall": handler("unary_unary", unary, "SimpleRequest"),
        "StreamingOutputCall": handler(
            "unary_stream", lambda request, context: outputs(request), "StreamingOutputCallRequest"
        ),
        "StreamingInputCall": handler("stream_unary", streaming_input, "StreamingInputCallRequest"),
        "FullDuplexCall": handler("stream_stream", duplex, "StreamingOutputCallRequest"),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if key_file:
        with open(key_file, "rb") as key, open(cert_file, "rb") as cert:
            port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key.read(), cert.read())]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    signal.sigwait([signal.SIGTERM])
    server.stop(0)


def main():
    role, descriptors, *rest = sys.argv[1:]
    messages = load_messages(descriptors)
    if role == "client":
        run_client(messages, rest[0], rest[1] if len(rest) > 1 else None)
    else:
        run_server(messages, *(rest if rest else (None, None)))


main()
