import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DescService } from "@bufbuild/protobuf";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { ConfigError, defineConfig } from "@weft/config";
import { gateway, monitoring } from "@weft/contracts";
import { Code, type WeftError } from "@weft/errors";
import type { CallContext, Handlers } from "@weft/rpc";
import { defineService, type RunningServices, startServices } from "./index.ts";

/** Handlers that answer nothing, besides those given. */
function handlersOf<S extends DescService>(service: S, given: object): Handlers<S> {
  const empty = service.methods.map(({ localName }) => [localName, () => ({})]);
  return { ...Object.fromEntries(empty), ...given } as Handlers<S>;
}

const counting = defineService({
  name: "monitoring",
  config: defineConfig("monitoring", {}),
  compose({ rpc }) {
    const { MonitoringService } = monitoring;
    rpc.serve(MonitoringService, handlersOf(MonitoringService, { logPredictions: () => ({ acceptedCount: 7 }) }));
  },
});

const asking = defineService({
  name: "gateway",
  config: defineConfig("gateway", {}),
  edge: [gateway.GatewayService],
  compose({ rpc }) {
    const peer = rpc.dial(monitoring.MonitoringService);
    const score = async (_request: unknown, context: CallContext) => ({
      score: (await peer.logPredictions({}, { parent: context })).acceptedCount,
    });
    rpc.serve(gateway.GatewayService, handlersOf(gateway.GatewayService, { score }));
  },
});

let folder = "";
/** Makes a certificate for this machine under a name, signed by itself. */
function makeCertificate(name: string): { readonly cert: string; readonly key: string } {
  const [cert, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)];
  const alternatives = "subjectAltName=DNS:localhost,IP:127.0.0.1";
  execFileSync(
    "openssl",
    [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
      ...["-subj", "/CN=localhost", "-addext", alternatives, "-keyout", key, "-out", cert],
    ],
    { stdio: "pipe" },
  );
  return { cert, key };
}

let first: ReturnType<typeof makeCertificate>;
let second: ReturnType<typeof makeCertificate>;
let foreign: ReturnType<typeof makeCertificate>;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "weft-transport-"));
  [first, second, foreign] = [makeCertificate("first"), makeCertificate("second"), makeCertificate("foreign")];
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const running: RunningServices[] = [];
const lines: string[] = [];
beforeEach(() => {
  lines.length = 0;
});
afterEach(async () => {
  for (const services of running.splice(0)) await services.stop();
});

async function start(definition: typeof counting, ...settings: readonly string[]): Promise<RunningServices> {
  const { name } = definition;
  const own = [
    `--${name}.port=0`,
    `--${name}.metrics-port=0`,
    ...(name === "gateway" ? ["--gateway.edge-port=0"] : []),
  ];
  const services = await startServices([definition], {
    arguments: [...own, `--process.data-directory=${folder}`, "--process.log-level=info", ...settings],
    environment: {},
    logWrite: (line) => lines.push(line),
  });
  running.push(services);
  return services;
}

function faultsOf(settings: readonly string[], definition = asking): Promise<readonly string[]> {
  return start(definition, ...settings).then(
    () => [],
    (error: unknown) => {
      expect(error).toBeInstanceOf(ConfigError);
      return (error as ConfigError).faults.map(({ origin, fault }) => `${origin}: ${fault}`);
    },
  );
}

const metricsOf = async (services: RunningServices, name: "gateway" | "monitoring") =>
  (await fetch(`http://127.0.0.1:${services.addresses.get(name)?.metricsPort}/metrics`)).text();

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("it did not come to be");
}

describe.each(["weft", "grpc-js"])("mutual TLS by settings, over %s", (transport) => {
  test("calls go through, certificates are replaced while they do, and others are refused", async () => {
    const live = { cert: join(folder, `${transport}.crt`), key: join(folder, `${transport}.key`) };
    const trusted = join(folder, `${transport}-trusted.pem`);
    const use = (from: typeof first) => {
      copyFileSync(from.key, live.key);
      copyFileSync(from.cert, live.cert);
    };
    use(first);
    writeFileSync(trusted, Buffer.concat([readFileSync(first.cert), readFileSync(second.cert)]));
    const secure = [
      `--process.transport=${transport}`,
      `--tls.cert-file=${live.cert}`,
      `--tls.key-file=${live.key}`,
      `--tls.ca-file=${trusted}`,
      "--tls.require-client-certificates",
      "--tls.reload-ms=100",
    ];
    const server = await start(counting, ...secure);
    const target = `--peers.monitoring=127.0.0.1:${server.addresses.get("monitoring")?.port}`;
    const caller = await start(asking, ...secure, target);
    const score = () => caller.dial(gateway.GatewayService).score({}, { timeoutMs: 5_000 });
    expect((await score()).score).toBe(7);

    let isRunning = true;
    const failures: unknown[] = [];
    const load = (async () => {
      while (isRunning) {
        await score().catch((error) => failures.push(error));
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    })();
    use(second);
    const taken = /tls_reloads_total\{result="taken"\} [1-9]/;
    await until(async () => taken.test(await metricsOf(server, "monitoring")));
    await until(async () => taken.test(await metricsOf(caller, "gateway")));
    // A new process handshakes with the new certificate.
    const late = await start(asking, ...secure, target);
    expect((await late.dial(gateway.GatewayService).score({}, { timeoutMs: 5_000 })).score).toBe(7);
    writeFileSync(live.cert, "broken");
    const refused = /tls_reloads_total\{result="refused"\} [1-9]/;
    await until(async () => refused.test(await metricsOf(server, "monitoring")));
    expect(lines.some((line) => line.includes("no certificate in PEM"))).toBe(true);
    expect((await score()).score).toBe(7);
    isRunning = false;
    await load;
    expect(failures).toEqual([]);

    const stranger = await start(
      asking,
      ...secure.slice(0, 1),
      `--tls.cert-file=${foreign.cert}`,
      `--tls.key-file=${foreign.key}`,
      `--tls.ca-file=${trusted}`,
      target,
    );
    const cleartext = await start(asking, ...secure.slice(0, 1), target);
    for (const other of [stranger, cleartext]) {
      const error: WeftError = await other
        .dial(gateway.GatewayService)
        .score({}, { timeoutMs: 5_000 })
        .then(
          () => undefined as never,
          (thrown) => thrown,
        );
      expect(error.code).toBe(Code.Unavailable);
    }
    if (transport === "weft") {
      expect(await metricsOf(server, "monitoring")).toMatch(/rpc_server_handshake_failures_total [1-9]/);
      expect(lines.some((line) => line.includes("a client's TLS handshake failed"))).toBe(true);
    }
    expect(await metricsOf(caller, "gateway")).toMatch(/tls_certificate_expiry_timestamp_seconds 1[0-9]{9}/);
  });
});

test("the HTTP edge goes by the same certificates; metrics and probes stay in the clear", async () => {
  const settings = [`--tls.cert-file=${first.cert}`, `--tls.key-file=${first.key}`, `--tls.ca-file=${first.cert}`];
  const server = await start(counting, ...settings, "--tls.require-client-certificates");
  const target = `--peers.monitoring=127.0.0.1:${server.addresses.get("monitoring")?.port}`;
  const caller = await start(asking, ...settings, "--tls.require-client-certificates", target);
  const ask = (own: object) =>
    new Promise<string>((resolve) => {
      const call = request(
        {
          host: "127.0.0.1",
          port: caller.addresses.get("gateway")?.edgePort,
          path: "/weft.gateway.v1.GatewayService/Score",
          method: "POST",
          headers: { "content-type": "application/json" },
          ca: readFileSync(first.cert),
          agent: false,
          ...own,
        },
        (response) => {
          let body = "";
          response.setEncoding("utf8").on("data", (part: string) => {
            body += part;
          });
          response.on("end", () => resolve(body));
        },
      );
      call.on("error", () => resolve("refused"));
      call.end("{}");
    });
  expect(await ask({ cert: readFileSync(first.cert), key: readFileSync(first.key) })).toBe('{"score":7}');
  expect(await ask({})).toBe("refused");
  const { metricsPort } = caller.addresses.get("gateway") ?? {};
  expect((await fetch(`http://127.0.0.1:${metricsPort}/readyz`)).status).toBe(200);
});

describe("settings that cannot be are refused at start, by name", () => {
  test.each<[string, () => readonly string[], readonly string[]]>([
    [
      "a target that is none",
      () => ["--peers.monitoring=a:b"],
      ['flag --peers.monitoring: "a:b" is not a target: host:port is wanted'],
    ],
    [
      "two at once",
      () => ["--peers.ranking=:5", "--peers.monitoring=a:1?policy=best"],
      [
        'flag --peers.ranking: ":5" is not a target: host:port is wanted',
        'flag --peers.monitoring: "a:1?policy=best" is not a target: policy "best" is unknown; there are round_robin, least_request, weighted, consistent_hash',
      ],
    ],
    [
      "what grpc-js cannot do",
      () => ["--process.transport=grpc-js", "--peers.monitoring=a:1?policy=least_request"],
      ['--peers.monitoring: "a:1?policy=least_request": policy=least_request is not for the grpc-js transport'],
    ],
    [
      "a certificate that is not there",
      () => ["--tls.cert-file=/none.crt", `--tls.key-file=${first.key}`],
      ["--tls.cert-file: /none.crt: no such file"],
    ],
    [
      "a certificate without its key",
      () => [`--tls.cert-file=${first.cert}`],
      ["--tls.key-file: a certificate needs the file of its key"],
    ],
    [
      "another's key",
      () => [`--tls.cert-file=${first.cert}`, `--tls.key-file=${second.key}`],
      ["--tls.key-file: second.key: not the key of the certificate"],
    ],
    [
      "authorities that are none",
      () => [`--tls.ca-file=${first.key}`],
      ["--tls.ca-file: first.key: no certificate in PEM"],
    ],
    [
      "clients' certificates without authorities",
      () => [`--tls.cert-file=${first.cert}`, `--tls.key-file=${first.key}`, "--tls.require-client-certificates"],
      ["--tls.require-client-certificates: needs the authorities of clients (tls.caFile)"],
    ],
    [
      "a limit out of bounds",
      () => ["--http2.frame-bytes-max=5"],
      ["flag --http2.frame-bytes-max: must be 16384 to 16777215"],
    ],
    ["a setting that is none", () => ["--http2.colour=5"], ["flag --http2.colour: no such setting"]],
  ])("%s", async (_name, settings, faults) => {
    expect((await faultsOf(settings())).map((fault) => fault.replace(`${folder}/`, ""))).toEqual(faults);
  });
});

test("limits, connections and the policy of a target are the settings'", async () => {
  const servers = [await start(counting), await start(counting)];
  const addresses = servers.map((server) => `127.0.0.1:${server.addresses.get("monitoring")?.port}`);
  const caller = await start(
    asking,
    `--peers.monitoring=ipv4:${addresses[0]}*3,${addresses[1]}?policy=weighted&connections=2`,
    "--http2.keepalive-ms=1000",
    "--client.eject-failures=0",
    "--client.wait-for-ready",
  );
  const client = caller.dial(gateway.GatewayService);
  const connected = /rpc_client_connections\{peer="monitoring"\} 4/;
  for (let tries = 0; tries < 100 && !connected.test(await metricsOf(caller, "gateway")); tries++)
    await client.score({});
  expect(await metricsOf(caller, "gateway")).toMatch(connected);
  const served = async () =>
    Promise.all(
      servers.map(async (server) => {
        const text = await metricsOf(server, "monitoring");
        return Number(/rpc_server_call_seconds_count\{method="weft.monitoring[^}]*\} (\d+)/.exec(text)?.[1] ?? 0);
      }),
    );
  const before = await served();
  for (let call = 0; call < 40; call++) await client.score({});
  const after = await served();
  expect(after.map((count, index) => count - (before[index] ?? 0))).toEqual([30, 10]);
  const theirs = await metricsOf(servers[0] as RunningServices, "monitoring");
  expect(theirs).toMatch(/rpc_server_connections_open 2/);
  expect(theirs).toMatch(/rpc_server_streams_open 0/);
  const [count = 0] = after;
  expect(theirs).toMatch(`rpc_server_messages_total{direction="received"} ${count}`);
  expect(theirs).toMatch(`rpc_server_messages_total{direction="sent"} ${count}`);
  const ours = await metricsOf(caller, "gateway");
  expect(ours).toMatch(/rpc_client_connections_open\{peer="monitoring"\} 4/);
  expect(ours).toMatch(/rpc_client_handshake_seconds_count\{peer="monitoring"\} 4/);
  await until(async () =>
    /rpc_client_bytes_total\{peer="monitoring",direction="sent"\} [1-9]/.test(await metricsOf(caller, "gateway")),
  );
});
