import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, test } from "@jest/globals";
import { processEnvironment } from "@weft/config";
import { startRedis } from "./redis.ts";
import { ServerProcess } from "./server-process.ts";

const execute = promisify(execFile);
const scratch = mkdtempSync(join(tmpdir(), "weft-local-servers-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Installs once in a process of its own; `effect` is what the installation does. */
function installer(effect: string): Promise<{ readonly stdout: string }> {
  const program = `
    const { appendFileSync, writeFileSync, existsSync } = require("node:fs");
    const { installOnce } = require(${JSON.stringify(join(__dirname, "install-once.js"))});
    const runs = ${JSON.stringify(join(scratch, "runs"))};
    installOnce("tool-1", async (folder) => {
      appendFileSync(runs, "x");
      ${effect}
      await new Promise((resolve) => setTimeout(resolve, 100));
      writeFileSync(folder + "/whole", "");
    }).then((folder) => console.log(existsSync(folder + "/whole")));`;
  return execute(process.execPath, ["-e", program], { env: { ...processEnvironment(), WEFT_CACHE: scratch } });
}

test("an installation that was cut short is begun anew, and processes that ask at once install once", async () => {
  await expect(
    installer(`writeFileSync(folder + "/half", ""); process.kill(process.pid, "SIGKILL");`),
  ).rejects.toThrow();
  const found = await Promise.all([installer(""), installer(""), installer("")]);
  expect(found.map(({ stdout }) => stdout.trim())).toEqual(["true", "true", "true"]);
  expect(readFileSync(join(scratch, "runs"), "utf8")).toBe("xx");
  expect(existsSync(join(scratch, "tool-1", "half"))).toBe(false);
});

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

describe("a server", () => {
  test("keeps its port and data over a crash, holds still while paused, and leaves nothing behind", async () => {
    const { port, server } = await startRedis();
    const ask = (line: string, timeoutMs = 5_000) =>
      new Promise<string>((resolve) => {
        const socket = connect({ port, host: "127.0.0.1" }, () => socket.write(`${line}\r\n`));
        socket.setTimeout(timeoutMs, () => socket.destroy());
        socket.once("data", (answer) => {
          resolve(String(answer).trim());
          socket.destroy();
        });
        socket.once("error", ({ message }) => resolve(message.replace(/ .*/, "")));
        socket.once("close", () => resolve("silence"));
      });
    try {
      expect(await ask("SET key value")).toBe("+OK");
      server.pause();
      expect(await ask("PING", 100)).toBe("silence");
      server.resume();
      expect(await ask("PING")).toBe("+PONG");
      await server.kill();
      expect([server.pid, await ask("PING")]).toEqual([undefined, "connect"]);
      await server.start();
      expect(await ask("GETRANGE key 0 -1")).toContain("value");
    } finally {
      await server.close();
    }
    expect(existsSync(server.folder)).toBe(false);
  });

  test("ends with everything that it has started", async () => {
    const file = join(scratch, "grandchild");
    const program = `
      const child = require("node:child_process").spawn("sleep", ["600"]);
      require("node:fs").writeFileSync(${JSON.stringify(file)}, String(child.pid));
      setInterval(() => {}, 1_000);`;
    const server = await ServerProcess.start({
      name: "parent",
      command: process.execPath,
      args: () => ["-e", program],
      isReady: async () => existsSync(file) && readFileSync(file, "utf8") !== "",
      readyTimeoutMs: 10_000,
    });
    const grandchild = Number(readFileSync(file, "utf8"));
    expect(process.kill(grandchild, 0)).toBe(true);
    await server.close();
    // A process that has ended is there until its new parent has asked for it.
    for (let tries = 0; tries < 100 && isRunning(grandchild); tries++)
      await new Promise((resolve) => setTimeout(resolve, 20));
    expect(isRunning(grandchild)).toBe(false);
  });

  test("that does not come up says why, with the end of its log", async () => {
    const start = (script: string) =>
      ServerProcess.start({
        name: "broken",
        command: "sh",
        args: () => ["-c", script],
        isReady: async () => false,
        readyTimeoutMs: 500,
      });
    await expect(start("echo no room; exit 3")).rejects.toThrow(/broken ended with 3\nno room/);
    await expect(start("echo here; exec sleep 60")).rejects.toThrow(/broken was not ready after 500 ms\nhere/);
  });
});
