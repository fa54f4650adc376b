import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errors } from "./errors.ts";
import { unpackScenario } from "./scenario-bundle.ts";

/** How a cache is opened. */
export interface ArtifactCacheOptions {
  readonly directory: string;
  /** Sends the bytes of an artifact. */
  readonly download: (digest: string, signal: AbortSignal) => AsyncIterable<Uint8Array>;
  /** Greatest size of one artifact. */
  readonly artifactBytesMax: number;
  /** Size from which artifacts that nothing needs are removed, oldest use first. */
  readonly bytesMax: number;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
}

const staleMs = 3_600_000;

/**
 * Artifacts on the local disk under their digest, downloaded once and compared with it at every use. Folder:
 * `artifacts/<digest>`, `code/<digest>/` for unpacked scenarios, `incoming/` for what is on its way.
 */
export class ArtifactCache {
  readonly #options: ArtifactCacheOptions;
  readonly #running = new Map<string, Promise<string>>();
  #opened: Promise<void> | undefined;

  constructor(options: ArtifactCacheOptions) {
    this.#options = options;
  }

  /** A local file with the bytes of this digest. Throws ARTIFACT_CORRUPT, ARTIFACT_TOO_LARGE or what the download throws. */
  artifact(digest: string, signal: AbortSignal): Promise<string> {
    return this.#once(`artifact ${digest}`, () => this.#fetch(digest, signal));
  }

  /** A local folder with the files of the scenario bundle of this digest. Throws BUNDLE_INVALID besides. */
  scenario(digest: string, signal: AbortSignal): Promise<string> {
    return this.#once(`scenario ${digest}`, () => this.#unpack(digest, signal));
  }

  /** Removes what is not kept, least recently used first, until the artifacts fit. */
  async trim(keep: ReadonlySet<string>): Promise<void> {
    const folder = join(this.#options.directory, "artifacts");
    const names = await readdir(folder).catch(() => []);
    const files = await Promise.all(
      names.map(async (digest) => ({ digest, facts: await stat(join(folder, digest)).catch(() => undefined) })),
    );
    const known = files.flatMap(({ digest, facts }) => (facts === undefined ? [] : [{ digest, facts }]));
    let bytes = known.reduce((sum, { facts }) => sum + facts.size, 0);
    for (const { digest, facts } of known.sort((a, b) => a.facts.mtimeMs - b.facts.mtimeMs)) {
      if (bytes <= this.#options.bytesMax) return;
      if (keep.has(digest) || this.#running.has(`artifact ${digest}`)) continue;
      await rm(join(folder, digest), { force: true });
      await rm(join(this.#options.directory, "code", digest), { recursive: true, force: true });
      bytes -= facts.size;
    }
  }

  #once(key: string, work: () => Promise<string>): Promise<string> {
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    const started = this.#open()
      .then(work)
      .finally(() => this.#running.delete(key));
    this.#running.set(key, started);
    return started;
  }

  #open(): Promise<void> {
    this.#opened ??= this.#prepare().catch((error) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }

  async #prepare(): Promise<void> {
    const { directory, nowMs } = this.#options;
    for (const folder of ["artifacts", "code", "incoming"]) await mkdir(join(directory, folder), { recursive: true });
    // Another process may share the folder: only what has stood still for long is left over from a killed one.
    for (const name of await readdir(join(directory, "incoming"))) {
      const path = join(directory, "incoming", name);
      const facts = await stat(path).catch(() => undefined);
      if (facts !== undefined && nowMs() - facts.mtimeMs > staleMs) await rm(path, { recursive: true, force: true });
    }
  }

  async #fetch(digest: string, signal: AbortSignal): Promise<string> {
    const { directory, nowMs } = this.#options;
    const path = join(directory, "artifacts", digest);
    if ((await digestOf(path)) === digest) {
      await utimes(path, nowMs() / 1_000, nowMs() / 1_000);
      return path;
    }
    const incoming = join(directory, "incoming", randomUUID());
    try {
      await this.#download(digest, incoming, signal);
      await rename(incoming, path);
      return path;
    } finally {
      await rm(incoming, { force: true });
    }
  }

  async #download(digest: string, path: string, signal: AbortSignal): Promise<void> {
    const limitBytes = this.#options.artifactBytesMax;
    const hash = createHash("sha256");
    const file = await open(path, "wx");
    try {
      let bytes = 0;
      for await (const chunk of this.#options.download(digest, signal)) {
        bytes += chunk.length;
        if (bytes > limitBytes) throw errors.ARTIFACT_TOO_LARGE({ digest, limitBytes });
        hash.update(chunk);
        await file.writeFile(chunk);
      }
    } finally {
      await file.close();
    }
    const actual = hash.digest("hex");
    if (actual !== digest) throw errors.ARTIFACT_CORRUPT({ expected: digest, actual });
  }

  async #unpack(digest: string, signal: AbortSignal): Promise<string> {
    const { directory } = this.#options;
    const bundle = await this.artifact(digest, signal);
    const texts = unpackScenario(await readFile(bundle));
    const folder = join(directory, "code", digest);
    if (await holds(folder, texts)) return folder;
    const incoming = join(directory, "incoming", randomUUID());
    try {
      for (const [path, text] of texts) {
        const file = join(incoming, path);
        await mkdir(dirname(file), { recursive: true });
        await writeFile(file, text, { flag: "wx" });
      }
      await rm(folder, { recursive: true, force: true });
      await rename(incoming, folder);
      return folder;
    } catch (error) {
      // Another process that shares the folder may have been first.
      if (await holds(folder, texts)) return folder;
      throw error;
    } finally {
      await rm(incoming, { recursive: true, force: true });
    }
  }
}

/** The digest of a file; undefined where there is none. */
async function digestOf(path: string): Promise<string | undefined> {
  const hash = createHash("sha256");
  try {
    for await (const part of createReadStream(path, { highWaterMark: 1_048_576 })) hash.update(part);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
  return hash.digest("hex");
}

async function holds(folder: string, texts: ReadonlyMap<string, string>): Promise<boolean> {
  for (const [path, text] of texts) {
    const found = await readFile(join(folder, path), "utf8").catch(() => undefined);
    if (found !== text) return false;
  }
  return true;
}
