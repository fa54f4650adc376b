import { parseConfig } from "@weft/config";
import type { ServiceName } from "@weft/contracts";
import type { Transport } from "@weft/rpc";
import { openTransport, readConfigInput, sharedConfigs } from "@weft/service";
import { createTelemetry } from "@weft/telemetry";
import type { CallerTls } from "./requests.ts";
import { selectSettings } from "./settings-arguments.ts";

/** Services in other processes, and the way to them. */
export interface Peers {
  /** A client of a service's target. */
  connect(service: ServiceName): Transport;
  close(): void;
}

/**
 * The peers that settings name: `--peers.<service>` where they are, `--tls.…` and the like how they are reached, besides
 * the environment, the configuration file and the defaults. `targets` are stronger than all of these.
 */
export function peersOf(settings: readonly string[], targets: Partial<Record<ServiceName, string>> = {}): Peers {
  const [process, peers, tls, client, http2, compression] = sharedSettings(settings);
  const telemetry = createTelemetry({ service: "cli", logLevel: "silent", otlpEndpoint: "", traceRatio: 0 });
  const wire = openTransport({ process, tls, client, http2, compression }, telemetry.metrics, telemetry.logger);
  const transports = new Map<ServiceName, Transport>();
  return {
    connect(service) {
      const transport = transports.get(service) ?? wire.connect(service, targets[service] ?? String(peers[service]));
      transports.set(service, transport);
      return transport;
    },
    close() {
      for (const transport of transports.values()) void transport.close();
      wire.close();
    },
  };
}

/** Settings of one process among those of many: its own service's, and those that every process has. */
export function settingsFor(service: ServiceName, settings: readonly string[]): readonly string[] {
  const shared = sharedConfigs.map(({ name }) => name).filter((name) => name !== "peers");
  return selectSettings(settings, [service, ...shared]);
}

/** What a caller from outside needs where these settings make services speak TLS; undefined where they do not. */
export function callerTls(settings: readonly string[]): CallerTls | undefined {
  const [, , { certFile, keyFile, caFile, requireClientCertificates }] = sharedSettings(settings);
  if (certFile === "") return undefined;
  const own = requireClientCertificates ? { certFile, keyFile } : { certFile: undefined, keyFile: undefined };
  return { caFile: caFile === "" ? undefined : caFile, ...own };
}

function sharedSettings(settings: readonly string[]) {
  const known = sharedConfigs.map(({ name }) => name);
  return parseConfig(sharedConfigs, readConfigInput(selectSettings(settings, [...known, "config"]))).settings;
}
