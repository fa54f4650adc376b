import { ErrorCode, type Http2Meter } from "@weft/http2";
import type { CounterSeries, Metrics } from "@weft/telemetry";

/** Names of the codes of RFC 9113; what a peer makes up is "OTHER". */
const codeNames = new Map<number, string>(
  Object.entries(ErrorCode).map(([name, code]) => [code, name.replace(/(?<=[a-z0-9])(?=[A-Z])/g, "_").toUpperCase()]),
);

/** Messages of gRPC, whatever connection they go by. */
export interface MessageMeter {
  readonly received: CounterSeries;
  readonly sent: CounterSeries;
}

/** The metrics of messages, by side and peer as those of connections. */
export function createMessageMeter(metrics: Metrics, of: MeteredSide): MessageMeter {
  const by: Record<string, string> = of.side === "client" ? { peer: of.peer } : {};
  const messages = metrics.counter({
    name: `rpc_${of.side}_messages_total`,
    help: "Messages of calls, by direction.",
    labels: [...Object.keys(by), "direction"],
  });
  return {
    received: messages.with({ ...by, direction: "received" }),
    sent: messages.with({ ...by, direction: "sent" }),
  };
}

/** Whose connections are counted; a client's by `peer`, which is what the deployment calls it. */
export type MeteredSide = { readonly side: "server" } | { readonly side: "client"; readonly peer: string };

/**
 * The metrics of connections: `rpc_server_…` for all clients of the process together, `rpc_client_…` by peer.
 */
export function createConnectionMeter(metrics: Metrics, of: MeteredSide): Http2Meter {
  const by: Record<string, string> = of.side === "client" ? { peer: of.peer } : {};
  const own = Object.keys(by);
  const name = (rest: string) => `rpc_${of.side}_${rest}`;
  const open = metrics.gauge({ name: name("connections_open"), help: "HTTP/2 connections.", labels: own }).with(by);
  const streams = metrics.gauge({ name: name("streams_open"), help: "Open HTTP/2 streams.", labels: own }).with(by);
  const bytes = metrics.counter({
    name: name("bytes_total"),
    help: "Bytes of HTTP/2 connections, by direction.",
    labels: [...own, "direction"],
  });
  const received = bytes.with({ ...by, direction: "received" });
  const sent = bytes.with({ ...by, direction: "sent" });
  const resets = metrics.counter({
    name: name("stream_resets_total"),
    help: "Streams that were reset, by direction and cause (RFC 9113, section 7).",
    labels: [...own, "direction", "cause"],
  });
  const limits = metrics.counter({
    name: name("limit_hits_total"),
    help: "Times that a peer ran into a limit, by limit.",
    labels: [...own, "limit"],
  });
  return {
    connections: (change) => open.add(change),
    streams: (change) => streams.add(change),
    bytes(receivedBytes, sentBytes) {
      received.add(receivedBytes);
      sent.add(sentBytes);
    },
    reset: (direction, code) => resets.add(1, { ...by, direction, cause: codeNames.get(code) ?? "OTHER" }),
    limit: (limit) => limits.add(1, { ...by, limit }),
  };
}
