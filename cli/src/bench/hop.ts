import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { health } from "@weft/contracts";
import { clientInterceptors, createClient, createMemoryTransport, ServiceRouter, serverInterceptors } from "@weft/rpc";
import { createTelemetry } from "@weft/telemetry";
import { type BenchChild, program, runChild, startChild, startProgram } from "./child.ts";
import { grpcGoPeer, makeCertificate } from "./hop-peers.ts";
import { atLeast, atMost, type Bar, type BenchResult, below, commitOf, machineName, median, round } from "./result.ts";

interface HopRun {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  /** CPU of the client a call. */
  readonly cpuUs: number;
  /** CPU of the server a call. */
  readonly serverCpuUs: number;
}

const rounds = 3;
const inFlight = 64;
const expectedRate = 8_000;

/** Who calls whom: the client's kind and the server's, and whether over TLS. */
interface Hop {
  readonly name: string;
  readonly client: "bare" | "grpc-js" | "weft";
  readonly server: "bare" | "grpc-js" | "weft" | "grpc-go";
  readonly secured: boolean;
  /** Calls for each one of bare grpc-js, so that every hop is measured for about as long. */
  readonly pace: number;
}

const hops = {
  bare: { name: "grpc-js, bare", client: "bare", server: "bare", secured: false, pace: 1 },
  grpcJs: { name: "all interceptors over grpc-js", client: "grpc-js", server: "grpc-js", secured: false, pace: 1 },
  weft: { name: "all interceptors over weft", client: "weft", server: "weft", secured: false, pace: 4 },
  grpcGo: { name: "the same client, server grpc-go, bare", client: "weft", server: "grpc-go", secured: false, pace: 4 },
  bareTls: { name: "TLS: grpc-js, bare", client: "bare", server: "bare", secured: true, pace: 1 },
  weftTls: { name: "TLS: all interceptors over weft", client: "weft", server: "weft", secured: true, pace: 3 },
} as const satisfies Record<string, Hop>;
type HopName = keyof typeof hops;

/** Loads of many and of large messages, through all interceptors over weft; `net` is the limit that `large` is held against. */
const loads = {
  down: { name: "server stream of 100 bytes", perSecond: 100_000, sizeBytes: 100 },
  up: { name: "client stream of 100 bytes", perSecond: 100_000, sizeBytes: 100 },
  both: { name: "stream of 100 bytes both ways", perSecond: 50_000, sizeBytes: 100 },
  large: { name: "echo of 4 MiB", perSecond: 20, sizeBytes: 4 * 2 ** 20 },
  net: { name: "echo of 4 MiB, node:net alone", perSecond: 20, sizeBytes: 4 * 2 ** 20 },
} as const;
type LoadName = keyof typeof loads;
const loadNames: readonly LoadName[] = ["down", "up", "both", "large", "net"];

interface LoadRun {
  /** Messages or echoes a second. */
  readonly rate: number;
  readonly cpuUs: number;
  readonly serverCpuUs: number;
}

/**
 * An empty call through all interceptors over each transport, beside a bare grpc-js echo and, where Go is installed, grpc-go
 * in the same run; over TLS; in memory; then streams of small messages, and large messages beside `node:net` alone.
 */
export async function benchHop(seconds: number): Promise<BenchResult> {
  const folder = mkdtempSync(join(tmpdir(), "weft-hop-"));
  try {
    await makeCertificate(folder);
    const calls = Math.max(5_000, Math.round((seconds * expectedRate) / rounds));
    const runs = await runHops(folder, calls);
    const loadRuns = await runLoads(seconds);
    return toResult(runs, loadRuns, await memoryHopUs());
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runHops(folder: string, calls: number): Promise<Partial<Record<HopName, HopRun[]>>> {
  const runs: Partial<Record<HopName, HopRun[]>> = {};
  const servers = new Map<HopName, BenchChild>();
  const peer = await grpcGoPeer();
  try {
    for (const [key, { server, secured }] of Object.entries(hops) as [HopName, Hop][]) {
      if (server !== "grpc-go")
        servers.set(key, await startChild(program("hop-programs"), ["server", server, secured ? folder : "-"]));
      else if (peer !== undefined) servers.set(key, await startProgram(peer, []));
    }
    for (let round = 0; round < rounds; round++)
      for (const [key, server] of servers) {
        const { client, secured, pace } = hops[key];
        const before = Number(await server.ask());
        const total = calls * pace;
        const args = ["client", client, secured ? folder : "-", server.firstLine, String(total), String(inFlight)];
        const run = JSON.parse(await runChild(program("hop-programs"), args));
        // The warm-up calls are counted with the others: the figure is a little too high for every kind.
        const serverCpuUs = (Number(await server.ask()) - before) / total;
        runs[key] = [...(runs[key] ?? []), { ...run, serverCpuUs }];
      }
  } finally {
    await Promise.all([...servers.values()].map((server) => server.stop()));
  }
  return runs;
}

async function runLoads(seconds: number): Promise<Record<LoadName, LoadRun[]>> {
  const runs: Record<LoadName, LoadRun[]> = { down: [], up: [], both: [], large: [], net: [] };
  const script = program("hop-load-programs");
  for (let round = 0; round < rounds; round++)
    for (const load of loadNames) {
      const server = await startChild(script, ["server", load === "net" ? "net" : "weft"]);
      try {
        const total = loads[load].perSecond * Math.max(3, seconds);
        const before = Number(await server.ask());
        const run = JSON.parse(await runChild(script, ["client", load, server.firstLine, String(total)]));
        runs[load].push({ ...run, serverCpuUs: (Number(await server.ask()) - before) / total });
      } finally {
        await server.stop();
      }
    }
  return runs;
}

function toResult(
  runs: Partial<Record<HopName, HopRun[]>>,
  loadRuns: Record<LoadName, LoadRun[]>,
  memoryUs: number,
): BenchResult {
  const of = (hop: HopName, figure: keyof HopRun) => median((runs[hop] ?? []).map((run) => run[figure]));
  // Pair by pair, as the machine's speed drifts.
  const over = (hop: HopName, base: HopName, figure: (run: HopRun) => number) =>
    median((runs[hop] ?? []).map((run, index) => figure(run) / figure(runs[base]?.[index] ?? run)));
  const loadOf = (load: LoadName, figure: keyof LoadRun) => median(loadRuns[load].map((run) => run[figure]));
  /** Bytes of messages a second, requests and answers both counted, in GB. */
  const echoed = (load: LoadName) => (loadOf(load, "rate") * 2 * loads[load].sizeBytes) / 1e9;
  const rate = of("weft", "rate");
  const hasGo = runs.grpcGo !== undefined;
  const bars: Bar[] = [
    atLeast(
      "over grpc-js, rate over bare grpc-js",
      over("grpcJs", "bare", (run) => run.rate),
      0.8,
    ),
    atLeast(
      "over weft, rate over bare grpc-js",
      over("weft", "bare", (run) => run.rate),
      5,
    ),
    atMost(
      "over weft, CPU at both ends over bare grpc-js",
      over("weft", "bare", (run) => run.cpuUs + run.serverCpuUs),
      0.2,
    ),
    below(
      "over weft, p99 over bare grpc-js",
      over("weft", "bare", (run) => run.p99),
      1,
    ),
    atLeast(
      "over weft with TLS, rate over bare grpc-js with TLS",
      over("weftTls", "bareTls", (run) => run.rate),
      3,
    ),
    below("in memory, us a call", memoryUs, 10),
    atLeast("messages/s, server stream", loadOf("down", "rate"), 500_000),
    atLeast("messages/s, client stream", loadOf("up", "rate"), 500_000),
    atLeast("messages/s, both ways, requests and answers", loadOf("both", "rate") * 2, 500_000),
    atLeast("GB/s of 4 MiB messages, requests and answers", echoed("large"), 1),
  ];
  if (hasGo)
    bars.push(
      below(
        "server CPU a call over grpc-go's, same client",
        over("weft", "grpcGo", (run) => run.serverCpuUs),
        1,
      ),
      below(
        "p99 over grpc-go's, same client",
        over("weft", "grpcGo", (run) => run.p99),
        1,
      ),
    );
  return {
    bench: "hop",
    commit: commitOf(__dirname),
    machine: machineName(),
    offeredPerSecond: round(rate),
    acceptedPerSecond: round(rate),
    shedPerSecond: 0,
    errors: 0,
    latencyMs: { p50: round(of("weft", "p50")), p99: round(of("weft", "p99")), p999: round(of("weft", "p999")) },
    cpuCores: round(((of("weft", "cpuUs") + of("weft", "serverCpuUs")) * rate) / 1e6),
    rows: [
      ...(Object.entries(hops) as [HopName, Hop][])
        .filter(([key]) => runs[key] !== undefined)
        .map(([key, { name }]) => ({
          hop: name,
          "calls/s": Math.round(of(key, "rate")),
          "p50 ms": round(of(key, "p50")),
          "p99 ms": round(of(key, "p99")),
          "client us/call": round(of(key, "cpuUs")),
          "server us/call": round(of(key, "serverCpuUs")),
        })),
      ...loadNames.map((load) => ({
        load: loads[load].name,
        "1/s": Math.round(loadOf(load, "rate")),
        ...(load === "large" || load === "net" ? { "GB/s both ways": round(echoed(load)) } : {}),
        "client us": round(loadOf(load, "cpuUs")),
        "server us": round(loadOf(load, "serverCpuUs")),
      })),
      { load: "4 MiB over weft, of node:net alone", share: round(echoed("large") / echoed("net")) },
      ...(hasGo ? [] : [{ "grpc-go": "not measured: Go is not installed" }]),
    ],
    bars,
  };
}

/** Time of one call after another in memory, in microseconds: the median of several runs. */
async function memoryHopUs(): Promise<number> {
  const telemetry = createTelemetry({ service: "bench", logLevel: "info", otlpEndpoint: "", traceRatio: 0.01 });
  const router = new ServiceRouter(serverInterceptors(telemetry));
  router.serve(health.Health, { check: () => ({}), list: () => ({}), async *watch() {} });
  const client = createClient(
    health.Health,
    createMemoryTransport(() => router),
    clientInterceptors(telemetry),
  );
  const calls = 100_000;
  const figures: number[] = [];
  for (let run = 0; run < 5; run++) {
    const start = performance.now();
    for (let call = 0; call < calls; call++) await client.check({}, { timeoutMs: 10_000 });
    figures.push(((performance.now() - start) * 1000) / calls);
  }
  return median(figures);
}
