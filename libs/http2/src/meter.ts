/** Limits that a peer can run into. */
export type LimitName =
  | "connections"
  | "concurrent_streams"
  | "header_block"
  | "header_list"
  | "resets"
  | "settings"
  | "pings"
  | "empty_frames"
  | "buffered_bytes"
  | "received_bytes"
  | "handshake_timeout"
  | "settings_timeout"
  | "keepalive_timeout"
  | "idle_timeout";

/** What connections count, for whoever shows it. */
export interface Http2Meter {
  /** A connection was opened (1) or is over (-1). */
  connections(change: number): void;
  /** A stream was opened (1) or is over (-1). */
  streams(change: number): void;
  /** Bytes of the socket since the last time; told some times a second, and at the end. */
  bytes(received: number, sent: number): void;
  /** A stream was reset by the peer ("received") or by this side ("sent"), with a code of RFC 9113. */
  reset(direction: "received" | "sent", code: number): void;
  /** A peer has run into a limit. */
  limit(name: LimitName): void;
}
