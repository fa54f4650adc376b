export { connectHttp2, type Http2ClientOptions } from "./client.ts";
export { Connection, type ConnectionObserver } from "./connection.ts";
export { ErrorCode, Http2Fault } from "./fault.ts";
export { HeaderBlock } from "./header-block.ts";
export { HpackDecoder, type HpackDecoderOptions } from "./hpack-decoder.ts";
export { type Field, HeaderTemplate, HpackEncoder } from "./hpack-encoder.ts";
export { defaultHttp2Options, type Http2Options } from "./options.ts";
export { type Http2Server, type Http2ServerOptions, listenHttp2 } from "./server.ts";
export { type ExtraFields, type ResetCause, Stream, type StreamReceiver } from "./stream.ts";
