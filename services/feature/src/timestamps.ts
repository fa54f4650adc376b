/** A `google.protobuf.Timestamp`. */
export interface Timestamp {
  readonly seconds: bigint;
  readonly nanos: number;
}

/** Microseconds since 1970 of a timestamp, rounded down; undefined where there is none. */
export function microseconds(time: Timestamp): number;
export function microseconds(time: Timestamp | undefined): number | undefined;
export function microseconds(time: Timestamp | undefined): number | undefined {
  return time === undefined ? undefined : Number(time.seconds) * 1_000_000 + Math.floor(time.nanos / 1_000);
}

/** The timestamp of whole microseconds since 1970. */
export function timestamp(us: number): Timestamp {
  const seconds = Math.floor(us / 1_000_000);
  return { seconds: BigInt(seconds), nanos: (us - seconds * 1_000_000) * 1_000 };
}
