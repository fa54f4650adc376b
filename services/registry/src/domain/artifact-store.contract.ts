import { beforeEach, describe, expect, test } from "@jest/globals";
import type { ArtifactStore } from "./artifact-store.ts";
import { sha256 } from "./canonical.ts";

/** An artifact store under test. */
export interface ArtifactStoreBackend {
  readonly name: string;
  /** Opens an empty store. */
  open(): Promise<ArtifactStore>;
  /** Changes a stored artifact behind the store's back. */
  spoil(store: ArtifactStore, digest: string): Promise<void>;
}

/** What every artifact store does. */
export function artifactStoreContract(backend: ArtifactStoreBackend): void {
  describe(`artifact store: ${backend.name}`, () => {
    let store: ArtifactStore;
    beforeEach(async () => {
      store = await backend.open();
    });

    const put = (text: string, expectedDigest = "", bytesMax = 1_000) =>
      store.write(parts(Buffer.from(text)), { expectedDigest, bytesMax });
    const get = async (digest: string) => Buffer.concat(await collect(store.read(digest))).toString();

    test("gives back what was written, under its digest", async () => {
      const facts = { digest: sha256("hello"), sizeBytes: 5 };
      expect(await put("hello")).toEqual(facts);
      expect(await put("hello", facts.digest)).toEqual(facts);
      expect(await get(facts.digest)).toBe("hello");
      expect(await store.stat(facts.digest)).toEqual(facts);
      expect(Buffer.from((await store.readWhole(facts.digest, 5)) ?? []).toString()).toBe("hello");
      expect(await store.readWhole(facts.digest, 4)).toBeUndefined();
    });

    test("keeps an empty artifact and one of several parts", async () => {
      expect(await put("")).toEqual({ digest: sha256(""), sizeBytes: 0 });
      expect(await get(sha256(""))).toBe("");
      const large = Buffer.alloc(2_500_000, 7);
      const { digest } = await store.write(parts(large), { expectedDigest: "", bytesMax: large.length });
      const read = await collect(store.read(digest));
      expect(Math.max(...read.map((part) => part.length))).toBeLessThanOrEqual(1_048_576);
      expect(Buffer.concat(read).equals(large)).toBe(true);
    });

    test("an unknown digest is not found", async () => {
      const digest = "0".repeat(64);
      expect(await store.stat(digest)).toBeUndefined();
      await expect(get(digest)).rejects.toMatchObject({ reason: "ARTIFACT_NOT_FOUND" });
      await expect(store.readWhole(digest, 10)).rejects.toMatchObject({ reason: "ARTIFACT_NOT_FOUND" });
    });

    test("a write that is wrong, too large or broken off leaves nothing", async () => {
      await expect(put("hello", "0".repeat(64))).rejects.toMatchObject({
        reason: "DIGEST_MISMATCH",
        metadata: { actual: sha256("hello") },
      });
      await expect(put("hello", "", 4)).rejects.toMatchObject({ reason: "ARTIFACT_TOO_LARGE" });
      async function* broken(): AsyncGenerator<Uint8Array> {
        yield Buffer.from("hello");
        throw new Error("the caller went away");
      }
      await expect(store.write(broken(), { expectedDigest: "", bytesMax: 10 })).rejects.toThrow("went away");
      expect(await store.stat(sha256("hello"))).toBeUndefined();
    });

    test("what has gone bad is never given out, says its digest, and is mended by the same bytes", async () => {
      const { digest } = await put("hello");
      await backend.spoil(store, digest);
      const corrupt = { reason: "ARTIFACT_CORRUPT", code: 15, metadata: { digest } };
      const given: Uint8Array[] = [];
      await expect(
        (async () => {
          for await (const part of store.read(digest)) given.push(part);
        })(),
      ).rejects.toMatchObject(corrupt);
      expect(given).toEqual([]);
      await expect(store.readWhole(digest, 100)).rejects.toMatchObject(corrupt);
      await put("hello");
      expect(await get(digest)).toBe("hello");
    });

    test("the same artifact written many times at once is one", async () => {
      const text = "x".repeat(10_000);
      const facts = await Promise.all(Array.from({ length: 8 }, () => put(text, "", 20_000)));
      expect(new Set(facts.map((f) => f.digest))).toEqual(new Set([sha256(text)]));
      expect(await get(sha256(text))).toBe(text);
    });
  });
}

/** Bytes in parts that do not fit the store's own. */
async function* parts(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += 700_001) yield bytes.subarray(start, start + 700_001);
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const all: Uint8Array[] = [];
  for await (const part of source) all.push(part);
  return all;
}
