import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { DescService } from "@bufbuild/protobuf";
import { health, ownerOf, type ServiceName, serviceNames, stopOrder } from "@weft/contracts";
import { freePort } from "@weft/local-servers";
import { type Client, clientInterceptors, createClient } from "@weft/rpc";
import { edgePort, firstPort, metricsPortOffset, type ServiceAddress, startServices } from "@weft/service";
import { createTelemetry } from "@weft/telemetry";
import { CommandFailure } from "./failure.ts";
import { type Peers, peersOf, settingsFor } from "./peers.ts";
import { whileUnavailable } from "./retry.ts";
import { allServices } from "./services.ts";

/** Services that answer, wherever they run. */
export interface Topology {
  readonly addresses: ReadonlyMap<ServiceName, ServiceAddress>;
  dial<S extends DescService>(service: S): Client<S>;
  /** Resolves when every service can answer; rejects when that takes longer than `timeoutMs`. */
  ready(timeoutMs: number): Promise<void>;
  stop(): Promise<void>;
}

/** Clients of services in other processes. */
export function dialWire(peers: Peers): { dial<S extends DescService>(service: S): Client<S>; close(): void } {
  const telemetry = createTelemetry({ service: "cli", logLevel: "silent", otlpEndpoint: "", traceRatio: 0 });
  const interceptors = clientInterceptors(telemetry);
  return {
    dial: (service) => createClient(service, peers.connect(ownerOf(service.typeName)), interceptors),
    close: () => peers.close(),
  };
}

function timeout(ms: number, unmet: () => string): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new CommandFailure(`not ready after ${ms / 1000} s: ${unmet()}`)), ms).unref();
  });
}

/** Every service in this process. */
export async function startCollocated(
  settings: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Topology> {
  const running = await startServices(allServices, { arguments: settings, environment });
  return {
    addresses: running.addresses,
    dial: running.dial,
    ready: (timeoutMs) => Promise.race([running.ready(), timeout(timeoutMs, () => running.unmet().join(", "))]),
    stop: running.stop,
  };
}

/** Ends a process as an operator does, and by force when that takes too long. */
function endProcess(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    const timer = setTimeout(() => child.kill("SIGKILL"), 15_000);
    child.once("exit", () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill("SIGTERM");
  });
}

/** One process a service, on this machine; their output goes to `<logDirectory>/<service>.log`. */
export async function startMesh(options: {
  readonly settings: readonly string[];
  readonly freePorts: boolean;
  readonly logDirectory: string;
}): Promise<Topology> {
  mkdirSync(options.logDirectory, { recursive: true });
  const addresses = new Map<ServiceName, ServiceAddress>();
  for (const [index, name] of serviceNames.entries()) {
    const edge = allServices.find((service) => service.name === name)?.edge;
    const port = options.freePorts ? await freePort() : firstPort + index;
    addresses.set(name, {
      host: "127.0.0.1",
      port,
      metricsPort: options.freePorts ? await freePort() : port + metricsPortOffset,
      edgePort: edge === undefined ? undefined : options.freePorts ? await freePort() : edgePort,
    });
  }
  const target = (name: ServiceName) => `127.0.0.1:${addresses.get(name)?.port}`;
  const peers = peersOf(options.settings, Object.fromEntries(serviceNames.map((name) => [name, target(name)])));
  const children = new Map<ServiceName, ChildProcess>();
  for (const [name, address] of addresses) {
    const args = [
      join(__dirname, "..", "bin", "weft.js"),
      "serve",
      name,
      ...settingsFor(name, options.settings),
      `--${name}.port=${address.port}`,
      `--${name}.metrics-port=${address.metricsPort}`,
      ...(address.edgePort === undefined ? [] : [`--${name}.edge-port=${address.edgePort}`]),
      ...serviceNames.map((peer) => `--peers.${peer}=${target(peer)}`),
    ];
    const child = spawn(process.execPath, [...process.execArgv, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    const log = createWriteStream(join(options.logDirectory, `${name}.log`), { flags: "a" });
    child.stdout.pipe(log);
    child.stderr.pipe(log);
    children.set(name, child);
  }
  const wire = dialWire(peers);
  const ended = () => [...children].filter(([, child]) => child.exitCode !== null).map(([name]) => name);
  const stop = async () => {
    wire.close();
    for (const name of stopOrder) {
      const child = children.get(name);
      if (child !== undefined) await endProcess(child);
    }
  };
  const probe = (name: ServiceName) =>
    createClient(health.Health, peers.connect(name), []).check({ service: "" }, { timeoutMs: 1_000 });
  // Every process listens before anything is sent to it.
  try {
    for (const name of addresses.keys()) {
      await whileUnavailable(30_000, async () => {
        if (ended().length > 0)
          throw new CommandFailure(`${ended().join(", ")} ended at start; see ${options.logDirectory}`);
        await probe(name);
      });
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    addresses,
    dial: wire.dial,
    async ready(timeoutMs) {
      const endMs = Date.now() + timeoutMs;
      for (const name of addresses.keys()) {
        while ((await probe(name)).status !== health.HealthCheckResponse_ServingStatus.SERVING) {
          if (ended().includes(name)) throw new CommandFailure(`${name} ended; see ${options.logDirectory}`);
          if (Date.now() > endMs)
            throw new CommandFailure(`${name} is not ready after ${timeoutMs / 1000} s; see ${options.logDirectory}`);
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      }
    },
    stop,
  };
}
