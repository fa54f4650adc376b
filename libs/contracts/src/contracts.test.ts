import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { gateway, ownerOf, serviceNames } from "./index.ts";

const root = join(__dirname, "..", "..", "..");
const bin = join(root, "node_modules", ".bin");

function buf(...args: string[]): string {
  try {
    return execFileSync(join(bin, "buf"), args, {
      cwd: root,
      encoding: "utf8",
      env: { PATH: `${bin}:/usr/bin:/bin`, HOME: tmpdir() },
      stdio: "pipe",
    });
  } catch (error) {
    return String((error as { stdout?: string }).stdout) + String((error as { stderr?: string }).stderr);
  }
}

function filesUnder(folder: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [path.slice(folder.length + 1), readFileSync(path, "utf8")]),
  );
}

describe("contracts", () => {
  test("pass buf lint", () => expect(buf("lint")).toBe(""));

  test("break nothing of the committed baseline", () =>
    expect(buf("breaking", "--against", "proto/baseline.binpb")).toBe(""));

  test("are what the committed code was generated from", () => {
    const out = mkdtempSync(join(tmpdir(), "weft-gen-"));
    expect(buf("generate", "--output", out)).toBe("");
    expect(filesUnder(join(out, "libs", "contracts", "src", "gen"))).toEqual(
      filesUnder(join(root, "libs", "contracts", "src", "gen")),
    );
    rmSync(out, { recursive: true });
  });

  test("every service owns what it answers", () => {
    expect(ownerOf(gateway.GatewayService.typeName)).toBe("gateway");
    expect(ownerOf("inference.GRPCInferenceService")).toBe("ranking");
    expect(ownerOf("feast.serving.ServingService")).toBe("feature");
    expect(serviceNames.map((name) => ownerOf(`weft.${name}.v1.X`))).toEqual([...serviceNames]);
    expect(() => ownerOf("grpc.health.v1.Health")).toThrow(TypeError);
  });
});
