import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "@jest/globals";
import { gateway, health } from "@weft/contracts";
import { Code, createErrors, type WeftError } from "@weft/errors";
import { deadlines } from "../deadline-wheel.ts";
import { createClient, type Handlers, ServiceRouter } from "../index.ts";
import { connect } from "./client.ts";
import { listen } from "./server.ts";

/** The whole of it is WEFT_SOAK_CALLS=10000000. */
const calls = Number(process.env.WEFT_SOAK_CALLS ?? 400_000);
const lanes = 200;
const timeoutMs = 86_400_000;
/** Of the heap and of buffers, from the first tenth to the end, after a collection: caches settle, nothing grows with calls. */
const growthBytesMax = 4_000_000;
const errors = createErrors("weft.test", { NO: { code: Code.NotFound, message: () => "no" } });

setFlagsFromString("--expose-gc");
const collect: () => void = runInNewContext("gc");

/** What the process holds, once garbage is gone. */
async function held(): Promise<number> {
  // Twice, with a turn between them: what the first finalizes frees more.
  for (let times = 0; times < 2; times++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** Sockets, servers and timers that keep the process alive. */
const resources = () => process.getActiveResourcesInfo().filter((name) => /TCP|Timeout|Immediate/.test(name)).length;

test(
  "calls with cancellations, deadlines, failures, resets and streams left early leave nothing behind",
  async () => {
    const resourcesBefore = resources();
    const router = new ServiceRouter([]);
    router.serve(health.Health, {
      async check({ service }, context) {
        if (service === "fails") throw errors.NO({});
        if (service === "slow") await new Promise((resolve) => setTimeout(resolve, 2));
        if (service === "hangs") await new Promise<void>((resolve) => context.onCancel(() => resolve()));
        return { status: 1 };
      },
      list: () => ({}),
      async *watch({ service }) {
        for (let part = 0; service === "long" || part < 3; part++) yield { status: 1 };
      },
    });
    router.serve(gateway.GatewayService, {
      recommend: () => ({}),
      score: () => ({}),
      async *scoreStream(requests) {
        for await (const { id } of requests) yield { id };
      },
    } as Handlers<typeof gateway.GatewayService>);
    const limits = { messageBytesMax: 100_000, concurrentStreamsMax: 1_000 };
    const listener = await listen(router, { host: "127.0.0.1", port: 0, ...limits });
    const transport = connect(`127.0.0.1:${listener.port}`, { messageBytesMax: 100_000, connections: 2 });
    const client = createClient(health.Health, transport, []);
    const streams = createClient(gateway.GatewayService, transport, []);
    const three = async function* () {
      for (let part = 0; part < 3; part++) yield { id: `part ${part}` };
    };
    const unending = async function* () {
      for (;;) {
        yield { id: "more" };
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const codes = new Map<number, number>();
    const one = async (index: number): Promise<void> => {
      switch (index % 20) {
        case 0:
          await client.check({ service: "fails" });
          return;
        case 1:
          await client.check({ service: "slow" }, { timeoutMs: 3 });
          return;
        case 2:
          await client.check({ service: "hangs" }, { timeoutMs: 1 + (index % 7) });
          return;
        case 3: {
          const abort = new AbortController();
          const work = client.check({ service: "slow" }, { signal: abort.signal, timeoutMs: 5_000 });
          setImmediate(() => abort.abort());
          await work;
          return;
        }
        case 4:
          for await (const _answer of client.watch({ service: "long" }))
            if (index % 3 === 0) break;
            else if (index % 3 === 1) throw errors.NO({});
            else return;
          return;
        case 5:
          for await (const _answer of client.watch({}, { timeoutMs: 5_000 }));
          return;
        case 6:
          for await (const _answer of streams.scoreStream(three(), { timeoutMs: 5_000 }));
          return;
        case 7: {
          const abort = new AbortController();
          let answers = 0;
          for await (const _answer of streams.scoreStream(unending(), { signal: abort.signal, timeoutMs: 5_000 }))
            if (++answers === 2) abort.abort();
          return;
        }
        default:
          await client.check({ service: "fine" }, { timeoutMs: 5_000 });
      }
    };
    let next = 0;
    let done = 0;
    const run = async (until: number) => {
      const lane = async () => {
        while (next < until) {
          const code = await one(next++).then(
            () => 0,
            (error: WeftError) => error.code,
          );
          codes.set(code, (codes.get(code) ?? 0) + 1);
          if (++done % 1_000_000 === 0) process.stdout.write(`soak: ${done} of ${calls} calls\n`);
        }
      };
      await Promise.all(Array.from({ length: lanes }, lane));
    };
    await run(calls / 10);
    const before = await held();
    await run(calls);
    const after = await held();
    expect([...codes.keys()].sort((a, b) => a - b)).toEqual([0, Code.Cancelled, Code.DeadlineExceeded, Code.NotFound]);
    expect(codes.get(0)).toBeGreaterThan(calls * 0.7);
    // What the client reset last may not have come to the server yet.
    for (let tries = 0; deadlines.size > 0 && tries < 100; tries++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    expect(deadlines.size).toBe(0);
    process.stdout.write(`soak: ${calls} calls, ${after - before} bytes more, ${JSON.stringify([...codes])}\n`);
    expect(after - before).toBeLessThan(growthBytesMax);
    await transport.close();
    // A stream that was left open would hold the drain up.
    const start = performance.now();
    await listener.drain(60_000);
    expect(performance.now() - start).toBeLessThan(5_000);
    for (let tries = 0; resources() > resourcesBefore && tries < 100; tries++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    expect(resources()).toBeLessThanOrEqual(resourcesBefore);
  },
  timeoutMs,
);
