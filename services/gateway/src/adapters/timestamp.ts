/** A google.protobuf.Timestamp of microseconds since 1970. */
export function timestampOfUs(timeUs: number): { seconds: bigint; nanos: number } {
  const seconds = Math.floor(timeUs / 1_000_000);
  return { seconds: BigInt(seconds), nanos: (timeUs - seconds * 1_000_000) * 1_000 };
}

/** A google.protobuf.Duration of milliseconds, 0 or more. */
export function durationOfMs(ms: number): { seconds: bigint; nanos: number } {
  if (ms < 1_000) return { seconds: 0n, nanos: Math.floor(ms * 1_000_000) };
  const seconds = Math.floor(ms / 1_000);
  return { seconds: BigInt(seconds), nanos: Math.floor((ms - seconds * 1_000) * 1_000_000) };
}
