/** What is known of a stored artifact. */
export interface ArtifactFacts {
  /** sha256, 64 hex digits. */
  readonly digest: string;
  readonly sizeBytes: number;
}

/** Bounds of a write. */
export interface WriteOptions {
  /** Digest that the bytes must have; unchecked when "". */
  readonly expectedDigest: string;
  readonly bytesMax: number;
}

/**
 * Bytes under their sha256. What `write` has answered is durable and whole; a write that fails leaves nothing. Every read
 * is checked against the digest first, so wrong bytes are never given out.
 */
export interface ArtifactStore {
  /**
   * Stores the bytes; the same bytes again answer the same facts, and mend an artifact that has gone bad. Throws
   * DIGEST_MISMATCH, ARTIFACT_TOO_LARGE or DISK_FULL, and whatever the chunks throw.
   */
  write(chunks: AsyncIterable<Uint8Array>, options: WriteOptions): Promise<ArtifactFacts>;
  /** Reads in parts of at most 1 MiB. Throws ARTIFACT_NOT_FOUND or ARTIFACT_CORRUPT before the first part. */
  read(digest: string): AsyncIterable<Uint8Array>;
  /** Reads all of an artifact of at most `bytesMax`; undefined where it is larger. Throws as `read` does. */
  readWhole(digest: string, bytesMax: number): Promise<Uint8Array | undefined>;
  /** Facts without reading the bytes; undefined where there is no such artifact. */
  stat(digest: string): Promise<ArtifactFacts | undefined>;
}
