/** Splits a command line into service settings (`--ranking.port=0`, `--ranking.port 0`, `--config f`) and the rest. */
export function splitSettings(args: readonly string[]): {
  readonly settings: readonly string[];
  readonly rest: readonly string[];
} {
  const settings: string[] = [];
  const rest: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const argument = args[index] ?? "";
    if (!/^--([a-z]+\.[a-z-]+|config)(=|$)/.test(argument)) {
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
