import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { pythonEnvironment } from "@weft/local-servers";
import { execute } from "./programs.ts";

const root = join(__dirname, "..", "..", "..");
const program = join(root, "test", "src", "interop", "grpcio_peer.py");
const requirements = ["--no-deps", "grpcio==1.85.1", "protobuf==7.36.2", "typing_extensions==4.15.0"];

/** Interpreter with grpcio, which this project did not write. */
export function grpcioPython(): Promise<string> {
  return pythonEnvironment("grpcio-1.85.1", requirements);
}

/** Writes the descriptors of the test service, which grpcio's side reads its messages from. */
export async function writeDescriptors(folder: string): Promise<string> {
  const file = join(folder, "interop.binpb");
  const buf = join(root, "node_modules", ".bin", "buf");
  await execute(buf, ["build", join(root, "test", "src", "interop"), "--as-file-descriptor-set", "-o", file]);
  return file;
}

/** Runs every case of grpcio's client; answers what it said of each. */
export async function runGrpcioClient(
  descriptors: string,
  target: string,
  caFile: string | undefined,
): Promise<ReadonlyMap<string, string>> {
  const args = [program, "client", descriptors, target, ...(caFile === undefined ? [] : [caFile])];
  const { stdout } = await execute(await grpcioPython(), args, { timeout: 120_000 });
  return new Map(
    stdout
      .trim()
      .split("\n")
      .map((line) => {
        const [name = "", ...rest] = line.split(" ");
        return [name, rest.join(" ")];
      }),
  );
}

/** Starts grpcio's server; answers its port and how to stop it. */
export async function startGrpcioServer(
  descriptors: string,
  tls: { readonly key: string; readonly cert: string } | undefined,
): Promise<{ readonly port: number; stop(): Promise<void> }> {
  const args = [program, "server", descriptors, ...(tls === undefined ? [] : [tls.key, tls.cert])];
  const child = spawn(await grpcioPython(), args, { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(child.stdout, "data");
  return {
    port: Number(String(line)),
    async stop() {
      const exit = once(child, "exit");
      child.kill("SIGTERM");
      await exit;
    },
  };
}
