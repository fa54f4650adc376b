import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type KafkaServer, startKafka } from "@weft/local-servers";
import { startProgress } from "../progress.ts";
import { type BenchChild, program, runChild, startChild } from "./child.ts";
import { historyEvents, names, rawEventBytes } from "./ingest-scenario.ts";
import { atLeast, atMost, type BenchResult, commitOf, type LoadResult, machineName, median, round } from "./result.ts";

const cardCounts = [10_000, 100_000, 1_000_000] as const;
const rounds = 3;
/** Events a second that one core must take in. */
const rateBar = 20_000;
/** How much more an event may cost among a million keys than among ten thousand. */
const flatBar = 1.5;
/** What a key may take on disk, over its packed events. */
const sizeBar = 4;
const kafkaMessages = 400_000;
const kafkaCards = 100_000;
const produceMessages = 5_000;
const drainTimeoutMs = 120_000;

interface Server {
  readonly child: BenchChild;
  readonly port: number;
  readonly metricsPort: number;
  readonly directory: string;
}

interface PushRun extends LoadResult {
  readonly events: number;
  /** CPU of the server's process an event, all of its threads. */
  readonly cpuUs: number;
}

/**
 * Ingestion into five windows on the embedded stores: `Push` over gRPC → durable log → LMDB, over ten thousand to a
 * million keys that have a history each; and the same view fed from a Kafka topic on a real broker. Events name keys at
 * random, which is the hardest for a store. CPU is that of the service's whole process.
 */
export async function benchIngest(seconds: number): Promise<BenchResult> {
  const scratch = mkdtempSync(join(tmpdir(), "weft-bench-ingest-"));
  const closers: (() => Promise<void>)[] = [];
  try {
    const progress = startProgress("bench ingest: histories");
    const servers = new Map<number, Server>();
    const sizes = new Map<number, number>();
    for (const cards of cardCounts) {
      const server = await startServer(join(scratch, String(cards)), cards, "", closers);
      servers.set(cards, server);
      sizes.set(cards, storeBytes(server.directory) / cards);
    }
    progress.end();
    const runs = new Map<number, PushRun[]>(cardCounts.map((cards) => [cards, []]));
    const pushing = startProgress("bench ingest: pushing");
    const part = Math.max(2, Math.round(seconds / rounds));
    for (const [cards, server] of servers) await push(server, cards, 1);
    for (let round = 0; round < rounds; round++) {
      for (const [cards, server] of servers) runs.get(cards)?.push(await push(server, cards, part));
      pushing.update(round + 1, rounds);
    }
    pushing.end();
    for (const { child } of servers.values()) await child.stop();

    const streaming = startProgress("bench ingest: from Kafka");
    const kafka = await startKafka();
    closers.push(() => kafka.server.close());
    await produce(kafka);
    const streamed = await drain(join(scratch, "kafka"), kafka, closers);
    streaming.end();

    const figure = (cards: number, of: (run: PushRun) => number) => median((runs.get(cards) ?? []).map(of));
    // Round by round, as the machine's speed drifts.
    const growth = (cards: number) =>
      median((runs.get(cards) ?? []).map((run, index) => run.cpuUs / (runs.get(cardCounts[0])?.[index]?.cpuUs ?? 0)));
    const [few, , many] = cardCounts;
    const errors = [...runs.values()].flat().reduce((sum, run) => sum + run.errors, 0) + streamed.missing;
    return {
      bench: "ingest",
      commit: commitOf(__dirname),
      machine: machineName(),
      offeredPerSecond: round(figure(many, (run) => run.offeredPerSecond)),
      acceptedPerSecond: round(figure(many, (run) => run.acceptedPerSecond)),
      shedPerSecond: 0,
      errors,
      latencyMs: {
        p50: round(figure(many, (run) => run.p50)),
        p99: round(figure(many, (run) => run.p99)),
        p999: round(figure(many, (run) => run.p999)),
      },
      cpuCores: round((figure(many, (run) => run.cpuUs) * figure(many, (run) => run.acceptedPerSecond)) / 1e6),
      rows: [
        ...cardCounts.map((cards) => ({
          from: "push",
          keys: cards,
          "events/s": Math.round(figure(cards, (run) => run.acceptedPerSecond)),
          "events/s a core": Math.round(1e6 / figure(cards, (run) => run.cpuUs)),
          "us of CPU an event": round(figure(cards, (run) => run.cpuUs)),
          "cost over the fewest keys": round(growth(cards)),
          "p50 ms of 500": round(figure(cards, (run) => run.p50)),
          "p99 ms of 500": round(figure(cards, (run) => run.p99)),
          "disk bytes a key": Math.round(sizes.get(cards) ?? 0),
          "raw bytes a key": historyEvents * rawEventBytes,
        })),
        {
          from: "kafka",
          keys: kafkaCards,
          "events/s": Math.round(streamed.rate),
          "events/s a core": Math.round(1e6 / streamed.cpuUs),
          "us of CPU an event": round(streamed.cpuUs),
        },
      ],
      bars: [
        ...cardCounts.map((cards) =>
          atLeast(`push, ${cards} keys: events/s a core`, 1e6 / figure(cards, (run) => run.cpuUs), rateBar),
        ),
        atLeast("kafka: events/s a core", 1e6 / streamed.cpuUs, rateBar),
        atMost(`CPU an event, ${many} keys over ${few}`, growth(many), flatBar),
        atMost(
          `disk bytes a key over its raw events, ${many} keys`,
          (sizes.get(many) ?? 0) / (historyEvents * rawEventBytes),
          sizeBar,
        ),
        atMost("errors, and messages not applied", errors, 0),
      ],
    };
  } finally {
    for (const close of closers.reverse()) await close();
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function startServer(
  directory: string,
  cards: number,
  brokers: string,
  closers: (() => Promise<void>)[],
): Promise<Server> {
  writeHistory(join(directory, "feature", "offline", names.scenario, "payments.csv"), cards);
  const child = await startChild(program("ingest-server"), [directory, brokers]);
  closers.push(() => child.stop());
  return { child, directory, ...JSON.parse(child.firstLine) };
}

/** Simulated payments: the same number of each card, over the last twelve hours. */
function writeHistory(file: string, cards: number): void {
  mkdirSync(dirname(file), { recursive: true });
  const start = (Date.now() - 12 * 3_600_000) * 1_000;
  const step = Math.floor((12 * 3_600_000_000) / (cards * historyEvents));
  const out = openSync(file, "w");
  writeSync(out, "event_time,card,amount\n");
  let text = "";
  for (let event = 0; event < cards * historyEvents; event++) {
    text += `${start + event * step},${event % cards},${(event % 1_000) / 10}\n`;
    if (text.length > 1 << 20) {
      writeSync(out, text);
      text = "";
    }
  }
  writeSync(out, text);
  closeSync(out);
}

/** Bytes that the online store's file takes on disk. */
function storeBytes(directory: string): number {
  return statSync(join(directory, "feature", "online", "data.mdb")).blocks * 512;
}

async function push({ child, port }: Server, cards: number, seconds: number): Promise<PushRun> {
  const before = Number(await child.ask());
  const run: LoadResult & { readonly events: number } = JSON.parse(
    await runChild(program("ingest-client"), [String(port), String(cards), String(seconds)]),
  );
  return { ...run, cpuUs: (Number(await child.ask()) - before) / run.events };
}

async function produce({ host, port }: KafkaServer): Promise<void> {
  const { Admin, Producer } = await import("@platformatic/kafka");
  const options = { clientId: "weft-bench", bootstrapBrokers: [`${host}:${port}`] };
  const admin = new Admin(options);
  await admin.createTopics({ topics: [names.topic], partitions: 4, replicas: 1 });
  await admin.close();
  const producer = new Producer(options);
  const time = Date.now() * 1_000;
  for (let sent = 0; sent < kafkaMessages; sent += produceMessages)
    await producer.send({
      messages: Array.from({ length: produceMessages }, (_, index) => {
        const card = Math.floor(Math.random() * kafkaCards);
        const event = { event_time: time + sent + index, card, amount: Math.random() * 100 };
        return { topic: names.topic, partition: card % 4, value: Buffer.from(JSON.stringify(event)) };
      }),
    });
  await producer.close();
}

/** Starts a service that finds the topic full, and follows it from its first applied messages to its last. */
async function drain(directory: string, { host, port }: KafkaServer, closers: (() => Promise<void>)[]) {
  const { child, metricsPort } = await startServer(directory, 1, `${host}:${port}`, closers);
  const sample = async () => ({
    events: await streamedEvents(metricsPort),
    cpuUs: Number(await child.ask()),
    timeMs: performance.now(),
  });
  const end = performance.now() + drainTimeoutMs;
  let first = await sample();
  let last = first;
  while (last.events < kafkaMessages && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    last = await sample();
    if (first.events === 0) first = last;
  }
  const events = last.events - first.events;
  return {
    rate: events / ((last.timeMs - first.timeMs) / 1_000),
    cpuUs: (last.cpuUs - first.cpuUs) / events,
    missing: kafkaMessages - last.events,
  };
}

async function streamedEvents(metricsPort: number): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  return Number(/^feature_streamed_events_total\{[^}]*\} (\S+)/m.exec(text)?.[1] ?? 0);
}
