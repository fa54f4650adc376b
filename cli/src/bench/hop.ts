import { health } from "@weft/contracts";
import { clientInterceptors, createClient, createMemoryTransport, ServiceRouter, serverInterceptors } from "@weft/rpc";
import { createTelemetry } from "@weft/telemetry";
import { program, runChild, startChild } from "./child.ts";
import { atLeast, type BenchResult, below, commitOf, machineName, median, round } from "./result.ts";

interface HopRun {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly cpuUs: number;
}

const rounds = 3;
const inFlight = 64;
const expectedRate = 10_000;

/** An empty call through all interceptors, over grpc-js beside a bare grpc-js echo in the same run, and in memory. */
export async function benchHop(seconds: number): Promise<BenchResult> {
  const runs: Record<"bare" | "weft", HopRun[]> = { bare: [], weft: [] };
  const servers = {
    bare: await startChild(program("hop-programs"), ["server", "bare"]),
    weft: await startChild(program("hop-programs"), ["server", "weft"]),
  };
  const calls = String(Math.max(5_000, Math.round((seconds * expectedRate) / rounds)));
  try {
    for (let round = 0; round < rounds; round++)
      for (const kind of ["bare", "weft"] as const) {
        const args = ["client", kind, servers[kind].firstLine, calls, String(inFlight)];
        runs[kind].push(JSON.parse(await runChild(program("hop-programs"), args)));
      }
  } finally {
    await Promise.all([servers.bare.stop(), servers.weft.stop()]);
  }
  const memoryUs = await memoryHopUs();
  const of = (kind: "bare" | "weft", figure: keyof HopRun) => median(runs[kind].map((run) => run[figure]));
  // Pair by pair, as the machine's speed drifts.
  const ratio = median(runs.weft.map((run, index) => run.rate / (runs.bare[index]?.rate ?? Number.NaN)));
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
    cpuCores: round((of("weft", "cpuUs") * rate) / 1e6),
    rows: (["bare", "weft"] as const).map((kind) => ({
      transport: kind === "bare" ? "grpc-js, bare" : "grpc-js, weft",
      "calls/s": Math.round(of(kind, "rate")),
      "p50 ms": round(of(kind, "p50")),
      "p99 ms": round(of(kind, "p99")),
      "client cpu us/call": round(of(kind, "cpuUs")),
    })),
    bars: [atLeast("rate over bare grpc-js", ratio, 0.8), below("in memory, us a call", memoryUs, 10)],
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
