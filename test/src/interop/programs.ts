import { type ChildProcess, execFile, spawn } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { freePort, goTool, isListening } from "@weft/local-servers";

export const execute = promisify(execFile);

/** Version of grpc-go whose interop programs are used. */
const version = "v1.76.0";

/** Path of an interop program of grpc-go, which this project did not write; built once into the cache. */
export function interopPath(role: "client" | "server"): Promise<string> {
  return goTool({ module: `google.golang.org/grpc/interop/${role}`, version });
}

/** A key and a certificate for 127.0.0.1 and localhost, in a folder. */
export async function makeCertificate(folder: string): Promise<{ readonly key: string; readonly cert: string }> {
  const key = join(folder, "key.pem");
  const cert = join(folder, "cert.pem");
  const request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
  const extensions = [
    "subjectAltName=DNS:localhost,IP:127.0.0.1",
    "basicConstraints=critical,CA:TRUE",
    "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign",
  ].flatMap((extension) => ["-addext", extension]);
  await execute("openssl", [...request, ...extensions, "-keyout", key, "-out", cert]);
  return { key, cert };
}

/** Starts grpc-go's interop server; answers its port and how to stop it. */
export async function startInteropServer(args: readonly string[]): Promise<{ port: number; stop(): Promise<void> }> {
  const path = await interopPath("server");
  const port = await freePort();
  const child = spawn(path, ["-port", String(port), ...args], { stdio: "ignore" });
  await reachable(port, child);
  return {
    port,
    stop: () =>
      new Promise((resolve) => {
        child.once("exit", () => resolve());
        child.kill("SIGKILL");
      }),
  };
}

async function reachable(port: number, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}`);
    if (await isListening(port)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("the server does not listen");
}
