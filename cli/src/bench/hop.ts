import { health } from "@weft/contracts";
import { clientInterceptors, createClient, createMemoryTransport, ServiceRouter, serverInterceptors } from "@weft/rpc";
import { createTelemetry } from "@weft/telemetry";
import { type BenchChild, program, runChild, startChild } from "./child.ts";
import { atLeast, atMost, type BenchResult, below, commitOf, machineName, median, round } from "./result.ts";

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

/** What is measured: grpc-js with nothing around it, and all interceptors over each transport. */
const kinds = ["bare", "grpc-js", "weft"] as const;
type Kind = (typeof kinds)[number];

const names: Readonly<Record<Kind, string>> = {
  bare: "grpc-js, bare",
  "grpc-js": "all interceptors over grpc-js",
  weft: "all interceptors over weft",
};

/** An empty call through all interceptors over each transport, beside a bare grpc-js echo in the same run, and in memory. */
export async function benchHop(seconds: number): Promise<BenchResult> {
  const runs: Record<Kind, HopRun[]> = { bare: [], "grpc-js": [], weft: [] };
  const calls = String(Math.max(5_000, Math.round((seconds * expectedRate) / rounds)));
  const servers = new Map<Kind, BenchChild>();
  try {
    for (const kind of kinds) servers.set(kind, await startChild(program("hop-programs"), ["server", kind]));
    for (let round = 0; round < rounds; round++)
      for (const [kind, server] of servers) {
        const before = Number(await server.ask());
        const args = ["client", kind, server.firstLine, calls, String(inFlight)];
        const client = JSON.parse(await runChild(program("hop-programs"), args));
        // The warm-up calls are counted with the others: the figure is a little too high for every kind.
        runs[kind].push({ ...client, serverCpuUs: (Number(await server.ask()) - before) / Number(calls) });
      }
  } finally {
    await Promise.all([...servers.values()].map((server) => server.stop()));
  }
  const memoryUs = await memoryHopUs();
  const of = (kind: Kind, figure: keyof HopRun) => median(runs[kind].map((run) => run[figure]));
  // Pair by pair, as the machine's speed drifts.
  const over = (kind: Kind, figure: (run: HopRun) => number) =>
    median(runs[kind].map((run, index) => figure(run) / figure(runs.bare[index] ?? run)));
  const rate = of("weft", "rate");
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
    rows: kinds.map((kind) => ({
      transport: names[kind],
      "calls/s": Math.round(of(kind, "rate")),
      "p50 ms": round(of(kind, "p50")),
      "p99 ms": round(of(kind, "p99")),
      "client us/call": round(of(kind, "cpuUs")),
      "server us/call": round(of(kind, "serverCpuUs")),
    })),
    bars: [
      atLeast(
        "over grpc-js, rate over bare grpc-js",
        over("grpc-js", (run) => run.rate),
        0.8,
      ),
      atLeast(
        "over weft, rate over bare grpc-js",
        over("weft", (run) => run.rate),
        5,
      ),
      atMost(
        "over weft, CPU at both ends over bare grpc-js",
        over("weft", (run) => run.cpuUs + run.serverCpuUs),
        0.2,
      ),
      below("in memory, us a call", memoryUs, 10),
    ],
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
