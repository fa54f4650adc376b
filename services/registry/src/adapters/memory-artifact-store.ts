import type { ArtifactFacts, ArtifactStore, WriteOptions } from "../domain/artifact-store.ts";
import { sha256 } from "../domain/canonical.ts";
import { errors } from "../errors.ts";

const partBytes = 1_048_576;

/** Artifacts in memory, for tests and for processes that keep nothing. */
export class MemoryArtifactStore implements ArtifactStore {
  readonly #artifacts = new Map<string, Uint8Array>();

  async write(chunks: AsyncIterable<Uint8Array>, options: WriteOptions): Promise<ArtifactFacts> {
    const { expectedDigest, bytesMax } = options;
    const parts: Uint8Array[] = [];
    let sizeBytes = 0;
    for await (const chunk of chunks) {
      sizeBytes += chunk.length;
      if (sizeBytes > bytesMax) throw errors.ARTIFACT_TOO_LARGE({ limitBytes: bytesMax });
      parts.push(Uint8Array.from(chunk));
    }
    const bytes = new Uint8Array(Buffer.concat(parts));
    const digest = sha256(bytes);
    if (expectedDigest !== "" && expectedDigest !== digest) {
      throw errors.DIGEST_MISMATCH({ expected: expectedDigest, actual: digest });
    }
    this.#artifacts.set(digest, bytes);
    return { digest, sizeBytes };
  }

  async *read(digest: string): AsyncGenerator<Uint8Array, void, undefined> {
    const bytes = this.#checked(digest);
    for (let start = 0; start < bytes.length; start += partBytes) yield bytes.slice(start, start + partBytes);
  }

  async readWhole(digest: string, bytesMax: number): Promise<Uint8Array | undefined> {
    const bytes = this.#checked(digest);
    return bytes.length > bytesMax ? undefined : bytes.slice();
  }

  async stat(digest: string): Promise<ArtifactFacts | undefined> {
    const bytes = this.#artifacts.get(digest);
    return bytes === undefined ? undefined : { digest, sizeBytes: bytes.length };
  }

  /** Changes one byte of what is stored, as a failing disk would. */
  spoil(digest: string): void {
    const bytes = this.#artifacts.get(digest);
    if (bytes !== undefined) bytes[0] = (bytes[0] ?? 0) ^ 1;
  }

  #checked(digest: string): Uint8Array {
    const bytes = this.#artifacts.get(digest);
    if (bytes === undefined) throw errors.ARTIFACT_NOT_FOUND({ digest });
    if (sha256(bytes) !== digest) throw errors.ARTIFACT_CORRUPT({ digest });
    return bytes;
  }
}
