import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import { artifactStoreContract } from "../domain/artifact-store.contract.ts";
import { sha256 } from "../domain/canonical.ts";
import { FolderArtifactStore, type WritableFile } from "./folder-artifact-store.ts";

const root = mkdtempSync(join(tmpdir(), "weft-artifacts-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
let current = "";
const freshFolder = () => {
  current = join(root, String(folders++));
  return current;
};

artifactStoreContract({
  name: "folder",
  open: () => FolderArtifactStore.open(freshFolder()),
  spoil: async (_, digest) => writeFileSync(join(current, digest.slice(0, 2), digest), "jello"),
});

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
const options = { expectedDigest: "", bytesMax: 1_000 };

test("a full disk refuses the write, at whichever step, and leaves nothing", async () => {
  const full = Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
  for (const step of ["create", "write", "sync"] as const) {
    const folder = freshFolder();
    const store = await FolderArtifactStore.open(folder, {
      create: async (path): Promise<WritableFile> => {
        if (step === "create") throw full;
        const file = await open(path, "wx");
        if (step === "write") file.write = () => Promise.reject(full);
        else file.sync = () => Promise.reject(full);
        return file;
      },
    });
    await expect(store.write(once("hello"), options)).rejects.toMatchObject({ reason: "DISK_FULL", cause: full });
    expect(await store.stat(sha256("hello"))).toBeUndefined();
    expect(readdirSync(join(folder, "incoming"))).toEqual([]);
  }
});

test("the file is flushed before it gets its name", async () => {
  const folder = freshFolder();
  const steps: string[] = [];
  const store = await FolderArtifactStore.open(folder, {
    create: async (path) => {
      const file = await open(path, "wx");
      const sync = file.sync.bind(file);
      file.sync = () => {
        const place = join(folder, sha256("hello").slice(0, 2), sha256("hello"));
        steps.push(existsSync(place) ? "named" : "not named");
        return sync();
      };
      return file;
    },
  });
  await store.write(once("hello"), options);
  expect(steps).toEqual(["not named"]);
});

test("a cut file is corrupt, and what a killed write left is removed on opening", async () => {
  const folder = freshFolder();
  const store = await FolderArtifactStore.open(folder);
  const { digest } = await store.write(once("hello"), options);
  writeFileSync(join(folder, digest.slice(0, 2), digest), "hel");
  await expect(store.readWhole(digest, 100)).rejects.toMatchObject({ reason: "ARTIFACT_CORRUPT" });
  writeFileSync(join(folder, "incoming", "left"), "hel");
  await FolderArtifactStore.open(folder);
  expect(readdirSync(join(folder, "incoming"))).toEqual([]);
});
