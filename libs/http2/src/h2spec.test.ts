import { expect, test } from "@jest/globals";
import { listenEcho } from "./testing/echo-server.ts";
import { runH2spec } from "./testing/h2spec.ts";

test("h2spec: every test of generic, http2 and hpack passes", async () => {
  const server = await listenEcho({ concurrentStreamsMax: 100 });
  const report = await runH2spec(server.port);
  await server.drain(0);
  expect([report.failed, report.text.includes("×") ? report.text : ""]).toEqual([0, ""]);
  expect(report.passed).toBeGreaterThanOrEqual(145);
}, 300_000);
