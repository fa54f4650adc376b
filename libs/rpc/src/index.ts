export { createClient } from "./client.ts";
export {
  type CallContext,
  type CallContextInit,
  CallScope,
  type CancelReason,
  type Metadata,
  type RequestIdentity,
} from "./context.ts";
export { copierOf } from "./copy-message.ts";
export { type EdgeOptions, listenEdge } from "./edge.ts";
export { grpcJs } from "./grpc-js/index.ts";
export { grpcJsTarget } from "./grpc-js/target.ts";
export type { CallOptions, Client, Handlers } from "./handlers.ts";
export { createHealthHandlers, HealthState } from "./health.ts";
export { identityKeys } from "./identity.ts";
export type { Call, Interceptor, Next, Payload } from "./interceptor.ts";
export { createMemoryTransport } from "./memory.ts";
export { type MethodInfo, methodInfo, methodsOf } from "./method.ts";
export { createReflectionHandlers } from "./reflection.ts";
export { ServiceRouter } from "./router.ts";
export { clientInterceptors, serverInterceptors } from "./server-interceptors.ts";
export {
  CertificateFault,
  CertificateFiles,
  type CertificateFilesOptions,
  type CertificatePaths,
} from "./tls/certificate-files.ts";
export type { TlsMaterial, TlsSource } from "./tls/tls-source.ts";
export type { ConnectOptions, Listener, ListenOptions, Router, Transport, WireTransport } from "./transport.ts";
export { type ChannelMetrics, createChannelMetrics } from "./weft/channel-metrics.ts";
export type { ClientOptions } from "./weft/client.ts";
export { connect as connectWeft } from "./weft/client.ts";
export type { CompressionOptions } from "./weft/compression.ts";
export { createConnectionMeter, createMessageMeter, type MessageMeter } from "./weft/connection-meter.ts";
export { weft } from "./weft/index.ts";
export { listen as listenWeft, type ServerOptions } from "./weft/server.ts";
export { parseTarget } from "./weft/target.ts";
