import { readFileSync } from "node:fs";
import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { gateway } from "@weft/contracts";
import { Code, isWeftError } from "@weft/errors";
import { seededRandom } from "@weft/repeatable";
import { createClient, weft } from "@weft/rpc";
import { type LoadResult, percentile } from "./result.ts";

/**
 * Open-loop load on `Score`: requests leave at Poisson times whether or not answers come, and a latency counts from the
 * time the request was due, so that a server that stalls cannot slow down what measures it. Arguments: target, requests
 * a second, seconds, file with a JSON array of requests, seed. Prints one LoadResult.
 */
const [target = "", rateText = "1000", secondsText = "5", dataFile = "", seedText = "1"] = process.argv.slice(2);

const connections = 4;
const timeoutMs = 5_000;
/** Requests that may wait at once; further ones are errors, so that a dead server cannot fill the memory. */
const inFlightMax = 20_000;

async function main(): Promise<void> {
  const bodies = JSON.parse(readFileSync(dataFile, "utf8")) as JsonValue[];
  const requests = bodies.map((body) => fromJson(gateway.ScoreRequestSchema, body));
  const transports = Array.from({ length: connections }, () => weft.connect(target, { messageBytesMax: 4_194_304 }));
  const clients = transports.map((transport) => createClient(gateway.GatewayService, transport, []));
  await Promise.all(clients.map((client) => client.score(requests[0] ?? {}, { timeoutMs })));
  const rate = Number(rateText);
  const seconds = Number(secondsText);
  const random = seededRandom(Number(seedText));
  const latencies: number[] = [];
  let inFlight = 0;
  let sent = 0;
  let shed = 0;
  let errors = 0;
  let degraded = 0;
  let fallbacks = 0;
  const send = (dueMs: number) => {
    const index = sent++;
    const client = clients[index % clients.length];
    const request = requests[index % requests.length];
    if (client === undefined || request === undefined || inFlight >= inFlightMax) {
      errors++;
      return;
    }
    inFlight++;
    client.score(request, { timeoutMs }).then(
      (response) => {
        inFlight--;
        latencies.push(performance.now() - dueMs);
        if (!response.degraded) return;
        degraded++;
        if (response.degradations.some(({ fallback }) => fallback !== "")) fallbacks++;
      },
      (error) => {
        inFlight--;
        if (isWeftError(error) && error.code === Code.ResourceExhausted) shed++;
        else errors++;
      },
    );
  };
  const startMs = performance.now();
  const endMs = startMs + seconds * 1000;
  let dueMs = startMs;
  while (dueMs < endMs) {
    const nowMs = performance.now();
    while (dueMs <= nowMs && dueMs < endMs) {
      send(dueMs);
      dueMs -= (Math.log(1 - random()) * 1000) / rate;
    }
    // A millisecond's rest: what falls due meanwhile counts from when it was due.
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  while (inFlight > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const elapsed = (performance.now() - startMs) / 1000;
  const sorted = Float64Array.from(latencies).sort();
  const result: LoadResult = {
    offeredPerSecond: sent / seconds,
    acceptedPerSecond: latencies.length / Math.max(elapsed, seconds),
    shedPerSecond: shed / seconds,
    errors,
    degraded,
    fallbacks,
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
    p999: percentile(sorted, 0.999),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.exit(0);
}

void main();
