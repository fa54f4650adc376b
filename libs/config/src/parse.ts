import type { ConfigSchema, SettingShape, SettingsOf } from "./schema.ts";

/** Where settings come from, strongest first: flags, environment, file, defaults. */
export interface ConfigInput {
  /** Command line without the program, for example ["--ranking.port", "7003"]. */
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Parsed JSON of the configuration file: `{ "ranking": { "port": 7003 } }`. */
  readonly file?: { readonly path: string; readonly content: unknown };
}

/** One thing that is wrong, and where it came from. */
export interface ConfigFault {
  /** "flag --ranking.port", "WEFT_RANKING_PORT" or "weft.json: ranking.port". */
  readonly origin: string;
  readonly fault: string;
}

/** All faults of a configuration at once. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly faults: readonly ConfigFault[];
  constructor(faults: readonly ConfigFault[]) {
    super(faults.map(({ origin, fault }) => `${origin}: ${fault}`).join("\n"));
    this.faults = faults;
  }
}

const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** The flag of a setting, for example "--ranking.queue-delay-ms". */
export function flagName(schema: string, setting: string): string {
  return `--${schema}.${kebab(setting)}`;
}

/** The environment variable of a setting, for example "WEFT_RANKING_QUEUE_DELAY_MS". */
export function environmentName(schema: string, setting: string): string {
  return `WEFT_${schema}_${setting.replace(/[A-Z]/g, (letter) => `_${letter}`)}`.toUpperCase();
}

/**
 * Parses several schemas at once. `positional` are the arguments that are no flags. Unknown flags, variables of a schema
 * and keys of the file are faults; all faults are thrown together as a ConfigError.
 */
export function parseConfig<const C extends readonly ConfigSchema[]>(
  schemas: C,
  input: ConfigInput,
): { readonly settings: { readonly [K in keyof C]: SettingsOf<C[K]> }; readonly positional: readonly string[] } {
  const faults: ConfigFault[] = [];
  const { flags, positional } = readFlags(schemas, input.arguments, faults);
  const file = readFile(schemas, input.file, faults);
  reportUnknownVariables(schemas, input.environment, faults);
  const settings = schemas.map((schema) => {
    const values: Record<string, unknown> = {};
    for (const [name, setting] of Object.entries(schema.settings)) {
      const flag = flagName(schema.name, name);
      const variable = environmentName(schema.name, name);
      const fromEnvironment = input.environment[variable];
      const fromFile = file.get(`${schema.name}.${name}`);
      const given: { origin: string; value: unknown } | undefined = flags.has(flag)
        ? { origin: `flag ${flag}`, value: flags.get(flag) }
        : fromEnvironment !== undefined
          ? { origin: variable, value: fromEnvironment }
          : fromFile !== undefined
            ? { origin: `${input.file?.path}: ${schema.name}.${name}`, value: fromFile }
            : undefined;
      if (given === undefined) {
        values[name] = setting.default;
        continue;
      }
      const result = setting.read(given.value);
      if ("fault" in result) faults.push({ origin: given.origin, fault: result.fault });
      else values[name] = result.value;
    }
    return Object.freeze(values);
  });
  if (faults.length > 0) throw new ConfigError(faults);
  return { settings: settings as { [K in keyof C]: SettingsOf<C[K]> }, positional };
}

function readFlags(schemas: readonly ConfigSchema[], args: readonly string[], faults: ConfigFault[]) {
  const known = new Map<string, boolean>();
  for (const schema of schemas)
    for (const [name, setting] of Object.entries(schema.settings))
      known.set(flagName(schema.name, name), setting.kind === "flag");
  const flags = new Map<string, string>();
  const positional: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const argument = args[index] ?? "";
    if (!argument.startsWith("--")) {
      positional.push(argument);
      continue;
    }
    const equals = argument.indexOf("=");
    const name = equals === -1 ? argument : argument.slice(0, equals);
    const isFlag = known.get(name);
    if (isFlag === undefined) {
      faults.push({ origin: `flag ${name}`, fault: "no such setting" });
      continue;
    }
    if (equals !== -1) flags.set(name, argument.slice(equals + 1));
    else if (isFlag) flags.set(name, "true");
    else if (index + 1 < args.length) flags.set(name, args[++index] ?? "");
    else faults.push({ origin: `flag ${name}`, fault: "needs a value" });
  }
  return { flags, positional };
}

function readFile(schemas: readonly ConfigSchema[], file: ConfigInput["file"], faults: ConfigFault[]) {
  const values = new Map<string, unknown>();
  if (file === undefined) return values;
  if (typeof file.content !== "object" || file.content === null || Array.isArray(file.content)) {
    faults.push({ origin: file.path, fault: "must hold one JSON object" });
    return values;
  }
  for (const [section, content] of Object.entries(file.content)) {
    const schema = schemas.find((candidate) => candidate.name === section);
    if (schema === undefined || typeof content !== "object" || content === null) {
      faults.push({
        origin: `${file.path}: ${section}`,
        fault: schema === undefined ? "no such section" : "must be an object",
      });
      continue;
    }
    for (const [name, value] of Object.entries(content)) {
      if (name in schema.settings) values.set(`${section}.${name}`, value);
      else faults.push({ origin: `${file.path}: ${section}.${name}`, fault: "no such setting" });
    }
  }
  return values;
}

function reportUnknownVariables(
  schemas: readonly ConfigSchema[],
  environment: ConfigInput["environment"],
  faults: ConfigFault[],
) {
  for (const schema of schemas) {
    const prefix = `WEFT_${schema.name.toUpperCase()}_`;
    const known = new Set(Object.keys(schema.settings).map((name) => environmentName(schema.name, name)));
    for (const variable of Object.keys(environment)) {
      if (variable.startsWith(prefix) && !known.has(variable))
        faults.push({ origin: variable, fault: "no such setting" });
    }
  }
}

/** Help for schemas: one line a setting with flag, variable, range, default and doc. */
export function describeConfig(schemas: readonly ConfigSchema[]): string {
  const lines: string[] = [];
  for (const schema of schemas) {
    for (const [name, setting] of Object.entries(schema.settings)) {
      const fallback = setting.kind === "secret" ? "<unset>" : String(setting.default);
      lines.push(`  ${flagName(schema.name, name)}  (${environmentName(schema.name, name)})`);
      lines.push(`      ${setting.doc} ${setting.range}; default ${fallback}`);
    }
  }
  return lines.join("\n");
}

/** The settings for a person to read: secrets print as `<set>` or `<unset>`. */
export function redactSettings<S extends SettingShape>(
  schema: ConfigSchema<S>,
  settings: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(schema.settings).map(([name, setting]) => [
      name,
      setting.kind === "secret" ? (settings[name] === "" ? "<unset>" : "<set>") : settings[name],
    ]),
  );
}
