import { describe, expect, test } from "@jest/globals";
import {
  ConfigError,
  choice,
  defineConfig,
  describeConfig,
  flag,
  integer,
  number,
  parseConfig,
  redactSettings,
  secret,
  text,
} from "./index.ts";

const config = defineConfig("ranking", {
  queueMax: integer({ default: 100, min: 1, max: 1_000, doc: "Rows that wait." }),
  ratio: number({ default: 0.5, min: 0, max: 1, doc: "A share." }),
  mode: choice({ values: ["a", "b"], default: "a", doc: "A mode." }),
  name: text({ default: "x", doc: "A name." }),
  verbose: flag({ default: false, doc: "Says more." }),
  token: secret({ doc: "A token." }),
});

const parse = (args: string[], environment: Record<string, string> = {}, content?: unknown) =>
  parseConfig([config], {
    arguments: args,
    environment,
    ...(content === undefined ? {} : { file: { path: "weft.json", content } }),
  });

describe("parseConfig", () => {
  test("takes flag before environment before file before default", () => {
    const content = { ranking: { queueMax: 4, ratio: 0.25, name: "file" } };
    const { settings, positional } = parse(
      ["up", "--ranking.queue-max=2", "--ranking.verbose", "here"],
      { WEFT_RANKING_QUEUE_MAX: "3", WEFT_RANKING_NAME: "env" },
      content,
    );
    expect(settings[0]).toEqual({ queueMax: 2, ratio: 0.25, mode: "a", name: "env", verbose: true, token: "" });
    expect(positional).toEqual(["up", "here"]);
  });

  test("reports every fault at once with where it came from", () => {
    let error: unknown;
    try {
      parse(
        ["--ranking.queue-max", "0", "--ranking.colour=red"],
        { WEFT_RANKING_RATIO: "2", WEFT_RANKING_TYPO: "1" },
        { ranking: { mode: "c", other: 1 }, nobody: {} },
      );
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).faults).toEqual(
      expect.arrayContaining([
        { origin: "flag --ranking.colour", fault: "no such setting" },
        { origin: "flag --ranking.queue-max", fault: "must be 1 to 1000" },
        { origin: "WEFT_RANKING_RATIO", fault: "must be 0 to 1" },
        { origin: "WEFT_RANKING_TYPO", fault: "no such setting" },
        { origin: "weft.json: ranking.mode", fault: "must be one of a | b" },
        { origin: "weft.json: ranking.other", fault: "no such setting" },
        { origin: "weft.json: nobody", fault: "no such section" },
      ]),
    );
    expect((error as ConfigError).faults).toHaveLength(7);
  });

  test("settings are frozen and secrets never show", () => {
    const { settings } = parse(["--ranking.token=hunter2"]);
    expect(Object.isFrozen(settings[0])).toBe(true);
    expect(JSON.stringify(redactSettings(config, settings[0]))).toContain("<set>");
    expect(JSON.stringify(redactSettings(config, settings[0]))).not.toContain("hunter2");
    expect(describeConfig([config])).toContain("--ranking.queue-max  (WEFT_RANKING_QUEUE_MAX)");
  });
});
