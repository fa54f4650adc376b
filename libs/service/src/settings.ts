import { type ConfigSchema, choice, defineConfig, integer, number, type SettingShape, text } from "@weft/config";
import { type ServiceName, serviceNames } from "@weft/contracts";
import { parseTarget } from "@weft/rpc";
import { clientConfig, compressionConfig, http2Config, tlsConfig } from "./transport-settings.ts";

/** Settings of the process, whichever services run in it. */
export const processConfig = defineConfig("process", {
  dataDirectory: text({ default: ".weft", doc: "Folder for the state of the services, one folder each." }),
  logLevel: choice({
    values: ["debug", "info", "warn", "error", "silent"],
    default: "info",
    doc: "Least level that is logged.",
  }),
  otlpEndpoint: text({
    default: "",
    doc: "Where traces go, OTLP over HTTP, for example http://127.0.0.1:4318/v1/traces.",
  }),
  traceRatio: number({
    default: 0.01,
    min: 0,
    max: 1,
    doc: "Share of requests without a traceparent that are traced.",
  }),
  messageBytesMax: integer({
    default: 4_194_304,
    min: 1_024,
    max: 268_435_456,
    doc: "Greatest message taken, in bytes.",
  }),
  concurrentStreamsMax: integer({
    default: 1_000,
    min: 1,
    max: 100_000,
    doc: "Greatest number of calls at once on a connection.",
  }),
  transport: choice({
    values: ["weft", "grpc-js"],
    default: "weft",
    doc: "How calls to and from other processes travel: Weft's own gRPC, or grpc-js. xds:/// targets always go by grpc-js.",
  }),
  drainDelayMs: integer({
    default: 0,
    min: 0,
    max: 60_000,
    doc: "Wait between not-ready and draining, for the mesh to hear of it.",
  }),
  drainGraceMs: integer({ default: 10_000, min: 0, max: 300_000, doc: "Longest wait for calls in flight at the end." }),
  allowedOrigin: text({ default: "*", doc: "Origin that browsers may call the HTTP edge from; empty for none." }),
});

/** First gRPC port; each service has the next one, in the order of `serviceNames`. */
export const firstPort = 7000;
/** Distance from a service's gRPC port to its metrics port. */
export const metricsPortOffset = 100;
/** Port of the gateway's HTTP edge. */
export const edgePort = 7080;

function port(fallback: number, what: string) {
  return integer({ default: fallback, min: 0, max: 65_535, doc: `${what}; 0 picks a free one.` });
}

/** Settings that every service has, besides its own. */
export function listenerSettings(name: ServiceName) {
  const own = firstPort + serviceNames.indexOf(name);
  return {
    host: text({ default: "127.0.0.1", doc: "Address to listen on." }),
    port: port(own, "gRPC port"),
    metricsPort: port(own + metricsPortOffset, "Port of /metrics, /livez and /readyz over HTTP"),
    edgePort: port(edgePort, "Port of the HTTP edge, where the service has one"),
  };
}

/** The listener settings of a service. */
export interface ListenerSettings {
  readonly host: string;
  readonly port: number;
  readonly metricsPort: number;
  readonly edgePort: number;
}

const targetForm =
  "host:port[*weight][,…], dns:///name:port or xds:///name:port, then ?policy=round_robin | least_request | weighted | " +
  "consistent_hash (&key=<metadata key>&load=<factor>) and &connections=<count>.";

function targetFault(target: string): string | undefined {
  if (target.startsWith("xds:")) return undefined;
  try {
    parseTarget(target);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Where peers in other processes are. */
export const peersConfig = defineConfig(
  "peers",
  Object.fromEntries(
    serviceNames.map((name) => [
      name,
      text({
        default: `127.0.0.1:${firstPort + serviceNames.indexOf(name)}`,
        doc: `Target of the ${name} service, unless it runs in this process: ${targetForm}`,
        check: targetFault,
      }),
    ]),
  ),
);

/** The settings of every process, whichever services run in it. */
export const sharedConfigs = [
  processConfig,
  peersConfig,
  tlsConfig,
  clientConfig,
  http2Config,
  compressionConfig,
] as const;

/** A service's schema with the listener's settings. */
export function withListener(name: ServiceName, config: ConfigSchema): ConfigSchema<SettingShape> {
  return { name: config.name, settings: { ...listenerSettings(name), ...config.settings } };
}
