import type { LimitName } from "./meter.ts";

/** Error codes of RFC 9113, section 7. */
export const ErrorCode = {
  NoError: 0,
  ProtocolError: 1,
  InternalError: 2,
  FlowControlError: 3,
  SettingsTimeout: 4,
  StreamClosed: 5,
  FrameSizeError: 6,
  RefusedStream: 7,
  Cancel: 8,
  CompressionError: 9,
  ConnectError: 10,
  EnhanceYourCalm: 11,
  InadequateSecurity: 12,
  Http11Required: 13,
} as const;

/** What ends a connection: a code of RFC 9113 and why; the limit where that is one. */
export class Http2Fault extends Error {
  override readonly name = "Http2Fault";
  readonly code: number;
  readonly limit: LimitName | undefined;

  constructor(code: number, message: string, limit?: LimitName) {
    super(message);
    this.code = code;
    this.limit = limit;
  }
}
