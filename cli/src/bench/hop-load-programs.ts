import { connect, createServer, type Socket } from "node:net";
import type { DescService } from "@bufbuild/protobuf";
import { gateway, inference, registry } from "@weft/contracts";
import { clientInterceptors, createClient, type Handlers, ServiceRouter, serverInterceptors, weft } from "@weft/rpc";
import { createTelemetry } from "@weft/telemetry";

/**
 * Servers and clients of `bench hop` for many and for large messages: `server weft|net`, `client <load> <port> <count>`.
 * Loads: down, up and both are streams of `count` messages of 100 bytes through all interceptors; large is `count` calls that
 * echo 4 MiB of tensor, net the same bytes over `node:net` with nothing around them, four at once on one connection.
 */
const [role, kind, port = "0", count = "0"] = process.argv.slice(2);
const messageBytesMax = 8 * 2 ** 20;
const largeBytes = 4 * 2 ** 20;
const largeInFlight = 4;
/** With its tag and length a message of 100 bytes. */
const smallBytes = 98;
const timeoutMs = 120_000;
const telemetry = () => createTelemetry({ service: "bench", logLevel: "info", otlpEndpoint: "", traceRatio: 0.01 });

/** Handlers of the methods that the bench calls; it calls no others. */
function only<S extends DescService>(service: S, handlers: Partial<Handlers<S>>): Handlers<S> {
  const unused = Object.fromEntries(service.methods.map(({ localName }) => [localName, () => ({})]));
  return { ...unused, ...handlers } as Handlers<S>;
}

async function serveWeft(): Promise<number> {
  const chunk = new Uint8Array(smallBytes).fill(7);
  const router = new ServiceRouter(serverInterceptors(telemetry()));
  router.serve(
    registry.RegistryService,
    only(registry.RegistryService, {
      async *getArtifact({ digest }) {
        for (let left = Number(digest); left > 0; left--) yield { chunk };
      },
      async putArtifact(requests) {
        let sizeBytes = 0;
        for await (const request of requests) sizeBytes += request.chunk.length;
        return { sizeBytes: BigInt(sizeBytes) };
      },
    }),
  );
  router.serve(
    gateway.GatewayService,
    only(gateway.GatewayService, {
      async *scoreStream(requests) {
        for await (const { id } of requests) yield { id };
      },
    }),
  );
  router.serve(
    inference.GRPCInferenceService,
    only(inference.GRPCInferenceService, {
      modelInfer: ({ rawInputContents }) => ({ rawOutputContents: rawInputContents }),
    }),
  );
  const options = { host: "127.0.0.1", port: 0, messageBytesMax, concurrentStreamsMax: 1_000 };
  return (await weft.listen(router, options)).port;
}

/** Calls `whole` for each `largeBytes` that come. */
function gather(socket: Socket, whole: (message: Buffer) => void): void {
  let message = Buffer.allocUnsafeSlow(largeBytes);
  let fill = 0;
  socket.on("data", (chunk: Buffer) => {
    for (let at = 0; at < chunk.length; ) {
      const taken = chunk.copy(message, fill, at);
      at += taken;
      fill += taken;
      if (fill < largeBytes) continue;
      whole(message);
      message = Buffer.allocUnsafeSlow(largeBytes);
      fill = 0;
    }
  });
  socket.on("error", () => {});
}

function serveNet(): Promise<number> {
  const server = createServer({ noDelay: true }, (socket) => gather(socket, (message) => void socket.write(message)));
  return new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : 0);
    }),
  );
}

type Load = (count: number) => Promise<void>;

function weftLoad(): Load {
  const transport = weft.connect(`127.0.0.1:${port}`, { messageBytesMax });
  const interceptors = clientInterceptors(telemetry());
  const artifacts = createClient(registry.RegistryService, transport, interceptors);
  const scores = createClient(gateway.GatewayService, transport, interceptors);
  const models = createClient(inference.GRPCInferenceService, transport, interceptors);
  const chunk = new Uint8Array(smallBytes).fill(7);
  const id = "i".repeat(smallBytes);
  const check = (seen: number, expected: number) => {
    if (seen !== expected) throw new Error(`${seen} instead of ${expected}`);
  };
  const loads: Record<string, Load> = {
    async down(messages) {
      let seen = 0;
      for await (const part of artifacts.getArtifact({ digest: String(messages) }, { timeoutMs }))
        seen += part.chunk.length;
      check(seen, messages * smallBytes);
    },
    async up(messages) {
      const source = async function* () {
        for (let left = messages; left > 0; left--) yield { chunk };
      };
      const { sizeBytes } = await artifacts.putArtifact(source(), { timeoutMs });
      check(Number(sizeBytes), messages * smallBytes);
    },
    async both(messages) {
      const source = async function* () {
        for (let left = messages; left > 0; left--) yield { id };
      };
      let seen = 0;
      for await (const answer of scores.scoreStream(source(), { timeoutMs })) seen += answer.id.length;
      check(seen, messages * smallBytes);
    },
    async large(calls) {
      const tensor = new Uint8Array(largeBytes).fill(7);
      let left = calls;
      const lane = async () => {
        while (left-- > 0) {
          const { rawOutputContents } = await models.modelInfer({ rawInputContents: [tensor] }, { timeoutMs });
          check(rawOutputContents[0]?.length ?? 0, largeBytes);
        }
      };
      await Promise.all(Array.from({ length: largeInFlight }, lane));
    },
  };
  return loads[kind ?? ""] ?? (() => Promise.reject(new Error(`no load ${kind}`)));
}

function netLoad(): Load {
  const socket = connect({ port: Number(port), host: "127.0.0.1", noDelay: true });
  let answered = () => {};
  gather(socket, () => answered());
  return (calls) =>
    new Promise((resolve) => {
      let sent = 0;
      let seen = 0;
      const send = () => {
        // A client has its message anew each time.
        if (sent++ < calls) socket.write(Buffer.allocUnsafeSlow(largeBytes).fill(7));
      };
      answered = () => {
        send();
        if (++seen === calls) resolve();
      };
      for (let first = 0; first < largeInFlight; first++) send();
    });
}

async function drive(): Promise<void> {
  const load = kind === "net" ? netLoad() : weftLoad();
  const total = Number(count);
  await load(Math.max(8, Math.round(total / 5)));
  const cpu = process.cpuUsage();
  const start = performance.now();
  await load(total);
  const seconds = (performance.now() - start) / 1_000;
  const { user, system } = process.cpuUsage(cpu);
  process.stdout.write(`${JSON.stringify({ rate: total / seconds, cpuUs: (user + system) / total })}\n`);
}

if (role === "server")
  void (kind === "net" ? serveNet() : serveWeft()).then((bound) => {
    process.stdout.write(`${bound}\n`);
    // Each line asks for the CPU used so far, in microseconds.
    process.stdin.on("data", () => {
      const { user, system } = process.cpuUsage();
      process.stdout.write(`${user + system}\n`);
    });
  });
else void drive().then(() => process.exit(0));
