import { fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { gateway } from "@weft/contracts";
import { CommandFailure } from "../failure.ts";
import { peersOf } from "../peers.ts";
import { showDecision, showRecommendation } from "../show.ts";
import { dialWire } from "../topology.ts";

/** Options of `weft score` and `weft recommend`. */
export interface AskOptions {
  readonly json: boolean;
  /** Pairs `entity=key`, `name=value`; a key or value that is a whole number is sent as an integer. */
  readonly entity: readonly string[];
  readonly feature: readonly string[];
  /** RFC 3339. */
  readonly time?: string;
  readonly timeoutMs: number;
  readonly settings: readonly string[];
}

function pairs(list: readonly string[], what: string): [string, string][] {
  return list.map((pair) => {
    const at = pair.indexOf("=");
    if (at < 1) throw new CommandFailure(`--${what} "${pair}" must be name=value`);
    return [pair.slice(0, at), pair.slice(at + 1)];
  });
}

function scalar(text: string): JsonValue {
  if (/^-?\d{1,19}$/.test(text)) return { integer: text };
  if (text !== "" && Number.isFinite(Number(text))) return { number: Number(text) };
  return text === "true" || text === "false" ? { flag: text === "true" } : { text };
}

const key = (text: string): JsonValue => (/^-?\d{1,19}$/.test(text) ? { integer: text } : { text });

/** Scores one event. */
export async function score(scenario: string, options: AskOptions): Promise<void> {
  const request = fromJson(gateway.ScoreRequestSchema, {
    scenario,
    entities: Object.fromEntries(pairs(options.entity, "entity").map(([name, value]) => [name, key(value)])),
    features: Object.fromEntries(pairs(options.feature, "feature").map(([name, value]) => [name, scalar(value)])),
    ...(options.time === undefined ? {} : { eventTime: options.time }),
  });
  const wire = dialWire(peersOf(options.settings));
  try {
    const response = await wire.dial(gateway.GatewayService).score(request, { timeoutMs: options.timeoutMs });
    process.stdout.write(
      options.json ? `${JSON.stringify(toJson(gateway.ScoreResponseSchema, response))}\n` : showDecision(response),
    );
  } finally {
    wire.close();
  }
}

/** Recommends items to a user. */
export async function recommend(
  scenario: string,
  options: AskOptions & { readonly user: string; readonly count: number; readonly exclude: readonly string[] },
): Promise<void> {
  const request = fromJson(gateway.RecommendRequestSchema, {
    scenario,
    user: key(options.user),
    context: Object.fromEntries(pairs(options.feature, "feature").map(([name, value]) => [name, scalar(value)])),
    count: options.count,
    excludedIds: options.exclude.map(key),
    ...(options.time === undefined ? {} : { eventTime: options.time }),
  });
  const wire = dialWire(peersOf(options.settings));
  try {
    const response = await wire.dial(gateway.GatewayService).recommend(request, { timeoutMs: options.timeoutMs });
    process.stdout.write(
      options.json
        ? `${JSON.stringify(toJson(gateway.RecommendResponseSchema, response))}\n`
        : showRecommendation(response),
    );
  } finally {
    wire.close();
  }
}
