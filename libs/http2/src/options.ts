/** Limits and times of a connection. Every one has a safe default. */
export interface Http2Options {
  /** Streams that the peer may have open at once. */
  readonly concurrentStreamsMax: number;
  /** Greatest header list taken, as RFC 9113 counts it. */
  readonly headerListBytesMax: number;
  /** Greatest dynamic table of HPACK, each way. */
  readonly headerTableBytesMax: number;
  /** Greatest header block on the wire, CONTINUATION included. */
  readonly headerBlockBytesMax: number;
  /** CONTINUATION frames taken of one block. */
  readonly continuationsMax: number;
  /**
   * Greatest frame taken, 16,384 to 16,777,215: of DATA, once the path has shown that it carries more than streams begin
   * with. Until then it is 16,384, as every peer begins. Other frames are bounded by `headerBlockBytesMax`.
   */
  readonly frameBytesMax: number;
  /** Bytes that the peer may send on a stream ahead of its reader, to begin with. */
  readonly streamWindowBytes: number;
  /** What that window grows to where the path carries it and the reader keeps up; no growth where it is no greater. */
  readonly streamWindowBytesMax: number;
  /** Bytes that the peer may send on a connection ahead of its readers, to begin with. */
  readonly connectionWindowBytes: number;
  /** What that window grows to, as the streams' do. */
  readonly connectionWindowBytesMax: number;
  /** Bytes written on a stream and not yet sent above which its writer is asked to wait. */
  readonly streamBufferBytes: number;
  /** Bytes written on all streams of a connection and not yet sent above which every writer is asked to wait. */
  readonly connectionBufferBytes: number;
  /** Bytes written and not yet sent above which the connection is closed: messages that no writer could have held back. */
  readonly connectionBufferBytesMax: number;
  /** The same of the process's connections together: those go that hold more than an equal share. */
  readonly processBufferBytesMax: number;
  /**
   * Bytes that the process's connections have received and not read, parts of messages included, above which no window is
   * granted and no stream is accepted; where that lasts for a second, the largest streams are given up.
   */
  readonly processReceivedBytesMax: number;
  /** Bytes that the socket holds unsent above which nothing more is read from it or sent to it. */
  readonly socketBufferBytes: number;
  /**
   * Streams that the peer may reset, or that are reset for its faults, in a second. Deadlines that pass in an overload are
   * resets too, and closing the connection for them would make matters worse: what a reset leaves behind is better bounded
   * where the work is done.
   */
  readonly resetsPerSecondMax: number;
  /** SETTINGS taken in a second. */
  readonly settingsPerSecondMax: number;
  /** PINGs answered in a second. */
  readonly pingsPerSecondMax: number;
  /** Frames in a second that carry nothing: DATA, HEADERS and CONTINUATION without content, answers to PING, PRIORITY, unknown types. */
  readonly emptyFramesPerSecondMax: number;
  /** Until the preface and the first SETTINGS, milliseconds. */
  readonly handshakeTimeoutMs: number;
  /** Until our SETTINGS are acknowledged, milliseconds. */
  readonly settingsTimeoutMs: number;
  /** A connection without streams for that long is closed, milliseconds; 0 never. */
  readonly idleTimeoutMs: number;
  /** A peer that is silent for that long is sent a PING, milliseconds; 0 never. */
  readonly keepaliveMs: number;
  /** Until that PING is answered, milliseconds. */
  readonly keepaliveTimeoutMs: number;
  /** Blocks whose decoded form is kept. */
  readonly cachedBlocksMax: number;
}

/** The defaults. */
export const defaultHttp2Options: Http2Options = {
  concurrentStreamsMax: 1_000,
  headerListBytesMax: 16_384,
  headerTableBytesMax: 4_096,
  headerBlockBytesMax: 32_768,
  continuationsMax: 8,
  frameBytesMax: 131_072,
  streamWindowBytes: 1_048_576,
  streamWindowBytesMax: 8_388_608,
  connectionWindowBytes: 8_388_608,
  connectionWindowBytesMax: 16_777_216,
  streamBufferBytes: 262_144,
  connectionBufferBytes: 16_777_216,
  connectionBufferBytesMax: 268_435_456,
  processBufferBytesMax: 536_870_912,
  processReceivedBytesMax: 536_870_912,
  socketBufferBytes: 1_048_576,
  resetsPerSecondMax: 20_000,
  settingsPerSecondMax: 100,
  pingsPerSecondMax: 20_000,
  emptyFramesPerSecondMax: 2_000,
  handshakeTimeoutMs: 10_000,
  settingsTimeoutMs: 10_000,
  idleTimeoutMs: 0,
  keepaliveMs: 300_000,
  keepaliveTimeoutMs: 20_000,
  cachedBlocksMax: 512,
};
