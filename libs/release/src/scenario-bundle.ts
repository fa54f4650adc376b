import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join, normalize, resolve } from "node:path/posix";
import type { FieldViolation } from "@weft/errors";
import { initSync, parse } from "es-module-lexer";
import { errors } from "./errors.ts";

/** The code of a scenario as it is stored: canonical JSON `{"files":{"<path>":"<text>"}}`. */
export interface ScenarioBundle {
  readonly bytes: Uint8Array;
  /** sha256 of the bytes: the `code_digest` of a release. */
  readonly digest: string;
  /** Paths in the bundle, relative to the scenario's folder, in code unit order. */
  readonly files: readonly string[];
}

/** Bounds of a bundle. */
export const bundleLimits = { filesMax: 256, bytesMax: 4_194_304, pathLengthMax: 200, depthMax: 8 } as const;

const entry = "scenario.ts";
const segment = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;

/**
 * Packs `scenario.ts` and all that it imports, directly or not. What it imports must be TypeScript or JSON of the folder,
 * or "@weft/scenario": a bundle runs anywhere, and equal code has an equal digest. Throws BUNDLE_INVALID with every fault
 * as `file:line`.
 */
export function packScenario(folder: string): ScenarioBundle {
  const root = resolve(folder);
  const texts = new Map<string, string>();
  const faults: FieldViolation[] = [];
  const waiting = [{ path: entry, from: `${entry}:1` }];
  let bytes = 0;
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { path, from } = next;
    if (texts.has(path)) continue;
    const text = readText(join(root, path));
    if (text === undefined) {
      faults.push({ field: from, description: `cannot read ${path}` });
      continue;
    }
    texts.set(path, text);
    bytes += Buffer.byteLength(text);
    if (texts.size > bundleLimits.filesMax || bytes > bundleLimits.bytesMax) {
      const description = `more than ${bundleLimits.filesMax} files or ${bundleLimits.bytesMax} bytes`;
      faults.push({ field: from, description });
      break;
    }
    if (path.endsWith(".ts")) waiting.push(...importsOf(path, text, faults));
  }
  if (faults.length > 0) throw invalid(faults);
  return bundleOf(texts);
}

/** The bundle of these texts by path. */
export function bundleOf(texts: ReadonlyMap<string, string>): ScenarioBundle {
  const files = [...texts.keys()].sort();
  const members = files.map((path) => `${JSON.stringify(path)}:${JSON.stringify(texts.get(path))}`);
  const bytes = Buffer.from(`{"files":{${members.join(",")}}}`);
  return { bytes, digest: createHash("sha256").update(bytes).digest("hex"), files };
}

/**
 * The texts of a bundle by path, each checked: relative, inside the folder, .ts or .json, bounded in number and size.
 * Throws BUNDLE_INVALID with every fault.
 */
export function unpackScenario(bytes: Uint8Array): ReadonlyMap<string, string> {
  const faults: FieldViolation[] = [];
  const texts = new Map<string, string>();
  for (const [path, text] of Object.entries(readFiles(bytes))) {
    const fault = pathFault(path);
    if (fault !== undefined) faults.push({ field: path, description: fault });
    else if (typeof text !== "string") faults.push({ field: path, description: "is not a text" });
    else texts.set(path, text);
  }
  if (!texts.has(entry)) faults.push({ field: entry, description: "is missing" });
  for (const path of texts.keys()) {
    for (let parent = dirname(path); parent !== "."; parent = dirname(parent)) {
      if (texts.has(parent)) faults.push({ field: path, description: `lies inside the file ${parent}` });
    }
  }
  if (faults.length > 0) throw invalid(faults);
  return texts;
}

function readFiles(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  const whole = (description: string) => invalid([{ field: "bundle", description }]);
  // JSON escapes make the bytes of a bundle larger than its texts, at most sixfold.
  if (bytes.length > bundleLimits.bytesMax * 6) throw whole("is too large");
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(bytes).toString());
  } catch {
    throw whole("is not JSON");
  }
  const files = isObject(parsed) ? parsed.files : undefined;
  if (!isObject(files)) throw whole('has no object "files"');
  if (Object.keys(files).length > bundleLimits.filesMax) throw whole(`has more than ${bundleLimits.filesMax} files`);
  return files;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What is wrong with a path of a bundle. */
function pathFault(path: string): string | undefined {
  const segments = path.split("/");
  if (path.length > bundleLimits.pathLengthMax || segments.length > bundleLimits.depthMax) return "is too long or deep";
  if (!segments.every((part) => segment.test(part))) {
    return "must be relative, without . and .. and hidden files, of letters, digits, _ - and .";
  }
  return path.endsWith(".ts") || path.endsWith(".json") ? undefined : "must end in .ts or .json";
}

function importsOf(path: string, text: string, faults: FieldViolation[]): { path: string; from: string }[] {
  initSync();
  const found: { path: string; from: string }[] = [];
  const fault = (offset: number, description: string) => {
    faults.push({ field: `${path}:${lineOf(text, offset)}`, description });
  };
  try {
    for (const { n: specifier, ss: offset, d: dynamic } of parse(text, path)[0]) {
      if (dynamic === -2 || specifier === "@weft/scenario") continue;
      if (specifier === undefined) fault(offset, "imports a path that is computed");
      else if (!specifier.startsWith("./") && !specifier.startsWith("../")) {
        fault(offset, `imports "${specifier}"; only @weft/scenario and files of the scenario's folder can be imported`);
      } else {
        const target = normalize(join(dirname(path), specifier));
        const wrong = pathFault(target);
        if (wrong === undefined) found.push({ path: target, from: `${path}:${lineOf(text, offset)}` });
        else fault(offset, `imports "${specifier}": the path ${wrong}`);
      }
    }
  } catch (error) {
    const offset = isObject(error) && typeof error.idx === "number" ? error.idx : 0;
    fault(offset, "cannot be read as TypeScript");
  }
  return found;
}

function lineOf(text: string, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function invalid(faults: readonly FieldViolation[]): Error {
  const text = faults.map(({ field, description }) => `${field} ${description}`).join("; ");
  return errors.BUNDLE_INVALID({ faults: text }, { violations: faults });
}
