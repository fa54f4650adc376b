import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, test } from "@jest/globals";
import { connectWeft, type Listener, listenWeft, type Transport } from "@weft/rpc";
import { clientCases, interopCases } from "./interop/cases.ts";
import { execute, interopPath, makeCertificate, startInteropServer } from "./interop/programs.ts";
import { createTestRouter } from "./interop/test-service.ts";

let folder = "";
let certificate = { key: "", cert: "" };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "weft-interop-"));
  certificate = await makeCertificate(folder);
  await Promise.all([interopPath("client"), interopPath("server")]);
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each([false, true])("over TLS: %s", (tls) => {
  describe("grpc-go's client, our server", () => {
    let listener: Listener | undefined;
    beforeAll(async () => {
      listener = await listenWeft(createTestRouter(), {
        host: "127.0.0.1",
        port: 0,
        messageBytesMax: 4_194_304,
        concurrentStreamsMax: 100,
        ...(tls ? { tls: { key: readFileSync(certificate.key), cert: readFileSync(certificate.cert) } } : {}),
      });
    });
    afterAll(() => listener?.drain(100));

    test.each(interopCases)("%s", async (name) => {
      const secure = tls
        ? ["-use_tls", "-use_test_ca", "-ca_file", certificate.cert, "-server_host_override", "localhost"]
        : [];
      await execute(
        await interopPath("client"),
        ["-server_host", "127.0.0.1", "-server_port", String(listener?.port), "-test_case", name, ...secure],
        { timeout: 30_000 },
      );
    });
  });

  describe("our client, grpc-go's server", () => {
    let server: Awaited<ReturnType<typeof startInteropServer>> | undefined;
    let transport: Transport | undefined;
    let work: ReturnType<typeof clientCases>;
    beforeAll(async () => {
      server = await startInteropServer(
        tls ? ["-use_tls", "-tls_cert_file", certificate.cert, "-tls_key_file", certificate.key] : [],
      );
      transport = connectWeft(`localhost:${server.port}`, {
        messageBytesMax: 4_194_304,
        ...(tls ? { tls: { ca: readFileSync(certificate.cert) } } : {}),
      });
      work = clientCases(transport);
    });
    afterAll(async () => {
      await transport?.close();
      await server?.stop();
    });

    test.each(interopCases)("%s", (name) => work[name]());
  });
});
