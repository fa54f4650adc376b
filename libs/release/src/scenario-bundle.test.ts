import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "@jest/globals";
import { isWeftError } from "@weft/errors";
import { packScenario, unpackScenario } from "./scenario-bundle.ts";
import { scenarioFiles } from "./testing.ts";

const root = mkdtempSync(join(tmpdir(), "weft-bundle-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;

function folderOf(files: Iterable<readonly [string, string]>): string {
  const folder = join(root, String(folders++));
  for (const [path, text] of files) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

function faultsOf(run: () => unknown): string[] {
  try {
    run();
  } catch (error) {
    if (isWeftError(error)) return error.violations.map(({ field, description }) => `${field} ${description}`);
    throw error;
  }
  return [];
}

describe("packScenario", () => {
  test("takes what scenario.ts imports, and nothing else, wherever the folder lies", () => {
    const files = scenarioFiles("fraud");
    const extra = [
      ["data.ts", 'import { readFile } from "node:fs";'],
      ["notes.md", "no"],
    ] as const;
    const packed = packScenario(folderOf([...files, ...extra]));
    expect(packed.files).toEqual(["parts/entities.ts", "scenario.ts", "settings.ts"]);
    expect(unpackScenario(packed.bytes)).toEqual(new Map([...files].sort()));
    expect(packScenario(folderOf([...files].reverse())).digest).toBe(packed.digest);
    expect(packScenario(folderOf(scenarioFiles("fraud", 0.6))).digest).not.toBe(packed.digest);
    expect(Buffer.from(packed.bytes).toString()).toMatch(/^\{"files":\{"parts\/entities.ts":"/);
  });

  test("follows types, re-exports, JSON, lists that turn in a circle, and imports made while running", () => {
    const folder = folderOf([
      [
        "scenario.ts",
        'import type { A } from "./types.ts";\nexport * from "./more.ts";\nimport j from "./j.json" with { type: "json" };\nconst late = import("./late.ts");\n// import "./comment.ts";\nconst text = `import "./text.ts"`;\n',
      ],
      ["types.ts", "export type A = 1;"],
      ["more.ts", 'import "./scenario.ts";'],
      ["late.ts", "export {};"],
      ["j.json", "{}"],
    ]);
    expect(packScenario(folder).files).toEqual(["j.json", "late.ts", "more.ts", "scenario.ts", "types.ts"]);
  });

  test("names every fault with file and line", () => {
    const folder = folderOf([
      [
        "scenario.ts",
        '\nimport { readFileSync } from "node:fs";\nimport "../outside.ts";\nimport "./gone.ts";\nimport "./broken.ts";\nimport lodash from "lodash";\nconst x = import(lodash);\nimport "./file.js";\nimport "/etc/passwd";\n',
      ],
      ["broken.ts", "export const a = 1;\nimport { from '\n"],
    ]);
    expect(faultsOf(() => packScenario(folder)).sort()).toEqual([
      "broken.ts:3 cannot be read as TypeScript",
      'scenario.ts:2 imports "node:fs"; only @weft/scenario and files of the scenario\'s folder can be imported',
      'scenario.ts:3 imports "../outside.ts": the path must be relative, without . and .. and hidden files, of letters, digits, _ - and .',
      "scenario.ts:4 cannot read gone.ts",
      'scenario.ts:6 imports "lodash"; only @weft/scenario and files of the scenario\'s folder can be imported',
      "scenario.ts:7 imports a path that is computed",
      'scenario.ts:8 imports "./file.js": the path must end in .ts or .json',
      'scenario.ts:9 imports "/etc/passwd"; only @weft/scenario and files of the scenario\'s folder can be imported',
    ]);
    expect(faultsOf(() => packScenario(join(root, "none")))).toEqual(["scenario.ts:1 cannot read scenario.ts"]);
  });

  test("bounds the number of files and their size", () => {
    const many = Array.from({ length: 260 }, (_, index) => [`f${index}.ts`, `import "./f${index + 1}.ts";`] as const);
    expect(faultsOf(() => packScenario(folderOf([["scenario.ts", 'import "./f0.ts";'], ...many])))[0]).toMatch(
      /256 files/,
    );
    const large = `export const x = "${"x".repeat(4_200_000)}";`;
    expect(faultsOf(() => packScenario(folderOf([["scenario.ts", large]])))[0]).toMatch(/4194304 bytes/);
  });
});

describe("unpackScenario", () => {
  const unpack = (value: unknown) => faultsOf(() => unpackScenario(Buffer.from(JSON.stringify(value))));

  test("refuses paths that leave the folder or are not code", () => {
    for (const path of [
      "../a.ts",
      "/a.ts",
      "a/../../b.ts",
      "./a.ts",
      "a//b.ts",
      "a\\b.ts",
      ".hidden.ts",
      "a\u0000.ts",
      "c:a.ts",
      "a.js",
      "a.ts/",
      "package.json/../../a.ts",
      `${"a/".repeat(9)}b.ts`,
      `${"a".repeat(300)}.ts`,
      "",
    ]) {
      expect(unpack({ files: { "scenario.ts": "", [path]: "" } })).toHaveLength(1);
    }
    expect(unpack({ files: { "scenario.ts": "", "a.ts": "", "a.ts/b.ts": "" } })).toEqual([
      "a.ts/b.ts lies inside the file a.ts",
    ]);
    expect(unpack({ files: { "scenario.ts": 1, "__proto__.ts": "" } })).toEqual([
      "scenario.ts is not a text",
      "scenario.ts is missing",
    ]);
  });

  test("refuses what is no bundle", () => {
    for (const value of [null, [], {}, { files: [] }, { files: {} }, "text"]) expect(unpack(value)).toHaveLength(1);
    expect(faultsOf(() => unpackScenario(Buffer.from("{")))).toEqual(["bundle is not JSON"]);
    const many = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`f${index}.ts`, ""]));
    expect(unpack({ files: many })).toEqual(["bundle has more than 256 files"]);
  });
});
