import type { Http2Meter } from "@weft/http2";
import type { CounterSeries, GaugeSeries, Metrics } from "@weft/telemetry";
import { createConnectionMeter, createMessageMeter, type MessageMeter } from "./connection-meter.ts";

/** What the connections to one peer report. */
export interface ChannelMetrics {
  /** Addresses that the target has now. */
  readonly addresses: GaugeSeries;
  /** Those of them that are left alone for failing. */
  readonly ejected: GaugeSeries;
  /** Times that an address was left alone. */
  readonly ejections: CounterSeries;
  /** Connections that take calls. */
  readonly connections: GaugeSeries;
  /** Connections that were made, the first ones included. */
  readonly connects: CounterSeries;
  /** Attempts to connect that failed. */
  readonly connectFailures: CounterSeries;
  /** Seconds from the attempt to the peer's first SETTINGS. */
  readonly handshakeSeconds: { observe(seconds: number): void };
  /** Calls that wait for a connection or a stream. */
  readonly waiting: GaugeSeries;
  /** Calls that were refused because too many wait. */
  readonly waitingRefused: CounterSeries;
  /** Calls that the peer had not begun and that were sent once more. */
  readonly resent: CounterSeries;
  /** What the connections themselves count. */
  readonly meter: Http2Meter | undefined;
  readonly messages: MessageMeter | undefined;
}

/** The metrics of a peer's connections. `peer` is what the deployment calls it, for example "ranking". */
export function createChannelMetrics(metrics: Metrics, peer: string): ChannelMetrics {
  const labels = ["peer"];
  const by = { peer };
  const gauge = (name: string, help: string) => metrics.gauge({ name, help, labels }).with(by);
  const counter = (name: string, help: string) => metrics.counter({ name, help, labels }).with(by);
  return {
    addresses: gauge("rpc_client_addresses", "Addresses of the peer."),
    ejected: gauge("rpc_client_addresses_ejected", "Addresses of the peer that are left alone for failing."),
    ejections: counter("rpc_client_ejections_total", "Times that an address was left alone for failing."),
    connections: gauge("rpc_client_connections", "Connections to the peer that take calls."),
    connects: counter("rpc_client_connects_total", "Connections made to the peer."),
    connectFailures: counter("rpc_client_connect_failures_total", "Attempts to connect to the peer that failed."),
    handshakeSeconds: metrics
      .histogram({ name: "rpc_client_handshake_seconds", help: "Until a connection takes calls.", labels })
      .with(by),
    waiting: gauge("rpc_client_calls_waiting", "Calls that wait for a connection or a stream."),
    waitingRefused: counter("rpc_client_calls_refused_total", "Calls refused because too many wait."),
    resent: counter("rpc_client_calls_resent_total", "Calls sent once more that the peer had not begun."),
    meter: createConnectionMeter(metrics, { side: "client", peer }),
    messages: createMessageMeter(metrics, { side: "client", peer }),
  };
}

const nowhere = { add() {}, set() {}, observe() {} };

/** Reports nothing. */
export const noChannelMetrics: ChannelMetrics = {
  addresses: nowhere,
  ejected: nowhere,
  ejections: nowhere,
  connections: nowhere,
  connects: nowhere,
  connectFailures: nowhere,
  handshakeSeconds: nowhere,
  waiting: nowhere,
  waitingRefused: nowhere,
  resent: nowhere,
  meter: undefined,
  messages: undefined,
};
