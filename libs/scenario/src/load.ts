import { existsSync } from "node:fs";
import { basename, dirname, join, resolve, sep } from "node:path";
import { pathToFileURL } from "node:url";
import type { Scenario } from "./definitions.ts";
import type { ScenarioFault } from "./fault.ts";
import { validateScenario } from "./validate.ts";

/** Everything that is wrong with a scenario, at once. */
export class ScenarioError extends Error {
  override readonly name = "ScenarioError";
  readonly faults: readonly ScenarioFault[];
  constructor(folder: string, faults: readonly ScenarioFault[]) {
    const lines = faults.map(({ file, line, message }) => `${file}:${line}: ${message}`);
    super(`${folder}: ${faults.length} ${faults.length === 1 ? "fault" : "faults"}\n${lines.join("\n")}`);
    this.faults = faults;
  }
}

// The runtime's own module system, not a test runner's: it alone loads TypeScript.
const moduleSystem = process.getBuiltinModule("node:module");
const requireFromHere = moduleSystem.createRequire(__filename);
const ownEntry = pathToFileURL(join(__dirname, "index.js")).href;
const scenarioFolders = new Set<string>();

/** Lets scenario files import "@weft/scenario" from wherever they lie, and be TypeScript without a package of their own. */
const installHooks = (() => {
  let installed = false;
  return () => {
    if (installed) return;
    installed = true;
    moduleSystem.registerHooks({
      resolve(specifier, context, next) {
        if (specifier === "@weft/scenario" && within(context.parentURL))
          return { url: ownEntry, format: "commonjs", shortCircuit: true };
        const found = next(specifier, context);
        return within(found.url) && found.url.endsWith(".ts") ? { ...found, format: "module-typescript" } : found;
      },
    });
  };
})();

function within(url: string | undefined): boolean {
  if (url === undefined) return false;
  for (const folder of scenarioFolders) if (url.startsWith(folder)) return true;
  return false;
}

/**
 * Loads a file of a scenario's folder, for example `scenario.ts` or `data.ts`, without a build, and answers its default
 * export. Throws ScenarioError with file and line where the file is missing or does not run.
 */
export function loadDefaultExport(path: string): unknown {
  const file = resolve(path);
  const folder = dirname(file);
  if (!existsSync(file)) throw new ScenarioError(folder, [{ file, line: 1, message: "no such file" }]);
  scenarioFolders.add(pathToFileURL(folder + sep).href);
  installHooks();
  let loaded: unknown;
  try {
    loaded = requireFromHere(file);
  } catch (error) {
    throw new ScenarioError(folder, [faultOf(error, file)]);
  }
  return typeof loaded === "object" && loaded !== null && "default" in loaded ? loaded.default : undefined;
}

/** Loads and checks the scenario of a folder: the default export of its `scenario.ts`. Throws ScenarioError with every fault. */
export function loadScenario(folder: string): Scenario {
  const file = join(resolve(folder), "scenario.ts");
  const loaded = loadDefaultExport(file);
  if (typeof loaded !== "object" || loaded === null || !("kind" in loaded) || loaded.kind !== "scenario")
    throw new ScenarioError(folder, [{ file, line: 1, message: "must export default defineScenario({ … })" }]);
  const scenario = loaded as Scenario;
  const faults = validateScenario(scenario);
  if (faults.length > 0) throw new ScenarioError(folder, faults);
  return scenario;
}

/** Where and why a file does not run: a syntax error names its own place, any other its first frame in the folder. */
function faultOf(error: unknown, file: string): ScenarioFault {
  if (!(error instanceof Error) && !(typeof error === "object" && error !== null && "message" in error))
    return { file, line: 1, message: String(error) };
  const { message, stack = "" } = error as Error;
  const folder = dirname(file);
  for (const match of stack.matchAll(/(?:file:\/\/)?(\/[^\s():]+\.ts):(\d+)/g)) {
    const [, path = "", line = "1"] = match;
    if (path.startsWith(folder + sep)) return { file: path, line: Number(line), message };
  }
  return { file, line: 1, message: `${basename(file)}: ${message}` };
}
