import { createHash, randomUUID } from "node:crypto";
import { type FileHandle, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { ArtifactFacts, ArtifactStore, WriteOptions } from "../domain/artifact-store.ts";
import { errors } from "../errors.ts";

const partBytes = 1_048_576;

/** What the store writes to: the part of a file handle that a full or failing disk shows itself in. */
export type WritableFile = Pick<FileHandle, "write" | "sync" | "close">;

/** How the store is opened. */
export interface FolderArtifactStoreOptions {
  /** Opens a new file for writing; the file system's own when absent. */
  readonly create?: (path: string) => Promise<WritableFile>;
}

/**
 * Artifacts as files `<folder>/<first two digits>/<digest>`. A write goes to a file of its own, is flushed, gets its name,
 * and the name is flushed, before it is answered; what a killed process left half-written is removed when the folder is
 * opened again. A read compares the whole file with its digest before it gives out the first byte, and once more while it
 * gives them out.
 */
export class FolderArtifactStore implements ArtifactStore {
  readonly #folder: string;
  readonly #incoming: string;
  readonly #create: (path: string) => Promise<WritableFile>;

  static async open(folder: string, options: FolderArtifactStoreOptions = {}): Promise<FolderArtifactStore> {
    const incoming = join(folder, "incoming");
    await rm(incoming, { recursive: true, force: true });
    await mkdir(incoming, { recursive: true });
    await flushFolder(folder);
    return new FolderArtifactStore(folder, incoming, options.create ?? ((path) => open(path, "wx", 0o644)));
  }

  private constructor(folder: string, incoming: string, create: (path: string) => Promise<WritableFile>) {
    this.#folder = folder;
    this.#incoming = incoming;
    this.#create = create;
  }

  async write(chunks: AsyncIterable<Uint8Array>, options: WriteOptions): Promise<ArtifactFacts> {
    const path = join(this.#incoming, randomUUID());
    try {
      const facts = await this.#fill(path, chunks, options);
      const place = this.#place(facts.digest);
      if ((await mkdir(dirname(place), { recursive: true })) !== undefined) await flushFolder(this.#folder);
      await rename(path, place);
      await flushFolder(dirname(place));
      return facts;
    } catch (error) {
      await rm(path, { force: true });
      throw diskFull(error) ? errors.DISK_FULL({ store: "artifacts" }, { cause: error }) : error;
    }
  }

  async *read(digest: string): AsyncGenerator<Uint8Array, void, undefined> {
    const file = await this.#openFile(digest);
    try {
      const sizeBytes = await this.#check(file, digest);
      // The bytes can still change between the check and now, so the last part is held back until all of them are checked.
      const hash = createHash("sha256");
      let held: Uint8Array | undefined;
      for (let start = 0; start < sizeBytes; start += partBytes) {
        const part = await readPart(file, start, Math.min(partBytes, sizeBytes - start));
        hash.update(part);
        if (held !== undefined) yield held;
        held = part;
      }
      if (hash.digest("hex") !== digest) throw errors.ARTIFACT_CORRUPT({ digest });
      if (held !== undefined) yield held;
    } finally {
      await file.close();
    }
  }

  async readWhole(digest: string, bytesMax: number): Promise<Uint8Array | undefined> {
    const file = await this.#openFile(digest);
    try {
      const { size } = await file.stat();
      if (size > bytesMax) return undefined;
      const bytes = await readPart(file, 0, size);
      if (createHash("sha256").update(bytes).digest("hex") !== digest) throw errors.ARTIFACT_CORRUPT({ digest });
      return bytes;
    } finally {
      await file.close();
    }
  }

  async stat(digest: string): Promise<ArtifactFacts | undefined> {
    try {
      return { digest, sizeBytes: (await stat(this.#place(digest))).size };
    } catch (error) {
      if (hasCode(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  async #fill(path: string, chunks: AsyncIterable<Uint8Array>, options: WriteOptions): Promise<ArtifactFacts> {
    const { expectedDigest, bytesMax } = options;
    const hash = createHash("sha256");
    let sizeBytes = 0;
    const file = await this.#create(path);
    try {
      for await (const chunk of chunks) {
        sizeBytes += chunk.length;
        if (sizeBytes > bytesMax) throw errors.ARTIFACT_TOO_LARGE({ limitBytes: bytesMax });
        hash.update(chunk);
        await writeAll(file, chunk);
      }
      const digest = hash.digest("hex");
      if (expectedDigest !== "" && expectedDigest !== digest) {
        throw errors.DIGEST_MISMATCH({ expected: expectedDigest, actual: digest });
      }
      await file.sync();
      return { digest, sizeBytes };
    } finally {
      await file.close();
    }
  }

  async #check(file: FileHandle, digest: string): Promise<number> {
    const { size } = await file.stat();
    const hash = createHash("sha256");
    for (let start = 0; start < size; start += partBytes) {
      hash.update(await readPart(file, start, Math.min(partBytes, size - start)));
    }
    if (hash.digest("hex") !== digest) throw errors.ARTIFACT_CORRUPT({ digest });
    return size;
  }

  async #openFile(digest: string): Promise<FileHandle> {
    try {
      return await open(this.#place(digest), "r");
    } catch (error) {
      if (hasCode(error, "ENOENT")) throw errors.ARTIFACT_NOT_FOUND({ digest });
      throw error;
    }
  }

  #place(digest: string): string {
    return join(this.#folder, digest.slice(0, 2), digest);
  }
}

async function writeAll(file: WritableFile, chunk: Uint8Array): Promise<void> {
  for (let written = 0; written < chunk.length; ) {
    const { bytesWritten } = await file.write(chunk, written, chunk.length - written);
    written += bytesWritten;
  }
}

/** Reads exactly this range; less where the file has shrunk, which the digest then shows. */
async function readPart(file: FileHandle, start: number, length: number): Promise<Uint8Array> {
  const part = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(part, filled, length - filled, start + filled);
    if (bytesRead === 0) return part.subarray(0, filled);
    filled += bytesRead;
  }
  return part;
}

async function flushFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function hasCode(error: unknown, code: string): boolean {
  return typeof error === "object" && error !== null && "code" in error && error.code === code;
}

function diskFull(error: unknown): boolean {
  return hasCode(error, "ENOSPC") || hasCode(error, "EDQUOT");
}
