/** A partition of a topic. */
export interface StreamPartition {
  readonly topic: string;
  readonly partition: number;
}

/** What an applied offset of a partition is kept under. */
export function partitionName({ topic, partition }: StreamPartition): string {
  return `kafka/${topic}/${partition}`;
}

/** A message as it lies in a partition. */
export interface StreamMessage {
  /** From 1, rising, with holes. */
  readonly offset: number;
  readonly value: Uint8Array | undefined;
  /** When the producer or the broker stamped it, in microseconds since 1970. */
  readonly timeUs: number;
}

/** What a read of one partition found. */
export interface StreamBatch extends StreamPartition {
  readonly messages: readonly StreamMessage[];
  /** Offset that everything up to has been read, inclusive: the next read goes on after it. */
  readonly until: number;
  /** Offset of the last message there is; `until` is behind it by the lag. */
  readonly end: number;
  /** Messages after the asked offset that the log has thrown away already. */
  readonly lost: number;
}

/**
 * A log outside of this process that many processes may follow as a group, such as Kafka: each partition is assigned to
 * one of them. It hands out messages from wherever it is asked to; it is the reader who knows how far it is.
 */
export interface StreamLog {
  /** Takes part in these topics; throws where the log cannot be reached, and may be asked again. */
  follow(topics: readonly string[]): Promise<void>;
  /** Partitions that are assigned to this process now; empty while it is in no group. */
  assigned(): readonly StreamPartition[];
  /**
   * Messages after each partition's offset, a bounded number; waits a moment where there are none. Throws where the log
   * cannot be reached; it is reached again by a later read, without more ado.
   */
  read(positions: readonly (StreamPartition & { readonly after: number })[]): Promise<readonly StreamBatch[]>;
  /** Tells the log how far its group is, for those who watch it there; nothing is read back. */
  report(positions: readonly (StreamPartition & { readonly after: number })[]): Promise<void>;
  close(): Promise<void>;
}
