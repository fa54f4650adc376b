import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AttributeColumn, type AttributeScalar } from "../domain/attribute-column.ts";
import { ExactIndex } from "../domain/exact-index.ts";
import { ItemKeyColumn, type KeyType } from "../domain/item-keys.ts";
import type { Metric } from "../domain/vector-index.ts";
import { type GraphOptions, UsearchIndex } from "./usearch-index.ts";

/** Files of a generation, besides its manifest. All numbers little-endian. */
export const generationFiles = {
  /** float32[items, dimension], row-major. */
  vectors: "vectors.f32",
  /** int64 keys one after another, or UTF-8 keys with a length (uint32) before each. */
  keys: "keys.bin",
  /** Names and dictionaries of the attributes. */
  attributes: "attributes.json",
  /** uint32[attributes, items]: positions in the dictionaries. */
  codes: "attributes.u32",
  /** Graph as usearch writes it. */
  graph: "graph.usearch",
} as const;

/** Name of the manifest, the last file of a generation to be written. */
export const manifestFile = "manifest.json";

/** What a generation is, and what its files must be. */
export interface Manifest {
  readonly format: 1;
  readonly scenario: string;
  readonly index: string;
  readonly generation: number;
  readonly dimension: number;
  readonly metric: Metric;
  readonly keyType: KeyType;
  readonly itemCount: number;
  readonly graph: GraphOptions;
  readonly requestId: string;
  /** Milliseconds since 1970. */
  readonly createdMs: number;
  /** Recall@k of the graph when it was built, 0 to 1. */
  readonly recall: number;
  readonly files: Readonly<Record<string, { readonly sizeBytes: number; readonly sha256: string }>>;
}

/** A file that is not what the manifest says. */
export class CorruptFileError extends Error {
  override readonly name = "CorruptFileError";
  readonly file: string;
  readonly problem: string;

  constructor(file: string, problem: string, cause?: unknown) {
    super(`${file} ${problem}`, cause === undefined ? undefined : { cause });
    this.file = file;
    this.problem = problem;
  }
}

/** Writes a file part by part, counting and hashing what goes in, and syncs it to the disk at the end. */
export class HashedFile {
  private readonly handle: FileHandle;
  private readonly hash: Hash = createHash("sha256");
  private sizeBytes = 0;

  private constructor(handle: FileHandle) {
    this.handle = handle;
  }

  /** Creates a file that must not exist. */
  static async create(path: string): Promise<HashedFile> {
    return new HashedFile(await open(path, "wx"));
  }

  async append(bytes: Uint8Array): Promise<void> {
    let written = 0;
    while (written < bytes.byteLength) {
      written += (await this.handle.write(bytes, written, bytes.byteLength - written)).bytesWritten;
    }
    this.hash.update(bytes);
    this.sizeBytes += bytes.byteLength;
  }

  async finish(): Promise<{ sizeBytes: number; sha256: string }> {
    await this.handle.sync();
    await this.handle.close();
    return { sizeBytes: this.sizeBytes, sha256: this.hash.digest("hex") };
  }

  /** Lets the file go unfinished. */
  async abandon(): Promise<void> {
    await this.handle.close().catch(() => {});
  }
}

/** Writes a whole file and syncs it to the disk. */
export async function writeHashed(
  path: string,
  parts: Iterable<Uint8Array>,
): Promise<{ sizeBytes: number; sha256: string }> {
  const file = await HashedFile.create(path);
  try {
    for (const part of parts) await file.append(part);
    return await file.finish();
  } catch (error) {
    await file.abandon();
    throw error;
  }
}

/** Size and sha256 of a file. */
export async function hashFile(path: string): Promise<{ sizeBytes: number; sha256: string }> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    const bytes = chunk as Buffer;
    hash.update(bytes);
    sizeBytes += bytes.byteLength;
  }
  return { sizeBytes, sha256: hash.digest("hex") };
}

/** Syncs what another writer (a native library, a rename) left in a file or folder. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Bytes of the keys file. */
export function* encodeKeys(keys: readonly string[] | BigInt64Array): Iterable<Uint8Array> {
  if (keys instanceof BigInt64Array) {
    yield new Uint8Array(keys.buffer, keys.byteOffset, keys.byteLength);
    return;
  }
  const partKeys = 8_192;
  for (let from = 0; from < keys.length; from += partKeys) {
    const texts = keys.slice(from, from + partKeys).map((key) => Buffer.from(key, "utf8"));
    const part = Buffer.allocUnsafe(texts.reduce((sum, text) => sum + 4 + text.length, 0));
    let at = 0;
    for (const text of texts) {
      at = part.writeUInt32LE(text.length, at);
      at += text.copy(part, at);
    }
    yield part;
  }
}

function decodeKeys(type: KeyType, bytes: Buffer, itemCount: number): readonly string[] | BigInt64Array {
  const { keys } = generationFiles;
  if (type === "integer") {
    if (bytes.length !== itemCount * 8) throw new CorruptFileError(keys, `holds no ${itemCount} keys`);
    return new BigInt64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  }
  const texts: string[] = [];
  let at = 0;
  while (at + 4 <= bytes.length) {
    const length = bytes.readUInt32LE(at);
    texts.push(bytes.toString("utf8", at + 4, at + 4 + length));
    at += 4 + length;
  }
  if (texts.length !== itemCount || at !== bytes.length) throw new CorruptFileError(keys, `holds no ${itemCount} keys`);
  return texts;
}

/** Text of the attributes file; integers are texts, so that they lose no bit. */
export function encodeDictionaries(columns: readonly AttributeColumn[]): string {
  return JSON.stringify(
    columns.map(({ name, dictionary }) => ({
      name,
      values: dictionary.map((value) => (typeof value === "bigint" ? { integer: value.toString() } : value)),
    })),
  );
}

function decodeDictionaries(text: string): { name: string; values: AttributeScalar[] }[] {
  const parsed = JSON.parse(text) as {
    name: string;
    values: (Exclude<AttributeScalar, bigint> | { integer: string })[];
  }[];
  return parsed.map(({ name, values }) => ({
    name,
    values: values.map((value) => (typeof value === "object" && value !== null ? BigInt(value.integer) : value)),
  }));
}

/** Reads a manifest. Throws CorruptFileError where it is none. */
export async function readManifest(folder: string): Promise<Manifest> {
  try {
    const manifest = JSON.parse(await readFile(join(folder, manifestFile), "utf8")) as Partial<Manifest>;
    if (manifest.format !== 1 || typeof manifest.generation !== "number" || typeof manifest.files !== "object") {
      throw new Error("it lacks fields");
    }
    return manifest as Manifest;
  } catch (error) {
    throw new CorruptFileError(manifestFile, "cannot be read", error);
  }
}

/** Writes and syncs a manifest: from here on the folder is a generation. */
export async function writeManifest(folder: string, manifest: Manifest): Promise<void> {
  const path = join(folder, manifestFile);
  await writeFile(path, `${JSON.stringify(manifest, null, 2)}\n`, { flag: "wx" });
  await syncPath(path);
}

/** Size of a generation's files, manifest aside. */
export function sizeBytesOf({ files }: Manifest): number {
  return Object.values(files).reduce((sum, file) => sum + file.sizeBytes, 0);
}

/** Checks size and sha256 of every file of a generation. Throws CorruptFileError for the first that differs. */
export async function checkFiles(folder: string, manifest: Manifest): Promise<void> {
  for (const file of Object.values(generationFiles)) {
    const expected = manifest.files[file];
    const found = await stat(join(folder, file)).catch(() => undefined);
    if (expected === undefined || found === undefined) throw new CorruptFileError(file, "is missing");
    if (found.size !== expected.sizeBytes) {
      throw new CorruptFileError(file, `has ${found.size} bytes, not ${expected.sizeBytes}`);
    }
    const { sha256 } = await hashFile(join(folder, file));
    if (sha256 !== expected.sha256) throw new CorruptFileError(file, "does not match its checksum");
  }
}

/** Reads the vectors of a generation whose files were checked. */
export async function readVectors(folder: string, itemCount: number, dimension: number): Promise<Float32Array> {
  const vectors = new Float32Array(itemCount * dimension);
  const bytes = new Uint8Array(vectors.buffer);
  const handle = await open(join(folder, generationFiles.vectors), "r");
  try {
    let at = 0;
    while (at < bytes.byteLength) {
      const { bytesRead } = await handle.read(bytes, at, Math.min(bytes.byteLength - at, 1 << 26), at);
      if (bytesRead === 0) throw new CorruptFileError(generationFiles.vectors, "ends early");
      at += bytesRead;
    }
  } finally {
    await handle.close();
  }
  return vectors;
}

/** What is read from the files of a generation. */
export interface GenerationContent {
  readonly keys: ItemKeyColumn;
  readonly columns: readonly AttributeColumn[];
  readonly exact: ExactIndex;
  readonly graph: UsearchIndex;
}

/** Checks and reads a generation. Throws CorruptFileError. */
export async function readGeneration(folder: string, manifest: Manifest): Promise<GenerationContent> {
  await checkFiles(folder, manifest);
  const { itemCount, dimension, keyType, metric, graph: options } = manifest;
  const path = (file: string) => join(folder, file);
  const vectors = await readVectors(folder, itemCount, dimension);
  const keys = decodeKeys(keyType, await readFile(path(generationFiles.keys)), itemCount);
  const dictionaries = decodeDictionaries(await readFile(path(generationFiles.attributes), "utf8"));
  const codesFile = await readFile(path(generationFiles.codes));
  const codes = new Uint32Array(codesFile.buffer.slice(codesFile.byteOffset, codesFile.byteOffset + codesFile.length));
  const columns = dictionaries.map(
    ({ name, values }, i) => new AttributeColumn(name, values, codes.subarray(i * itemCount, (i + 1) * itemCount)),
  );
  const exact = new ExactIndex(vectors, dimension);
  const graph = UsearchIndex.load(path(generationFiles.graph), exact, metric, options);
  return { keys: new ItemKeyColumn(keys), columns, exact, graph };
}
