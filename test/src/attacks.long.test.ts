import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { connectWeft, createClient, type Transport } from "@weft/rpc";
import { attacks } from "./attacks/attacks.ts";
import type { VictimState } from "./attacks/victim.ts";
import { asTestClient, services, type TestClient } from "./interop/test-service.ts";

/** How long the server's own work may keep a bystander waiting, in CPU time: it does not depend on what else runs here. */
const turnMaxMs = 50;
/** The bystander's slowest answer by the clock, which the attacker and all else on the machine add to. */
const answerMaxMs = 500;
const attemptsMax = 3;
const attackMs = 1_500;
/** What the process may queue of answers, and as much again for all else. */
const rssMaxBytes = 1_073_741_824;

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

/** Asks the server of its state. */
async function stateOf(): Promise<VictimState> {
  victim.send("state");
  const [state] = await once(victim, "message");
  return state;
}

interface Attempt extends VictimState {
  readonly slowestAnswerMs: number;
}

/** Runs an attack from a process of its own, and asks as a bystander all the while. */
async function attempt(name: string): Promise<Attempt> {
  await stateOf();
  const attacker = fork(join(__dirname, "attacks", "attacker.js"), [name, String(port), String(attackMs)]);
  let over = false;
  const ended = once(attacker, "exit").then(([code]) => {
    over = true;
    return code;
  });
  let slowestAnswerMs = 0;
  while (!over) {
    const start = performance.now();
    await client.emptyCall({}, { timeoutMs: 10_000 });
    slowestAnswerMs = Math.max(slowestAnswerMs, performance.now() - start);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  expect(await ended).toBe(0);
  return { ...(await stateOf()), slowestAnswerMs };
}

test.each(Object.keys(attacks))(
  "%s: another connection is answered all the while, and memory stays bounded",
  async (name) => {
    const attempts: Attempt[] = [];
    const isGood = ({ longestTurnMs, slowestAnswerMs }: Attempt) =>
      longestTurnMs < turnMaxMs && slowestAnswerMs < answerMaxMs;
    while (attempts.length < attemptsMax && !attempts.some(isGood)) attempts.push(await attempt(name));
    const lines = attempts.map(
      ({ longestTurnMs, slowestAnswerMs, rssBytes }) =>
        `slowest answer ${slowestAnswerMs.toFixed(1)} ms, longest turn ${longestTurnMs.toFixed(1)} ms of CPU, ${Math.round(rssBytes / 1e6)} MB`,
    );
    process.stdout.write(`${name}: ${lines.join("; ")}\n`);
    expect([name, lines, attempts.some(isGood)]).toEqual([name, lines, true]);
    expect(attempts.at(-1)?.rssBytes).toBeLessThan(rssMaxBytes);
  },
  60_000,
);
