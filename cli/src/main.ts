import { ConfigError } from "@weft/config";
import { serviceNames } from "@weft/contracts";
import { isWeftError } from "@weft/errors";
import { ScenarioError } from "@weft/scenario";
import { describeServices } from "@weft/service";
import { Command, InvalidArgumentError } from "commander";
import { recommend, score } from "./commands/ask.ts";
import { bench, benchNames } from "./commands/bench.ts";
import { push, release } from "./commands/deploy.ts";
import { doctor } from "./commands/doctor.ts";
import { features } from "./commands/features.ts";
import { lineage } from "./commands/lineage.ts";
import { materialize } from "./commands/materialize.ts";
import { parity } from "./commands/parity.ts";
import { serve } from "./commands/serve.ts";
import { train } from "./commands/train.ts";
import { up } from "./commands/up.ts";
import { CommandFailure } from "./failure.ts";
import { allServices } from "./services.ts";
import { splitSettings } from "./settings-arguments.ts";

const { settings, rest } = splitSettings(process.argv.slice(2));

const collect = (value: string, list: readonly string[]): readonly string[] => [...list, value];

function collectPair(value: string, pairs: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const at = value.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("must be name=value");
  return { ...pairs, [value.slice(0, at)]: value.slice(at + 1) };
}

function whole(value: string): number {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 1) throw new InvalidArgumentError("must be a whole number from 1 up");
  return number;
}

function share(value: string): number {
  const number = Number(value);
  if (!(number > 0 && number <= 1)) throw new InvalidArgumentError("must be over 0 and at most 1");
  return number;
}

const json = ["--json", "print JSON for a machine to read", false] as const;
const data = ["--data-directory <folder>", "folder for all state", ".weft"] as const;
const parameter = ["--data <name=value>", "parameter of the scenario's data.ts; repeatable", collectPair, {}] as const;
const settingsHelp =
  "\nSettings of the services are given as --<service>.<setting>=<value>, for example --gateway.port=0; `weft serve <service> --help` lists them.";

const program = new Command("weft")
  .description(
    "A serving mesh for machine learning: features, retrieval, ranking, registry and monitoring behind one gateway.",
  )
  .showHelpAfterError()
  .addHelpText("after", settingsHelp);

program
  .command("up")
  .description("start every service, deploy scenarios, show what they answer and serve until Ctrl-C")
  .argument("<scenario...>", "scenario folders")
  .option("--mesh", "one process a service instead of one for all", false)
  .option("--once", "print and exit instead of serving", false)
  .option("--free-ports", "pick free ports instead of 7000 and up", false)
  .option(...json)
  .option(...data)
  .option(...parameter)
  .action((folders: string[], options) =>
    up(folders, {
      mesh: options.mesh,
      once: options.once,
      json: options.json,
      freePorts: options.freePorts,
      data: options.dataDirectory,
      parameters: options.data,
      settings,
    }),
  );

const serveCommand = program
  .command("serve")
  .description("serve any subset of the services in one process")
  .argument("<service...>", serviceNames.join(", "))
  .action((names: string[]) => serve(names, settings));
serveCommand.addHelpText("after", () => {
  const named = allServices.filter(({ name }) => rest.includes(name));
  return `\nSettings:\n${describeServices(named.length > 0 ? named : allServices)}`;
});

program
  .command("train")
  .description("build point-in-time training sets, train a scenario's models, check their gates and register them")
  .argument("<scenario>", "scenario folder")
  .option("--model <name>", "only this model; repeatable", collect, [])
  .option(...json)
  .option(...data)
  .option(...parameter)
  .action((folder: string, options) =>
    train(folder, {
      json: options.json,
      data: options.dataDirectory,
      parameters: options.data,
      models: options.model,
      settings,
    }),
  );

program
  .command("push")
  .description("push a scenario's code, views and models to a running registry")
  .argument("<scenario>", "scenario folder")
  .option(...json)
  .action((folder: string, options) => push(folder, { json: options.json, settings }));

program
  .command("release")
  .description("push a scenario, make a release of it, fill its indexes and point a label at it")
  .argument("<scenario>", "scenario folder")
  .option("--label <label>", "champion, challenger, shadow or canary", "champion")
  .option(...json)
  .action((folder: string, options) => release(folder, { json: options.json, label: options.label, settings }));

program
  .command("score")
  .description("score one event through a running gateway")
  .argument("<scenario>", "scenario name")
  .option("--entity <name=key>", "entity key; repeatable", collect, [])
  .option("--feature <name=value>", "request field; repeatable", collect, [])
  .option("--time <time>", "time of the event, RFC 3339; default now")
  .option("--timeout-ms <ms>", "deadline", whole, 1_000)
  .option(...json)
  .action((scenario: string, options) => score(scenario, { ...options, settings }));

program
  .command("recommend")
  .description("recommend items to a user through a running gateway")
  .argument("<scenario>", "scenario name")
  .requiredOption("--user <key>", "user key")
  .option("--count <n>", "items wanted", whole, 10)
  .option("--exclude <key>", "item never to return; repeatable", collect, [])
  .option("--feature <name=value>", "request field; repeatable", collect, [])
  .option("--time <time>", "time the answer is for, RFC 3339; default now")
  .option("--timeout-ms <ms>", "deadline", whole, 1_000)
  .option(...json)
  .action((scenario: string, options) => recommend(scenario, { ...options, entity: [], settings }));

program
  .command("materialize")
  .description(
    "bring the views of a running scenario up to date with their sources' files, go back, or show how it went",
  )
  .argument("<scenario>", "scenario name")
  .option("--view <name>", "only this view; repeatable", collect, [])
  .option("--incremental", "only what is new since the last time", false)
  .option("--roll-back", "show readers the generation before, with what was pushed since", false)
  .option("--status", "show the latest materializations and the last validation report", false)
  .option("--release <id>", "release whose views they are; default the champion", "")
  .option(...json)
  .action((scenario: string, options) => materialize(scenario, { ...options, settings }));

program
  .command("parity")
  .description("recompute what was served from the offline store and compare; exits with 1 where a value disagrees")
  .argument("<scenario>", "scenario name, or its folder")
  .option("--share <share>", "share of the entity keys to check, by their hash", share, 1)
  .option("--vectors <n>", "vectors to check, the newest first", whole, 10_000)
  .option("--release <id>", "only vectors of this release", "")
  .option("--tolerance <type=number>", "tolerance of float32, float64, int64 or bool features; repeatable", collect, [])
  .option("--settle-ms <ms>", "a row that came in this close to a read may have been seen or not", whole, 1_000)
  .option("--strict", "fail on values in flight, in hindsight and unavailable too", false)
  .option("--timeout-ms <ms>", "deadline of each model's check", whole, 300_000)
  .option(...json)
  .action((scenario: string, options) => parity(scenario, { ...options, settings }));

program
  .command("features")
  .description("show what can be read: feature views and feature services, with types, keys and owners")
  .argument("<scenario>", "scenario name")
  .option("--release <id>", "release; default the champion", "")
  .option(...json)
  .action((scenario: string, options) =>
    features(scenario, { json: options.json, release: options.release, settings }),
  );

program
  .command("lineage")
  .description("show what a part of a scenario came from and what came of it, from the sources to the releases")
  .argument("<scenario>", "scenario name")
  .argument(
    "[part]",
    "source:<name>, view:<name>@<version>, training-set:<hash>, model:<name>@<version> or release:<id>",
  )
  .option(...json)
  .action((scenario: string, part: string | undefined, options) =>
    lineage(scenario, part, { json: options.json, settings }),
  );

program
  .command("bench")
  .description("measure, beside a yardstick in the same run")
  .argument("<name>", benchNames.join(", "))
  .option("--seconds <n>", "length of each measurement", whole, 10)
  .option(...json)
  .action((name: string, options) => bench(name, { json: options.json, seconds: options.seconds }));

program
  .command("doctor")
  .description("say what is missing on this machine and how to get it")
  .option(...json)
  .action((options) => doctor({ json: options.json }));

/** One line or several that a person can act on; a stack only where the fault is Weft's own. */
function explain(error: unknown): string {
  if (
    error instanceof CommandFailure ||
    error instanceof ConfigError ||
    error instanceof ScenarioError ||
    error instanceof RangeError
  )
    return error.message;
  if (isWeftError(error)) {
    const violations = error.violations.map(({ field, description }) => `\n  ${field}: ${description}`).join("");
    return `${error.message} (${error.domain} ${error.reason})${violations}`;
  }
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

program.parseAsync(rest, { from: "user" }).catch((error: unknown) => {
  process.stderr.write(`weft: ${explain(error)}\n`);
  process.exitCode = error instanceof ConfigError ? 2 : 1;
});
