import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { installOnce, runCommand } from "@weft/local-servers";

const sources = join(__dirname, "..", "..", "..", "loadtest", "peers", "grpc-go");
const files = ["go.mod", "go.sum", "main.go"] as const;

/** Program of the health server on grpc-go, built into the cache on first use; undefined where Go is not installed. */
export async function grpcGoPeer(): Promise<string | undefined> {
  const hash = createHash("sha256");
  for (const file of files) hash.update(readFileSync(join(sources, file)));
  const folder = `go/hop-peer-${hash.digest("hex").slice(0, 12)}`;
  try {
    await promisify(execFile)("go", ["version"]);
  } catch {
    return undefined;
  }
  const installed = await installOnce(folder, async (target) => {
    for (const file of files) copyFileSync(join(sources, file), join(target, file));
    await runCommand("go", ["build", "-o", join(target, "peer"), "."], { cwd: target });
  });
  return join(installed, "peer");
}

/** Files of a key and of a certificate for 127.0.0.1 in a folder, made by openssl where they are not there yet. */
export async function makeCertificate(folder: string): Promise<{ readonly key: string; readonly cert: string }> {
  const key = join(folder, "key.pem");
  const cert = join(folder, "cert.pem");
  if (existsSync(cert)) return { key, cert };
  const request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
  const names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  await runCommand("openssl", [...request, ...names, "-keyout", key, "-out", cert]);
  return { key, cert };
}
