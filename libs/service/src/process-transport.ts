import type { SettingsOf } from "@weft/config";
import {
  createChannelMetrics,
  createConnectionMeter,
  createMessageMeter,
  grpcJs,
  type Listener,
  type ListenOptions,
  type Router,
  type Transport,
  weft,
} from "@weft/rpc";
import type { Logger, Metrics } from "@weft/telemetry";
import type { processConfig } from "./settings.ts";
import {
  type clientConfig,
  type compressionConfig,
  connectOptions,
  type http2Config,
  openCertificates,
  type tlsConfig,
} from "./transport-settings.ts";

/** The settings that decide how calls travel. */
export interface TransportSettings {
  readonly process: Pick<SettingsOf<typeof processConfig>, "transport" | "messageBytesMax" | "concurrentStreamsMax">;
  readonly tls: SettingsOf<typeof tlsConfig>;
  readonly client: SettingsOf<typeof clientConfig>;
  readonly http2: SettingsOf<typeof http2Config>;
  readonly compression: SettingsOf<typeof compressionConfig>;
}

/** How calls to and from other processes travel. */
export interface ProcessTransport {
  /** What every listener of calls goes by. */
  readonly secure: Pick<ListenOptions, "tls" | "clientCertificates">;
  listen(router: Router, host: string, port: number): Promise<Listener>;
  /** Calls a peer. `name` is what metrics call it. Throws TypeError where the target is none. */
  connect(name: string, target: string): Transport;
  close(): void;
}

/** Least time between two log lines about clients that cannot shake hands: a flood of them must not become one of lines. */
const handshakeLogMs = 10_000;

/** Opens certificates and makes the transport of a process. Throws ConfigError that names the setting at fault. */
export function openTransport(settings: TransportSettings, metrics: Metrics, logger: Logger): ProcessTransport {
  const { messageBytesMax, concurrentStreamsMax, transport } = settings.process;
  const wire = transport === "weft" ? weft : grpcJs;
  const reloads = metrics.counter({
    name: "tls_reloads_total",
    help: "Changes of certificate files, by whether they were taken.",
    labels: ["result"],
  });
  const expiry = metrics.gauge({
    name: "tls_certificate_expiry_timestamp_seconds",
    help: "When the process's certificate expires; 0 without one.",
  });
  const certificates = openCertificates(settings.tls, {
    reloaded() {
      reloads.add(1, { result: "taken" });
      showExpiry();
      logger.info("certificates reloaded");
    },
    refused(fault) {
      reloads.add(1, { result: "refused" });
      logger.error({ why: fault.message }, "changed certificates cannot be used: the old ones stay");
    },
  });
  const { listeners, clients } = certificates;
  const showExpiry = () => expiry.set(listeners === undefined ? 0 : Math.floor(listeners.expiresMs / 1_000));
  showExpiry();
  const failures = metrics.counter({
    name: "rpc_server_handshake_failures_total",
    help: "TLS handshakes of clients that failed.",
  });
  const meter = createConnectionMeter(metrics, { side: "server" });
  const messages = createMessageMeter(metrics, { side: "server" });
  let loggedMs = Number.NEGATIVE_INFINITY;
  const handshakeFailed = (error: Error) => {
    failures.add(1);
    const nowMs = performance.now();
    if (nowMs - loggedMs < handshakeLogMs) return;
    loggedMs = nowMs;
    logger.warn({ why: error.message }, "a client's TLS handshake failed");
  };
  const { requests, answers, bytesMin } = settings.compression;
  const secure = {
    ...(listeners === undefined ? {} : { tls: listeners }),
    clientCertificates: settings.tls.requireClientCertificates,
  };
  const connecting = {
    ...connectOptions(settings.client, settings.http2),
    messageBytesMax,
    ...(requests ? { compression: { bytesMin } } : {}),
    ...(clients === undefined ? {} : { tls: clients }),
    ...(settings.tls.serverName === "" ? {} : { serverName: settings.tls.serverName }),
  };
  return {
    secure,
    listen: (router, host, port) =>
      wire.listen(router, {
        host,
        port,
        messageBytesMax,
        concurrentStreamsMax,
        http2: settings.http2,
        handshakeFailed,
        meter,
        messages,
        ...(answers ? { compression: { bytesMin } } : {}),
        ...secure,
      }),
    connect: (name, target) => wire.connect(target, { ...connecting, metrics: createChannelMetrics(metrics, name) }),
    close: () => certificates.close(),
  };
}
