import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { cacheDirectory } from "./cache-directory.ts";
import { runCommand } from "./command.ts";
import { installOnce } from "./install-once.ts";

/** A program of a Debian package, unpacked into the cache. */
export interface AptPackage {
  /** Folder that holds the package's files as they would lie under `/`. */
  readonly folder: string;
  /** What its programs must find in their environment. */
  readonly env: Readonly<Record<string, string>>;
}

/**
 * Unpacks a Debian package, and what it needs that this machine has not installed, into the cache: nothing is installed
 * system-wide, no service starts, and no rights are needed.
 */
export async function aptPackage(name: string): Promise<AptPackage> {
  const folder = await installOnce(`apt/${name}`, async (target) => {
    const state = join(target, "apt");
    for (const part of ["lists/partial", "cache/archives/partial", "packages"])
      mkdirSync(join(state, part), { recursive: true });
    // Lists of its own, as those of the system may be old or missing.
    const options = [
      `Dir::State::Lists=${join(state, "lists")}`,
      `Dir::Cache=${join(state, "cache")}`,
      "APT::Sandbox::User=root",
    ].flatMap((option) => ["-o", option]);
    await runCommand("apt-get", ["update", "-qq", ...options]);
    const plan = await runCommand("apt-get", ["install", "--simulate", "--no-install-recommends", ...options, name]);
    const missing = [...plan.matchAll(/^Inst (\S+)/gm)].map(([, dependency = ""]) => dependency);
    const packages = join(state, "packages");
    await runCommand("apt-get", ["download", "-qq", ...options, ...new Set([name, ...missing])], { cwd: packages });
    for (const file of readdirSync(packages)) await runCommand("dpkg-deb", ["-x", join(packages, file), target]);
    rmSync(state, { recursive: true });
  });
  const libraries = join(folder, "usr", "lib");
  const paths = existsSync(libraries) ? readdirSync(libraries).filter((entry) => entry.endsWith("-linux-gnu")) : [];
  return { folder, env: { LD_LIBRARY_PATH: paths.map((entry) => join(libraries, entry)).join(":") } };
}

/** Folder with the jars of a Maven artifact (`group:artifact:version`) and of all that it needs. */
export function mavenJars(artifact: string): Promise<string> {
  const [group = "", name = "", version = ""] = artifact.split(":");
  return installOnce(`maven/${name}-${version}`, async (folder) => {
    const dependency = `<dependency><groupId>${group}</groupId><artifactId>${name}</artifactId><version>${version}</version></dependency>`;
    const pom = join(folder, "pom.xml");
    writeFileSync(
      pom,
      `<project><modelVersion>4.0.0</modelVersion><groupId>weft</groupId><artifactId>jars</artifactId><version>1</version><dependencies>${dependency}</dependencies></project>`,
    );
    await runCommand("mvn", ["-q", "-B", "-f", pom, "dependency:copy-dependencies", `-DoutputDirectory=${folder}`]);
  });
}

/** Python interpreter of a virtual environment with pinned requirements; `name` should hold the main one's version. */
export async function pythonEnvironment(name: string, requirements: readonly string[]): Promise<string> {
  const folder = await installOnce(`python/${name}`, async (target) => {
    await runCommand("python3", ["-m", "venv", target]);
    const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    await runCommand(join(target, "bin", "python"), [...pip, ...requirements]);
  });
  return join(folder, "bin", "python");
}

/** A program of a Go module, at a version. */
export interface GoTool {
  /** For example "github.com/bojand/ghz/cmd/ghz". */
  readonly module: string;
  readonly version: string;
}

function goFolder({ module, version }: GoTool): string {
  return join("go", `${module.replaceAll("/", "-")}@${version}`);
}

/** Path of a Go program, built on first use. */
export async function goTool(tool: GoTool): Promise<string> {
  const folder = await installOnce(goFolder(tool), async (target) => {
    await runCommand("go", ["install", `${tool.module}@${tool.version}`], { env: { GOBIN: target } });
  });
  return join(folder, basename(tool.module));
}

/** True where a Go program has been built. */
export function hasGoTool(tool: GoTool): boolean {
  return existsSync(join(cacheDirectory(), goFolder(tool), ".installed"));
}
