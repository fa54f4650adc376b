import { createReadStream } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type JsonValue, toJson } from "@bufbuild/protobuf";
import { gateway } from "@weft/contracts";
import type { Scenario, Value } from "@weft/scenario";
import { CommandFailure } from "../failure.ts";
import { scoreRequest } from "../requests.ts";

const requestsMax = 5_000;

/**
 * Score requests made from the last rows of a scenario's history, at the end of the history, where the online store
 * stands: as JSON, for ghz. `directory`: the scenario's folder of the offline store.
 */
export async function historyRequests(scenario: Scenario, directory: string): Promise<readonly JsonValue[]> {
  const model = scenario.models[0];
  if (model === undefined) throw new CommandFailure("the scenario has no model");
  const { source, entities } = model.trainingSet;
  const eventTimeUs = BigInt(Math.max(...scenario.examples.map((example) => Number(example.eventTimeUs))));
  const types: Record<string, unknown> = { ...source.fields, [source.eventTime]: "int64" };
  let header: string[] = [];
  const last: string[] = [];
  for await (const line of createInterface({ input: createReadStream(join(directory, source.file)) })) {
    if (header.length === 0) {
      header = line.split(",");
      continue;
    }
    last.push(line);
    if (last.length > requestsMax * 2) last.splice(0, requestsMax);
  }
  return last.slice(-requestsMax).map((line) => {
    const cells = new Map(line.split(",").map((cell, index) => [header[index] ?? "", cell]));
    const value = (field: string): Value => typed(cells.get(field) ?? "", types[field]);
    const example = {
      entities: Object.fromEntries(
        Object.entries(entities).map(([entity, field]) => [entity, value(field) as string | bigint]),
      ),
      request: Object.fromEntries(Object.keys(scenario.request).map((field) => [field, value(field)])),
      eventTimeUs,
    };
    return toJson(gateway.ScoreRequestSchema, scoreRequest(scenario, example));
  });
}

function typed(cell: string, type: unknown): Value {
  if (type === "int64") return BigInt(cell);
  if (type === "bool") return cell === "true" || cell === "1";
  return type === "string" ? cell : Number(cell);
}
