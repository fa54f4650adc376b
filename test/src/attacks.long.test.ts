import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { connectWeft, createClient, type Transport } from "@weft/rpc";
import { attacks } from "./attacks/attacks.ts";
import { asTestClient, services, type TestClient } from "./interop/test-service.ts";

/** A bystander's slowest answer: the server's own work is all that may hold it up. */
const answerMaxMs = 50;
/** What else runs on the machine can hold it up too: the bound must be met once. */
const attemptsMax = 3;
const attackMs = 1_500;
const rssMaxBytes = 600 * 1024 * 1024;

let victim: ChildProcess;
let port: number;
let transport: Transport;
let client: TestClient;

beforeAll(async () => {
  victim = fork(join(__dirname, "attacks", "victim.js"));
  const [greeting] = await once(victim, "message");
  port = greeting.port;
  transport = connectWeft(`127.0.0.1:${port}`, { messageBytesMax: 4_194_304 });
  client = asTestClient(createClient(services.test, transport, []));
  for (let warm = 0; warm < 2_000; warm++) await client.emptyCall({});
}, 60_000);

afterAll(async () => {
  await transport.close();
  victim.kill("SIGKILL");
});

/** Runs an attack from a process of its own; answers the bystander's slowest answer meanwhile. */
async function slowestDuring(name: string): Promise<number> {
  const attacker = fork(join(__dirname, "attacks", "attacker.js"), [name, String(port), String(attackMs)]);
  let over = false;
  const ended = once(attacker, "exit").then(([code]) => {
    over = true;
    return code;
  });
  let slowest = 0;
  while (!over) {
    const start = performance.now();
    await client.emptyCall({}, { timeoutMs: 10_000 });
    slowest = Math.max(slowest, performance.now() - start);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  expect(await ended).toBe(0);
  return slowest;
}

async function rss(): Promise<number> {
  victim.send("memory");
  const [memory] = await once(victim, "message");
  return memory.rssBytes;
}

test.each(Object.keys(attacks))(
  "%s: another connection is answered all the while, and memory stays bounded",
  async (name) => {
    const slowest: number[] = [];
    for (let attempt = 0; attempt < attemptsMax && !slowest.some((ms) => ms < answerMaxMs); attempt++)
      slowest.push(await slowestDuring(name));
    const bytes = await rss();
    process.stdout.write(
      `${name}: ${slowest.map((ms) => ms.toFixed(1)).join(", ")} ms, rss ${(bytes / 1e6).toFixed(0)} MB\n`,
    );
    expect(Math.min(...slowest)).toBeLessThan(answerMaxMs);
    expect(bytes).toBeLessThan(rssMaxBytes);
  },
  60_000,
);
