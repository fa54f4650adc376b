import type { DescService } from "@bufbuild/protobuf";
import {
  type Client,
  clientInterceptors,
  createClient,
  createMemoryTransport,
  type Handlers,
  ServiceRouter,
  serverInterceptors,
} from "@weft/rpc";
import { createTelemetry, type Telemetry } from "@weft/telemetry";

/** Telemetry that keeps quiet. */
export function quietTelemetry(): Telemetry {
  return createTelemetry({ service: "test", logLevel: "silent", otlpEndpoint: "", traceRatio: 0 });
}

/** A client that reaches handlers in memory through all interceptors. */
export function clientOf<S extends DescService>(
  service: S,
  handlers: Handlers<S>,
  telemetry = quietTelemetry(),
): Client<S> {
  const router = new ServiceRouter(serverInterceptors(telemetry));
  router.serve(service, handlers);
  return createClient(
    service,
    createMemoryTransport(() => router),
    clientInterceptors(telemetry),
  );
}
