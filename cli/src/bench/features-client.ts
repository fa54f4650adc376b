import { Agent, request as httpRequest } from "node:http";
import { create } from "@bufbuild/protobuf";
import { feature } from "@weft/contracts";
import { createClient, weft } from "@weft/rpc";
import { featureNames, names, userCount } from "./features-scenario.ts";
import { type LoadResult, percentile } from "./result.ts";

/**
 * The load of `bench features`, closed loop: each caller sends when it has its answer. Arguments: kind (matrix or columns
 * of this service over gRPC, feast over its HTTP interface), port, callers, rows a request, seconds. With 0 seconds it
 * asks once, for users 0 to rows - 1, and prints the values row by row; else it prints one LoadResult.
 */
const [kind = "", port = "", callersText = "8", rowsText = "1", secondsText = "5"] = process.argv.slice(2);

const connections = 4;
const timeoutMs = 30_000;
const rows = Number(rowsText);
const seconds = Number(secondsText);
const callers = Number(callersText);

type Ask = (users: readonly number[]) => Promise<() => number[][]>;

function randomUsers(): number[] {
  return Array.from({ length: rows }, () => Math.floor(Math.random() * userCount));
}

function askWeft(layout: feature.GetOnlineFeaturesRequest_Layout): Ask[] {
  return Array.from({ length: connections }, () => {
    const transport = weft.connect(`127.0.0.1:${port}`, { messageBytesMax: 4_194_304 });
    const client = createClient(feature.FeatureService, transport, []);
    return async (users) => {
      const answer = await client.getOnlineFeatures(
        create(feature.GetOnlineFeaturesRequestSchema, {
          scenario: names.scenario,
          featureService: names.model,
          layout,
          includeEventTimes: true,
          entities: [{ entity: "user", integers: users.map(BigInt) }],
        }),
        { timeoutMs },
      );
      return () => valuesOf(answer, users.length);
    };
  });
}

function valuesOf(answer: feature.GetOnlineFeaturesResponse, count: number): number[][] {
  const { matrix, columns } = answer;
  if (matrix !== undefined) {
    const { buffer, byteOffset, byteLength } = matrix.values.slice();
    const values = new Float32Array(buffer, byteOffset, byteLength / 4);
    const width = matrix.names.length;
    return Array.from({ length: count }, (_, row) => Array.from(values.subarray(row * width, (row + 1) * width)));
  }
  return Array.from({ length: count }, (_, row) =>
    columns.map(({ values }) => (values.case === "float32s" ? (values.value.values[row] ?? Number.NaN) : Number.NaN)),
  );
}

interface FeastAnswer {
  readonly metadata: { readonly feature_names: readonly string[] };
  readonly results: readonly { readonly values: readonly number[] }[];
}

function askFeast(): Ask[] {
  const agent = new Agent({ keepAlive: true, maxSockets: callers });
  const ask: Ask = (users) =>
    new Promise((resolve, reject) => {
      const body = JSON.stringify({ feature_service: names.model, entities: { user: users } });
      const call = httpRequest(
        {
          agent,
          host: "127.0.0.1",
          port,
          path: "/get-online-features",
          method: "POST",
          headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body) },
        },
        (response) => {
          const parts: Buffer[] = [];
          response.on("data", (part: Buffer) => parts.push(part));
          response.on("end", () => {
            const text = Buffer.concat(parts).toString();
            if (response.statusCode !== 200) reject(new Error(`${response.statusCode} ${text.slice(0, 500)}`));
            // Not parsed while the clock runs.
            else resolve(() => feastValues(JSON.parse(text), users.length));
          });
        },
      );
      call.once("error", reject);
      call.end(body);
    });
  return [ask];
}

function feastValues({ metadata, results }: FeastAnswer, count: number): number[][] {
  const places = featureNames.map((name) => metadata.feature_names.indexOf(name));
  return Array.from({ length: count }, (_, row) =>
    places.map((place) => Math.fround(results[place]?.values[row] ?? Number.NaN)),
  );
}

async function drive(asks: readonly Ask[]): Promise<LoadResult> {
  const latencies: number[] = [];
  let errors = 0;
  const start = performance.now();
  const end = start + seconds * 1_000;
  const lane = async (ask: Ask | undefined) => {
    while (ask !== undefined && performance.now() < end) {
      const users = randomUsers();
      const sent = performance.now();
      try {
        await ask(users);
        latencies.push(performance.now() - sent);
      } catch {
        errors++;
      }
    }
  };
  await Promise.all(Array.from({ length: callers }, (_, index) => lane(asks[index % asks.length])));
  const elapsed = (performance.now() - start) / 1_000;
  const sorted = Float64Array.from(latencies).sort();
  return {
    offeredPerSecond: (latencies.length + errors) / elapsed,
    acceptedPerSecond: latencies.length / elapsed,
    shedPerSecond: 0,
    errors,
    degraded: 0,
    fallbacks: 0,
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
    p999: percentile(sorted, 0.999),
  };
}

async function main(): Promise<void> {
  const { MATRIX, COLUMNS } = feature.GetOnlineFeaturesRequest_Layout;
  const asks = kind === "feast" ? askFeast() : askWeft(kind === "matrix" ? MATRIX : COLUMNS);
  const [first] = asks;
  if (first === undefined) return;
  const answer = seconds === 0 ? (await first(Array.from({ length: rows }, (_, user) => user)))() : await drive(asks);
  process.stdout.write(`${JSON.stringify(answer)}\n`);
  process.exit(0);
}

void main();
