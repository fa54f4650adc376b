/** One setting: how its text is read, its bounds and what it is for. */
export interface Setting<T> {
  readonly kind: "integer" | "number" | "text" | "flag" | "choice" | "secret";
  readonly default: T | undefined;
  /** What it does, with unit and meaning of the bounds. */
  readonly doc: string;
  /** Range or values, as help shows it. */
  readonly range: string;
  /** Reads a text or a JSON value; answers the value, or why it is refused. */
  readonly read: (input: unknown) => { readonly value: T } | { readonly fault: string };
}

/** The settings of one service by name. */
export type SettingShape = Readonly<Record<string, Setting<unknown>>>;

/** A schema: types, environment names, flags, help and validation come from it. */
export interface ConfigSchema<S extends SettingShape = SettingShape> {
  /** Prefix of its environment variables and key in the file, for example "ranking". */
  readonly name: string;
  readonly settings: S;
}

/** The parsed settings of a schema. */
export type SettingsOf<C> =
  C extends ConfigSchema<infer S> ? { readonly [K in keyof S]: S[K] extends Setting<infer T> ? T : never } : never;

/** Declares the settings of a service. */
export function defineConfig<S extends SettingShape>(name: string, settings: S): ConfigSchema<S> {
  return { name, settings };
}

function numeric(input: unknown): number {
  if (typeof input === "number") return input;
  return typeof input === "string" && input.trim() !== "" ? Number(input) : Number.NaN;
}

interface Bounds {
  readonly default: number;
  readonly min: number;
  readonly max: number;
  readonly doc: string;
}

/** A whole number between min and max, both inclusive. */
export function integer(bounds: Bounds): Setting<number> {
  const range = `${bounds.min} to ${bounds.max}`;
  return {
    kind: "integer",
    default: bounds.default,
    doc: bounds.doc,
    range,
    read(input) {
      const value = numeric(input);
      if (!Number.isInteger(value)) return { fault: `must be a whole number, ${range}` };
      return value < bounds.min || value > bounds.max ? { fault: `must be ${range}` } : { value };
    },
  };
}

/** A number between min and max, both inclusive. */
export function number(bounds: Bounds): Setting<number> {
  const range = `${bounds.min} to ${bounds.max}`;
  return {
    kind: "number",
    default: bounds.default,
    doc: bounds.doc,
    range,
    read(input) {
      const value = numeric(input);
      if (!Number.isFinite(value)) return { fault: `must be a number, ${range}` };
      return value < bounds.min || value > bounds.max ? { fault: `must be ${range}` } : { value };
    },
  };
}

/** A text of at most 4,096 characters. `check` answers what is wrong with one, if anything. */
export function text(options: {
  readonly default: string;
  readonly doc: string;
  readonly check?: (value: string) => string | undefined;
}): Setting<string> {
  return {
    kind: "text",
    default: options.default,
    doc: options.doc,
    range: "text",
    read(input) {
      if (typeof input !== "string" || input.length > 4096)
        return { fault: "must be a text of at most 4096 characters" };
      const fault = options.check?.(input);
      return fault === undefined ? { value: input } : { fault };
    },
  };
}

/** One of a few words. */
export function choice<const V extends string>(options: {
  readonly default: NoInfer<V>;
  readonly values: readonly V[];
  readonly doc: string;
}): Setting<V> {
  const range = options.values.join(" | ");
  return {
    kind: "choice",
    default: options.default,
    doc: options.doc,
    range,
    read(input) {
      const value = options.values.find((candidate) => candidate === input);
      return value === undefined ? { fault: `must be one of ${range}` } : { value };
    },
  };
}

/** True or false; a flag without a value means true. */
export function flag(options: { readonly default: boolean; readonly doc: string }): Setting<boolean> {
  return {
    kind: "flag",
    default: options.default,
    doc: options.doc,
    range: "true | false",
    read(input) {
      if (input === true || input === "true" || input === "1" || input === "") return { value: true };
      if (input === false || input === "false" || input === "0") return { value: false };
      return { fault: "must be true or false" };
    },
  };
}

/** A text that is never shown: help and dumps print `<set>`. Empty when absent. */
export function secret(options: { readonly doc: string }): Setting<string> {
  return { ...text({ default: "", doc: options.doc }), kind: "secret", range: "secret" };
}
