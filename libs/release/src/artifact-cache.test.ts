import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, expect, test } from "@jest/globals";
import { ArtifactCache } from "./artifact-cache.ts";
import { bundleOf } from "./scenario-bundle.ts";
import { scenarioFiles } from "./testing.ts";

const root = mkdtempSync(join(tmpdir(), "weft-cache-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const { signal } = new AbortController();
const nowMs = 1_700_000_000_000;
const sha256 = (text: string | Uint8Array) => createHash("sha256").update(text).digest("hex");

let directory = "";
let folders = 0;
let remote: Map<string, string | Uint8Array>;
let downloads: string[];
beforeEach(() => {
  directory = join(root, String(folders++));
  remote = new Map();
  downloads = [];
});

function open(change: { artifactBytesMax?: number; bytesMax?: number } = {}): ArtifactCache {
  return new ArtifactCache({
    directory,
    artifactBytesMax: 1_000_000,
    bytesMax: 1_000_000,
    nowMs: () => nowMs,
    async *download(digest) {
      downloads.push(digest);
      const bytes = remote.get(digest);
      if (bytes === undefined) throw new Error("away");
      yield Buffer.from(bytes).subarray(0, 3);
      yield Buffer.from(bytes).subarray(3);
    },
    ...change,
  });
}
const store = (text: string) => {
  remote.set(sha256(text), text);
  return sha256(text);
};
const incoming = () => readdirSync(join(directory, "incoming"));

test("downloads once for all who ask, and never again", async () => {
  const digest = store("hello");
  const cache = open();
  const paths = await Promise.all(Array.from({ length: 5 }, () => cache.artifact(digest, signal)));
  expect(new Set(paths).size).toBe(1);
  expect(readFileSync(paths[0] ?? "", "utf8")).toBe("hello");
  await open().artifact(digest, signal);
  expect(downloads).toEqual([digest]);
  expect(incoming()).toEqual([]);
});

test("bytes that are wrong, too many or broken off are not kept, and the next try can succeed", async () => {
  const digest = sha256("hello");
  const cache = open({ artifactBytesMax: 10 });
  await expect(cache.artifact(digest, signal)).rejects.toThrow("away");
  remote.set(digest, "jello");
  await expect(cache.artifact(digest, signal)).rejects.toMatchObject({
    reason: "ARTIFACT_CORRUPT",
    metadata: { expected: digest, actual: sha256("jello") },
  });
  remote.set(digest, "hello".repeat(3));
  await expect(cache.artifact(digest, signal)).rejects.toMatchObject({ reason: "ARTIFACT_TOO_LARGE" });
  expect(readdirSync(join(directory, "artifacts"))).toEqual([]);
  expect(incoming()).toEqual([]);
  store("hello");
  await cache.artifact(digest, signal);
});

test("a cached file that has gone bad is downloaded again", async () => {
  const digest = store("hello");
  const cache = open();
  const path = await cache.artifact(digest, signal);
  writeFileSync(path, "jello");
  expect(readFileSync(await cache.artifact(digest, signal), "utf8")).toBe("hello");
  expect(downloads).toEqual([digest, digest]);
});

test("unpacks a scenario under its digest, mends what was changed, and refuses a bad bundle", async () => {
  const files = scenarioFiles("fraud");
  const { bytes, digest } = bundleOf(files);
  remote.set(digest, bytes);
  const cache = open();
  const folder = await cache.scenario(digest, signal);
  expect(folder).toBe(join(directory, "code", digest));
  for (const [path, text] of files) expect(readFileSync(join(folder, path), "utf8")).toBe(text);
  writeFileSync(join(folder, "settings.ts"), "export const threshold = 0;");
  await Promise.all([cache.scenario(digest, signal), cache.scenario(digest, signal)]);
  expect(readFileSync(join(folder, "settings.ts"), "utf8")).toBe(files.get("settings.ts"));
  expect(incoming()).toEqual([]);
  const bad = store('{"files":{"scenario.ts":"","../../escaped.ts":""}}');
  await expect(cache.scenario(bad, signal)).rejects.toMatchObject({ reason: "BUNDLE_INVALID" });
  expect(existsSync(join(directory, "code", bad))).toBe(false);
});

test("trims what nothing needs, least recently used first", async () => {
  const cache = open({ bytesMax: 10 });
  const digests = ["aaaaa", "bbbbb", "ccccc", "ddddd"].map(store);
  for (const [age, digest] of digests.entries()) {
    utimesSync(await cache.artifact(digest, signal), nowMs / 1_000, nowMs / 1_000 - 100 + age);
  }
  const [first = "", , third, fourth] = digests;
  await cache.trim(new Set([first]));
  expect(readdirSync(join(directory, "artifacts")).sort()).toEqual([first, fourth].sort());
  expect(third).toBeDefined();
});

test("removes what a killed process left, once it is old", async () => {
  mkdirSync(join(directory, "incoming"), { recursive: true });
  for (const [name, ageMs] of [
    ["old", 7_200_000],
    ["new", 60_000],
  ] as const) {
    const path = join(directory, "incoming", name);
    writeFileSync(path, "half");
    utimesSync(path, nowMs / 1_000, (nowMs - ageMs) / 1_000);
  }
  await open().artifact(store("hello"), signal);
  expect(incoming()).toEqual(["new"]);
});
