import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";

const root = join(__dirname, "..", "..");
const files = execFileSync("git", ["ls-files", "*.ts", "*.mjs", "*.cjs", "*.js"], { cwd: root, encoding: "utf8" })
  .trim()
  .split("\n");
const sources = files.filter((file) => file.endsWith(".ts") && !file.includes("/gen/"));
const text = (file: string) => readFileSync(join(root, file), "utf8");

/** Files that match, as "file:line". */
function places(among: readonly string[], pattern: RegExp): string[] {
  return among.flatMap((file) =>
    text(file)
      .split("\n")
      .flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1}`] : [])),
  );
}

/** Test code: suites, what they share, and programs that tests and benches start. */
const support =
  /\.(test|contract|crash)\.ts$|-fixture\.ts$|\/(testing|bench)\/|(crash-writer|append-until-killed)\.ts$/;
const product = sources.filter((file) => /^(libs|services|cli)\//.test(file) && !support.test(file));
const domain = product.filter((file) => file.includes("/domain/"));

describe("the code keeps to its rules", () => {
  test("the environment is read in one file", () => {
    expect(places(product, /process\.env\b/)).toEqual(places(["libs/config/src/environment.ts"], /process\.env\b/));
  });

  test("a service never imports a service", () => {
    const services = product.filter((file) => file.startsWith("services/"));
    expect(places(services, /from "@weft\/(gateway|feature|retrieval|ranking|registry|monitoring)"/)).toEqual([]);
  });

  test("domain code does no I/O and reads no clock", () => {
    expect(places(domain, /from "node:(fs|net|http|child_process|sqlite|worker_threads|os)/)).toEqual([]);
    expect(places(domain, /\b(Date\.now\(|performance\.now\(|Math\.random\(|setTimeout\(|setInterval\()/)).toEqual([]);
    expect(places(domain, /from "(\.\.\/)+adapters\//)).toEqual([]);
  });

  test("nothing above libs/rpc names a wire library", () => {
    const above = product.filter((file) => !file.startsWith("libs/rpc/") && !file.startsWith("cli/src/bench/"));
    expect(places(above, /from "(@grpc\/|@connectrpc\/)/)).toEqual([]);
  });

  test("nothing about films or cards outside the scenarios", () => {
    const services = product.filter((file) => file.startsWith("services/"));
    expect(places(services, /\b(movie|film|MovieLens|fraud|chargeback)\b/i)).toEqual([]);
  });

  test("no unchecked types, no mocks of modules", () => {
    expect(places(sources, /\bas any\b|: any[;,)= \]]*$|: any[;,)=]|@ts-ignore|@ts-expect-error/)).toEqual(
      places(["test/src/tidy.test.ts"], /@ts-ignore/),
    );
    expect(
      places(
        sources.filter((file) => file !== "test/src/tidy.test.ts"),
        /jest\.mock\(/,
      ),
    ).toEqual([]);
  });

  test("no names that say nothing", () => {
    expect(product.filter((file) => /\/(utils|common|helpers|misc)(\.ts|\/)/.test(file))).toEqual([]);
  });

  test("lint and format", () => {
    const run = () =>
      execFileSync(join(root, "node_modules", ".bin", "biome"), ["check", "--diagnostic-level=warn", "."], {
        cwd: root,
        encoding: "utf8",
        stdio: "pipe",
      });
    let output = "";
    try {
      run();
    } catch (error) {
      output = String((error as { stdout?: string }).stdout) + String((error as { stderr?: string }).stderr);
    }
    expect(output).toBe("");
  });
});
