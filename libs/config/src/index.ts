export { processEnvironment } from "./environment.ts";
export {
  ConfigError,
  type ConfigFault,
  type ConfigInput,
  describeConfig,
  environmentName,
  flagName,
  parseConfig,
  redactSettings,
} from "./parse.ts";
export {
  type ConfigSchema,
  choice,
  defineConfig,
  flag,
  integer,
  number,
  type Setting,
  type SettingShape,
  type SettingsOf,
  secret,
  text,
} from "./schema.ts";
