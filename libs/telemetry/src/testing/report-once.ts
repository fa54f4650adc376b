import { createTelemetry, noTrace } from "../index.ts";

/** A process that reports one span and one log line, in a process of its own since the exporter loads its parts when it first sends. */
const telemetry = createTelemetry({
  service: "ranking",
  logLevel: "info",
  otlpEndpoint: process.argv[2] ?? "",
  traceRatio: 1,
});
telemetry.tracer.start("a/B", "server", noTrace).end();
telemetry.logger.info({ model: "tree" }, "loaded");
telemetry.logger.debug("not this");
void telemetry.close();
