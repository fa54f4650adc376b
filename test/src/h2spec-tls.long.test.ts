import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { listenEcho, runH2spec } from "@weft/http2/testing";
import { makeCertificate } from "./interop/programs.ts";

test("h2spec over TLS: every test of generic, http2 and hpack passes", async () => {
  const folder = mkdtempSync(join(tmpdir(), "weft-h2spec-"));
  const { key, cert } = await makeCertificate(folder);
  const server = await listenEcho({ concurrentStreamsMax: 100 }, { key: readFileSync(key), cert: readFileSync(cert) });
  const report = await runH2spec(server.port, ["-t", "-k"]);
  await server.drain(0);
  rmSync(folder, { recursive: true });
  expect([report.failed, report.text.includes("×") ? report.text : ""]).toEqual([0, ""]);
  expect(report.passed).toBeGreaterThanOrEqual(145);
}, 300_000);
