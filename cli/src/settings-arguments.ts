/** Splits a command line into service settings (`--ranking.port=0`, `--ranking.port 0`, `--config f`) and the rest. */
export function splitSettings(args: readonly string[]): {
  readonly settings: readonly string[];
  readonly rest: readonly string[];
} {
  const settings: string[] = [];
  const rest: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const argument = args[index] ?? "";
    if (!/^--([a-z0-9]+\.[a-z0-9-]+|config)(=|$)/.test(argument)) {
      rest.push(argument);
      continue;
    }
    settings.push(argument);
    const value = args[index + 1];
    if (!argument.includes("=") && value !== undefined && !value.startsWith("--")) {
      settings.push(value);
      index++;
    }
  }
  return { settings, rest };
}

/** The settings of some schemas, with their values; `config` stands for the configuration file. */
export function selectSettings(settings: readonly string[], schemas: readonly string[]): readonly string[] {
  const selected: string[] = [];
  let isWanted = false;
  for (const argument of settings) {
    if (argument.startsWith("--")) isWanted = schemas.includes(argument.slice(2).split(/[.=]/, 1)[0] ?? "");
    if (isWanted) selected.push(argument);
  }
  return selected;
}
