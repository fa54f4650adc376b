import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { grpcurlPath } from "./grpcurl.ts";
import { execute, makeCertificate } from "./interop/programs.ts";
import { removeState, root, startWeft, type Weft } from "./weft.ts";

let folder = "";
let grpcurl = "";
let weft: Weft;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "weft-tls-mesh-"));
  const { key, cert } = await makeCertificate(folder);
  grpcurl = await grpcurlPath();
  const tls = [`--tls.cert-file=${cert}`, `--tls.key-file=${key}`, `--tls.ca-file=${cert}`];
  weft = await startWeft([join(root, "examples", "fraud")], ["--mesh", ...tls, "--tls.require-client-certificates"]);
}, 300_000);
afterAll(async () => {
  await weft?.stop();
  if (weft !== undefined) removeState(weft);
  rmSync(folder, { recursive: true, force: true });
});

test("a mesh over mutual TLS answers, and tells how it is called", async () => {
  expect(weft.output.results.length).toBeGreaterThan(0);
  for (const lines of weft.output.paste) {
    const { stdout } = await execute("bash", ["-c", lines.grpcurl.replace(/^grpcurl/, grpcurl)]);
    expect(JSON.parse(stdout)).toHaveProperty("decision");
    const edge = await execute("bash", ["-c", lines.curl]);
    expect(JSON.parse(edge.stdout)).toHaveProperty("decision");
  }
}, 60_000);

test("whoever shows no certificate is refused by every service, and probes are answered in the clear", async () => {
  const list = (port: number, security: string) =>
    execute(grpcurl, [security, "-connect-timeout", "2", `127.0.0.1:${port}`, "list"]).then(
      () => "answered",
      () => "refused",
    );
  const answers = await Promise.all(
    Object.values(weft.output.addresses).map(async ({ port, metricsPort }) => [
      await list(port, "-plaintext"),
      await list(port, "-insecure"),
      (await fetch(`http://127.0.0.1:${metricsPort}/readyz`)).status,
    ]),
  );
  expect(answers).toEqual(new Array(6).fill(["refused", "refused", 200]));
}, 60_000);
