import { createServer } from "node:http";
import type { Metrics } from "@weft/telemetry";

/** Serves /metrics, /livez and /readyz. `/readyz` answers 503 with the conditions that are not met. */
export async function serveDiagnostics(options: {
  readonly host: string;
  readonly port: number;
  readonly metrics: Metrics;
  readonly unmet: () => readonly string[];
}): Promise<{ readonly port: number; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    const path = (request.url ?? "/").split("?", 1)[0];
    if (path === "/metrics") {
      options.metrics.expose().then(
        ({ contentType, body }) => response.writeHead(200, { "content-type": contentType }).end(body),
        () => response.writeHead(500).end(),
      );
    } else if (path === "/livez") response.writeHead(200, { "content-type": "text/plain" }).end("ok\n");
    else if (path === "/readyz") {
      const unmet = options.unmet();
      response
        .writeHead(unmet.length === 0 ? 200 : 503, { "content-type": "text/plain" })
        .end(unmet.length === 0 ? "ready\n" : `not ready: ${unmet.join(", ")}\n`);
    } else response.writeHead(404, { "content-type": "text/plain" }).end("paths: /metrics /livez /readyz\n");
  });
  server.requestTimeout = 10_000;
  const port = await new Promise<number>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => {
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : options.port);
    });
  });
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
