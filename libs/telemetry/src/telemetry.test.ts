import { execFile } from "node:child_process";
import { createServer } from "node:http";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "@jest/globals";
import { InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace";
import { createMetrics, createTracer, formatTraceparent, noTrace, parseTraceparent } from "./index.ts";

describe("metrics", () => {
  test("are exposed in Prometheus' text format", async () => {
    const metrics = createMetrics({ processMetrics: false });
    metrics.counter({ name: "calls_total", help: "Calls", labels: ["code"] }).add(2, { code: "OK" });
    metrics.gauge({ name: "queue_depth", help: "Depth" }).set(7);
    const seconds = metrics.histogram({ name: "call_seconds", help: "Time", buckets: [0.1, 1] });
    for (const value of [0.05, 0.1, 0.5, 3]) seconds.observe(value);
    const { body } = await metrics.expose();
    expect(body).toContain('calls_total{code="OK"} 2');
    expect(body).toContain("queue_depth 7");
    expect(body).toContain('call_seconds_bucket{le="0.1"} 2');
    expect(body).toContain('call_seconds_bucket{le="1"} 3');
    expect(body).toContain('call_seconds_bucket{le="+Inf"} 4');
    expect(body).toContain("call_seconds_count 4");
    expect(body).toContain("call_seconds_sum 3.65");
  });

  test("bound the number of series", async () => {
    const metrics = createMetrics({ processMetrics: false });
    const counter = metrics.counter({ name: "many_total", help: "Many", labels: ["who"] });
    for (let index = 0; index < 5_000; index++) counter.add(1, { who: `w${index}` });
    const { body } = await metrics.expose();
    expect(body.split("\n").filter((line) => line.startsWith("many_total{")).length).toBeLessThanOrEqual(2_001);
    expect(body).toContain('many_total{who="other"} 3001');
  });
});

describe("telemetry", () => {
  test("sends sampled spans by OTLP and writes logs as JSON lines", async () => {
    const bodies: string[] = [];
    const collector = createServer((request, response) => {
      let body = "";
      request.setEncoding("utf8").on("data", (part: string) => {
        body += part;
      });
      request.on("end", () => {
        bodies.push(body);
        response.writeHead(200, { "content-type": "application/json" }).end("{}");
      });
    });
    const port = await new Promise<number>((resolve) =>
      collector.listen(0, "127.0.0.1", () => resolve((collector.address() as { port: number }).port)),
    );
    const program = join(__dirname, "testing", "report-once.js");
    const { stderr } = await promisify(execFile)(process.execPath, [
      program,
      `http://127.0.0.1:${port}/v1/traces`,
    ]).finally(() => collector.close());
    expect(bodies.join()).toContain("a/B");
    expect(bodies.join()).toContain("ranking");
    const lines = stderr.trim().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      expect.objectContaining({ service: "ranking", model: "tree", msg: "loaded" }),
    ]);
  });
});

describe("traces", () => {
  const header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

  test("a traceparent is read and written back", () => {
    expect(formatTraceparent(parseTraceparent(header))).toBe(header);
    for (const bad of [undefined, "", "00-0-0-01", header.toUpperCase(), `00-${"0".repeat(32)}-b7ad6b7169203331-01`])
      expect(parseTraceparent(bad)).toBe(noTrace);
  });

  test("spans continue the caller's trace and name the failure", async () => {
    const exporter = new InMemorySpanExporter();
    const tracer = createTracer({ service: "test", ratio: 0, processors: [new SimpleSpanProcessor({ exporter })] });
    const server = tracer.start("a/B", "server", parseTraceparent(header));
    const client = tracer.start("c/D", "client", server.context);
    client.end("UNAVAILABLE");
    server.end();
    const [inner, outer] = exporter.getFinishedSpans();
    expect(outer?.spanContext().traceId).toBe("0af7651916cd43dd8448eb211c80319c");
    expect(outer?.parentSpanContext?.spanId).toBe("b7ad6b7169203331");
    expect(inner?.parentSpanContext?.spanId).toBe(outer?.spanContext().spanId);
    expect(inner?.status.message).toBe("UNAVAILABLE");
    expect(tracer.start("e/F", "server", noTrace).context).toBe(noTrace);
    await tracer.close();
  });
});
