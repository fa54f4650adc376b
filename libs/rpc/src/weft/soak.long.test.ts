import { expect, test } from "@jest/globals";
import { health } from "@weft/contracts";
import { Code, createErrors, type WeftError } from "@weft/errors";
import { createClient, ServiceRouter } from "../index.ts";
import { connect } from "./client.ts";
import { deadlines } from "./deadline-wheel.ts";
import { listen } from "./server.ts";

const calls = 200_000;
const lanes = 200;
const errors = createErrors("weft.test", { NO: { code: Code.NotFound, message: () => "no" } });

test("calls with cancellations, deadlines, failures and streams left early leave nothing behind", async () => {
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
  const limits = { messageBytesMax: 100_000, concurrentStreamsMax: 1_000 };
  const listener = await listen(router, { host: "127.0.0.1", port: 0, ...limits });
  const transport = connect(`127.0.0.1:${listener.port}`, { messageBytesMax: 100_000, connections: 2 });
  const client = createClient(health.Health, transport, []);
  const codes = new Map<number, number>();
  const one = async (index: number): Promise<void> => {
    const kind = index % 10;
    if (kind === 0) await client.check({ service: "fails" });
    else if (kind === 1) await client.check({ service: "slow" }, { timeoutMs: 3 });
    else if (kind === 2) await client.check({ service: "hangs" }, { timeoutMs: 1 + (index % 7) });
    else if (kind === 3) {
      const abort = new AbortController();
      const work = client.check({ service: "slow" }, { signal: abort.signal, timeoutMs: 5_000 });
      setImmediate(() => abort.abort());
      await work;
    } else if (kind === 4) {
      for await (const _answer of client.watch({ service: "long" }))
        if (index % 3 === 0) break;
        else if (index % 3 === 1) throw errors.NO({});
        else return;
    } else if (kind === 5) for await (const _answer of client.watch({}, { timeoutMs: 5_000 }));
    else await client.check({ service: "fine" }, { timeoutMs: 5_000 });
  };
  let next = 0;
  const run = async (until: number) => {
    const lane = async () => {
      while (next < until) {
        const code = await one(next++).then(
          () => 0,
          (error: WeftError) => error.code,
        );
        codes.set(code, (codes.get(code) ?? 0) + 1);
      }
    };
    await Promise.all(Array.from({ length: lanes }, lane));
  };
  const heap = () => {
    globalThis.gc?.();
    return process.memoryUsage().heapUsed;
  };
  await run(calls / 3);
  const before = heap();
  await run(calls);
  const after = heap();
  expect([...codes.keys()].sort((a, b) => a - b)).toEqual([0, Code.Cancelled, Code.DeadlineExceeded, Code.NotFound]);
  expect(codes.get(0)).toBeGreaterThan(calls * 0.5);
  // What the client reset last may not have come to the server yet.
  for (let tries = 0; deadlines.size > 0 && tries < 100; tries++)
    await new Promise((resolve) => setTimeout(resolve, 10));
  expect(deadlines.size).toBe(0);
  expect(after - before).toBeLessThan(40_000_000);
  await transport.close();
  // A stream that was left open would hold the drain up.
  const start = performance.now();
  await listener.drain(60_000);
  expect(performance.now() - start).toBeLessThan(5_000);
}, 300_000);
