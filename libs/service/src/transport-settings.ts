import { ConfigError, defineConfig, flag, flagName, integer, type Setting, type SettingsOf, text } from "@weft/config";
import { defaultHttp2Options, type Http2Options } from "@weft/http2";
import { CertificateFault, CertificateFiles, type CertificateFilesOptions, type ConnectOptions } from "@weft/rpc";

/** Certificates of the process. */
export const tlsConfig = defineConfig("tls", {
  certFile: text({
    default: "",
    doc: "Own certificate with its chain, PEM. With it every listener speaks TLS, those of /metrics and probes excepted.",
  }),
  keyFile: text({ default: "", doc: "Key of the certificate, PEM." }),
  caFile: text({
    default: "",
    doc: "Authorities that other processes' certificates are checked against, PEM. With it calls to peers go over TLS.",
  }),
  requireClientCertificates: flag({
    default: false,
    doc: "Whether clients must show a certificate of the authorities (mutual TLS).",
  }),
  serverName: text({
    default: "",
    doc: "Name that peers' certificates must have; empty for the host of their target.",
  }),
  reloadMs: integer({
    default: 10_000,
    min: 100,
    max: 3_600_000,
    doc: "How often the files are looked at for a change, milliseconds. New connections go by the new ones; broken files are passed over.",
  }),
});

/** Messages that go compressed with gzip. Which are taken is no setting: compressed ones always are. */
export const compressionConfig = defineConfig("compression", {
  requests: flag({ default: false, doc: "Whether requests to peers go compressed, unless a call says otherwise." }),
  answers: flag({
    default: false,
    doc: "Whether answers go compressed to clients that take them so. The grpc-js transport does not compress answers.",
  }),
  bytesMin: integer({ default: 1_024, min: 0, max: 268_435_456, doc: "Smaller messages go as they are, bytes." }),
});

/** The connections to peers. Their addresses and how calls are spread over them are the targets'. */
export const clientConfig = defineConfig("client", {
  connections: integer({
    default: 1,
    min: 1,
    max: 64,
    doc: "Connections to each address, where the target does not say.",
  }),
  waitForReady: flag({
    default: false,
    doc: "Whether calls wait, until their deadline, while a peer cannot be reached, rather than fail at once.",
  }),
  waitingMax: integer({
    default: 10_000,
    min: 1,
    max: 1_000_000,
    doc: "Calls to a peer that wait for a connection or a stream.",
  }),
  reconnectFirstMs: integer({
    default: 100,
    min: 1,
    max: 60_000,
    doc: "Wait before connecting again, the first time.",
  }),
  reconnectMaxMs: integer({
    default: 2_000,
    min: 1,
    max: 600_000,
    doc: "Longest wait before connecting again; they grow by 1.6.",
  }),
  resolveMs: integer({
    default: 30_000,
    min: 1_000,
    max: 86_400_000,
    doc: "How often names are resolved again, besides when a connection is lost.",
  }),
  idleMs: integer({
    default: 1_800_000,
    min: 0,
    max: 86_400_000,
    doc: "Without calls for that long the connections to a peer are closed; 0 never.",
  }),
  ejectFailures: integer({
    default: 5,
    min: 0,
    max: 10_000,
    doc: "Failures in a row (UNAVAILABLE, INTERNAL, UNKNOWN, DATA_LOSS, DEADLINE_EXCEEDED) after which an address is left alone; 0 never.",
  }),
  ejectMs: integer({
    default: 5_000,
    min: 10,
    max: 3_600_000,
    doc: "How long an address is left alone the first time; the second time twice as long.",
  }),
  ejectMaxMs: integer({
    default: 300_000,
    min: 10,
    max: 86_400_000,
    doc: "Longest time that an address is left alone.",
  }),
  ejectPercentMax: integer({
    default: 50,
    min: 0,
    max: 100,
    doc: "Share of a peer's addresses that may be left alone at once.",
  }),
});

const bounds: Omit<
  Record<keyof Http2Options, readonly [min: number, max: number, doc: string]>,
  "concurrentStreamsMax"
> = {
  headerListBytesMax: [1_024, 1_048_576, "Greatest header list taken, as RFC 9113 counts it."],
  headerTableBytesMax: [0, 65_536, "Greatest dynamic table of HPACK, each way."],
  headerBlockBytesMax: [1_024, 1_048_576, "Greatest header block on the wire."],
  continuationsMax: [0, 1_000, "CONTINUATION frames taken of one header block."],
  frameBytesMax: [16_384, 16_777_215, "Greatest frame of content taken, once windows have grown; 16,384 until then."],
  streamWindowBytes: [1_024, 1_073_741_824, "Bytes that a peer may send on a stream ahead of its reader."],
  streamWindowBytesMax: [1_024, 1_073_741_824, "What that window grows to where path and reader keep up."],
  connectionWindowBytes: [65_535, 1_073_741_824, "Bytes that a peer may send on a connection ahead of its readers."],
  connectionWindowBytesMax: [65_535, 1_073_741_824, "What that window grows to."],
  processReceivedBytesMax: [
    1_048_576,
    68_719_476_736,
    "Received and unread bytes of the process above which no window is granted and no stream is accepted.",
  ],
  streamBufferBytes: [1_024, 1_073_741_824, "Unsent bytes of a stream above which its writer waits."],
  connectionBufferBytes: [
    16_384,
    1_073_741_824,
    "Unsent bytes of a connection's streams above which all their writers wait.",
  ],
  connectionBufferBytesMax: [65_536, 17_179_869_184, "Unsent bytes of a connection above which it is closed."],
  processBufferBytesMax: [
    1_048_576,
    68_719_476_736,
    "Unsent bytes of the process above which connections are closed that hold more than an equal share.",
  ],
  socketBufferBytes: [16_384, 1_073_741_824, "Unsent bytes of a socket above which nothing more is read from it."],
  resetsPerSecondMax: [1, 10_000_000, "Streams of a connection that may be reset in a second."],
  settingsPerSecondMax: [1, 1_000_000, "SETTINGS taken of a connection in a second."],
  pingsPerSecondMax: [1, 10_000_000, "PINGs of a connection answered in a second."],
  emptyFramesPerSecondMax: [1, 10_000_000, "Frames of a connection in a second that carry nothing."],
  handshakeTimeoutMs: [10, 600_000, "Until a connection has shaken hands, TLS included."],
  settingsTimeoutMs: [10, 600_000, "Until SETTINGS are acknowledged."],
  idleTimeoutMs: [0, 86_400_000, "A client's connection without calls for that long is closed by the server; 0 never."],
  keepaliveMs: [0, 86_400_000, "A peer that is silent for that long is sent a PING; 0 never."],
  keepaliveTimeoutMs: [10, 600_000, "Until that PING is answered."],
  cachedBlocksMax: [0, 100_000, "Header blocks whose decoded form is kept."],
};

/** Limits and times of every connection. Streams at once are `process.concurrentStreamsMax`. */
export const http2Config = defineConfig(
  "http2",
  Object.fromEntries(
    Object.entries(bounds).map(([name, [min, max, doc]]): [string, Setting<number>] => [
      name,
      integer({ default: defaultHttp2Options[name as keyof Http2Options], min, max, doc }),
    ]),
  ) as Record<keyof typeof bounds, Setting<number>>,
);

type TlsSettings = SettingsOf<typeof tlsConfig>;

/** What the process's certificates are for. */
export interface ProcessCertificates {
  /** For listeners; undefined where they speak cleartext. */
  readonly listeners: CertificateFiles | undefined;
  /** For clients; undefined where they speak cleartext. */
  readonly clients: CertificateFiles | undefined;
  close(): void;
}

const pathSettings = { cert: "certFile", key: "keyFile", ca: "caFile" } as const;

/** Reads the certificates that the settings name. Throws ConfigError that names the setting where they cannot be used. */
export function openCertificates(
  settings: TlsSettings,
  told: Pick<CertificateFilesOptions, "reloaded" | "refused">,
): ProcessCertificates {
  const fault = (setting: keyof TlsSettings, why: string) =>
    new ConfigError([{ origin: flagName(tlsConfig.name, setting), fault: why }]);
  const path = (setting: keyof TlsSettings) => (settings[setting] === "" ? undefined : String(settings[setting]));
  const [cert, key, ca] = [path("certFile"), path("keyFile"), path("caFile")];
  if (settings.requireClientCertificates && cert === undefined)
    throw fault("requireClientCertificates", "needs a certificate of one's own (tls.certFile)");
  if (settings.requireClientCertificates && ca === undefined)
    throw fault("requireClientCertificates", "needs the authorities of clients (tls.caFile)");
  if (cert === undefined && key === undefined && ca === undefined)
    return { listeners: undefined, clients: undefined, close() {} };
  let files: CertificateFiles;
  try {
    files = CertificateFiles.open({ cert, key, ca }, { reloadMs: settings.reloadMs, ...told });
  } catch (error) {
    throw error instanceof CertificateFault ? fault(pathSettings[error.part], error.message) : error;
  }
  return {
    listeners: cert === undefined ? undefined : files,
    clients: ca === undefined ? undefined : files,
    close: () => files.close(),
  };
}

/** The settings of a client's connections as transports take them. */
export function connectOptions(
  settings: SettingsOf<typeof clientConfig>,
  http2: SettingsOf<typeof http2Config>,
): Omit<ConnectOptions, "messageBytesMax"> {
  const { connections, waitForReady, waitingMax, reconnectFirstMs, reconnectMaxMs, resolveMs, idleMs } = settings;
  const { ejectFailures, ejectMs, ejectMaxMs, ejectPercentMax } = settings;
  // The channel closes what is idle: a connection that did would only be opened again. Answers' headers carry details.
  const { idleTimeoutMs: _, headerListBytesMax, ...limits } = http2;
  return {
    connections,
    waitForReady,
    waitingMax,
    backoff: { firstMs: reconnectFirstMs, maxMs: reconnectMaxMs },
    resolveMs,
    idleMs,
    ejection: { failures: ejectFailures, baseMs: ejectMs, maxMs: ejectMaxMs, percentMax: ejectPercentMax },
    http2: { ...limits, headerListBytesMax: Math.max(headerListBytesMax, answerHeaderBytes) },
  };
}

/** Least header list that a client takes: an error's details are in it. */
const answerHeaderBytes = 65_536;
