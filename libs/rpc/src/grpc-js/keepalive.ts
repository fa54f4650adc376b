import type { ChannelOptions } from "@grpc/grpc-js";
import type { Http2Options } from "@weft/http2";

/** When connections of grpc-js are asked for a sign of life. */
export function keepaliveOptions(http2: Partial<Http2Options> | undefined): ChannelOptions {
  const { keepaliveMs, keepaliveTimeoutMs } = http2 ?? {};
  return {
    ...(keepaliveMs === undefined || keepaliveMs === 0 ? {} : { "grpc.keepalive_time_ms": keepaliveMs }),
    ...(keepaliveTimeoutMs === undefined ? {} : { "grpc.keepalive_timeout_ms": keepaliveTimeoutMs }),
  };
}
