import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "@jest/globals";
import { goTool } from "@weft/local-servers";
import { listenEcho } from "./testing/echo-server.ts";

const execute = promisify(execFile);

/** A conformance suite that this project did not write. */
const h2spec = { module: "github.com/summerwind/h2spec/cmd/h2spec", version: "v2.2.1+incompatible" };

test("h2spec: every test of generic, http2 and hpack passes", async () => {
  const path = await goTool(h2spec);
  const server = await listenEcho({ concurrentStreamsMax: 100 });
  let report = "";
  try {
    const args = ["-h", "127.0.0.1", "-p", String(server.port), "-o", "2"];
    report = (await execute(path, args, { maxBuffer: 16 * 1024 * 1024 })).stdout;
  } catch (error) {
    report = String((error as { stdout?: string }).stdout);
  }
  await server.drain(0);
  const summary = /(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed/.exec(report);
  expect([summary?.[0], summary?.[4], report.includes("×") ? report : ""]).toEqual([summary?.[0], "0", ""]);
  expect(Number(summary?.[2])).toBeGreaterThanOrEqual(145);
}, 300_000);
