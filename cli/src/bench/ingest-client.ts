import { create } from "@bufbuild/protobuf";
import { feature } from "@weft/contracts";
import { createClient, weft } from "@weft/rpc";
import { names } from "./ingest-scenario.ts";
import { type LoadResult, percentile } from "./result.ts";

/**
 * The load of `bench ingest`, closed loop: pushes of 500 rows over gRPC, cards at random, sixteen in flight over four
 * connections. Arguments: port, cards, seconds. Prints one LoadResult, whose rates are of events and whose latencies are
 * of pushes.
 */
const [port = "", cardsText = "", secondsText = "5"] = process.argv.slice(2);

const connections = 4;
const inFlight = 16;
const pushRows = 500;
const timeoutMs = 60_000;
const cards = Number(cardsText);
const seconds = Number(secondsText);

function request(): feature.PushRequest {
  const nowUs = Date.now() * 1_000;
  const integers = (value: (row: number) => bigint) => ({
    case: "int64s" as const,
    value: { values: Array.from({ length: pushRows }, (_, row) => value(row)) },
  });
  return create(feature.PushRequestSchema, {
    scenario: names.scenario,
    source: names.source,
    columns: [
      { name: "event_time", values: integers((row) => BigInt(nowUs + row)) },
      { name: "card", values: integers(() => BigInt(Math.floor(Math.random() * cards))) },
      {
        name: "amount",
        values: { case: "float64s", value: { values: Array.from({ length: pushRows }, () => Math.random() * 100) } },
      },
    ],
  });
}

async function main(): Promise<void> {
  const clients = Array.from({ length: connections }, () =>
    createClient(feature.FeatureService, weft.connect(`127.0.0.1:${port}`, { messageBytesMax: 4_194_304 }), []),
  );
  const latencies: number[] = [];
  let errors = 0;
  const start = performance.now();
  const lane = async (index: number) => {
    const client = clients[index % connections];
    while (client !== undefined && performance.now() - start < seconds * 1_000) {
      const sent = performance.now();
      try {
        const { acceptedCount } = await client.push(request(), { timeoutMs });
        if (acceptedCount === pushRows) latencies.push(performance.now() - sent);
        else errors++;
      } catch {
        errors++;
      }
    }
  };
  await Promise.all(Array.from({ length: inFlight }, (_, index) => lane(index)));
  const rate = (latencies.length * pushRows) / ((performance.now() - start) / 1_000);
  const sorted = Float64Array.from(latencies).sort();
  const result: LoadResult = {
    offeredPerSecond: rate,
    acceptedPerSecond: rate,
    shedPerSecond: 0,
    errors,
    degraded: 0,
    fallbacks: 0,
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
    p999: percentile(sorted, 0.999),
  };
  process.stdout.write(`${JSON.stringify({ ...result, events: latencies.length * pushRows })}\n`);
  process.exit(0);
}

void main();
