import { readFileSync } from "node:fs";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, Server, ServerCredentials } from "@grpc/grpc-js";
import { health } from "@weft/contracts";
import {
  clientInterceptors,
  connectWeft,
  createClient,
  grpcJs,
  listenWeft,
  ServiceRouter,
  serverInterceptors,
  type Transport,
} from "@weft/rpc";
import { createTelemetry } from "@weft/telemetry";

/**
 * Server and client of `bench hop`: `server <kind> <tls>`, `client <kind> <tls> <port> <calls> <in flight>`. Kinds: bare
 * (grpc-js and nothing else), grpc-js and weft (all interceptors, over that transport). `tls` is a folder with `key.pem` and
 * `cert.pem`, or "-" for cleartext. The call is empty.
 */
const [role, kind, tls = "-", port = "0", calls = "0", inFlight = "64"] = process.argv.slice(2);
const path = "/grpc.health.v1.Health/Check";
const { HealthCheckRequestSchema: Request, HealthCheckResponseSchema: Response } = health;
const key = tls === "-" ? undefined : readFileSync(join(tls, "key.pem"));
const cert = tls === "-" ? undefined : readFileSync(join(tls, "cert.pem"));
const connections = 4;
const telemetry = () => createTelemetry({ service: "bench", logLevel: "info", otlpEndpoint: "", traceRatio: 0.01 });

function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

async function serve(): Promise<number> {
  if (kind !== "bare") {
    const router = new ServiceRouter(serverInterceptors(telemetry()));
    router.serve(health.Health, { check: () => ({}), list: () => ({}), async *watch() {} });
    const options = { host: "127.0.0.1", port: 0, messageBytesMax: 4_194_304, concurrentStreamsMax: 1_000 };
    if (kind === "grpc-js") return (await grpcJs.listen(router, options)).port;
    const secured = key === undefined || cert === undefined ? options : { ...options, tls: { key, cert } };
    return (await listenWeft(router, secured)).port;
  }
  const server = new Server({ "grpc.enable_channelz": 0 });
  server.register(
    path,
    (_call: unknown, callback: (error: null, value: health.HealthCheckResponse) => void) =>
      callback(null, create(Response, {})),
    (message: health.HealthCheckResponse) => toBuffer(toBinary(Response, message)),
    (bytes: Buffer) => fromBinary(Request, bytes),
    "unary",
  );
  return new Promise((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", serverCredentials(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
}

function serverCredentials(): ServerCredentials {
  if (key === undefined || cert === undefined) return ServerCredentials.createInsecure();
  return ServerCredentials.createSsl(null, [{ private_key: key, cert_chain: cert }]);
}

function connectOver(target: string): Transport {
  const options = { messageBytesMax: 4_194_304 };
  if (kind === "grpc-js") return grpcJs.connect(target, options);
  return connectWeft(target, cert === undefined ? options : { ...options, tls: { ca: cert, servername: "localhost" } });
}

function callers(): (() => Promise<unknown>)[] {
  const target = `127.0.0.1:${port}`;
  return Array.from({ length: connections }, () => {
    if (kind !== "bare") {
      const client = createClient(health.Health, connectOver(target), clientInterceptors(telemetry()));
      return () => client.check({}, { timeoutMs: 10_000 });
    }
    const secured = cert === undefined ? credentials.createInsecure() : credentials.createSsl(cert);
    const client = new Client(target, secured, {
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_channelz": 0,
      ...(cert === undefined ? {} : { "grpc.ssl_target_name_override": "localhost" }),
    });
    return () =>
      new Promise((resolve, reject) =>
        client.makeUnaryRequest(
          path,
          (message: health.HealthCheckRequest) => toBuffer(toBinary(Request, message)),
          (bytes: Buffer) => fromBinary(Response, bytes),
          create(Request, {}),
          (error, value) => (error === null ? resolve(value) : reject(error)),
        ),
      );
  });
}

async function drive(): Promise<void> {
  const call = callers();
  for (const one of call) for (let warm = 0; warm < 500; warm++) await one();
  const total = Number(calls);
  const latencies = new Float64Array(total);
  let next = 0;
  const cpu = process.cpuUsage();
  const start = performance.now();
  const lane = async (own: () => Promise<unknown>) => {
    while (next < total) {
      const index = next++;
      const sent = performance.now();
      await own();
      latencies[index] = performance.now() - sent;
    }
  };
  await Promise.all(
    Array.from({ length: Number(inFlight) }, (_, index) =>
      lane(call[index % call.length] ?? (() => Promise.reject(new Error("no caller")))),
    ),
  );
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  latencies.sort();
  const at = (share: number) => latencies[Math.min(total - 1, Math.ceil(total * share) - 1)];
  process.stdout.write(
    `${JSON.stringify({ rate: total / seconds, p50: at(0.5), p99: at(0.99), p999: at(0.999), cpuUs: (user + system) / total })}\n`,
  );
}

if (role === "server")
  void serve().then((bound) => {
    process.stdout.write(`${bound}\n`);
    // Each line asks for the CPU used so far, in microseconds.
    process.stdin.on("data", () => {
      const { user, system } = process.cpuUsage();
      process.stdout.write(`${user + system}\n`);
    });
  });
else void drive().then(() => process.exit(0));
