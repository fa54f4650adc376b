import { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { systemTimers, type Timers } from "../weft/timers.ts";
import { type TlsMaterial, type TlsSource, tlsOptions } from "./tls-source.ts";

/** Paths of PEM files; undefined for none. A certificate needs its key. */
export interface CertificatePaths {
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly ca: string | undefined;
}

/** Settings of certificates from files. */
export interface CertificateFilesOptions {
  /** How often the files are looked at for a change, milliseconds. */
  readonly reloadMs: number;
  /** A change was taken. */
  readonly reloaded?: () => void;
  /** A change was not taken, and why; what was before stays. Told once a change. */
  readonly refused?: (fault: CertificateFault) => void;
  readonly timers?: Timers;
  /** Now, in epoch milliseconds: for what has expired. */
  readonly nowMs?: () => number;
}

/** Why certificates cannot be used. */
export class CertificateFault extends Error {
  override readonly name = "CertificateFault";
  /** Which of the files is at fault. */
  readonly part: keyof CertificatePaths;

  constructor(part: keyof CertificatePaths, message: string, cause?: unknown) {
    super(message, { cause });
    this.part = part;
  }
}

const parts = ["cert", "key", "ca"] as const;
/** A bundle of authorities of a whole distribution has some 200 KB. */
const fileBytesMax = 4_194_304;

/**
 * Certificates from files, read again when they change. The files are looked at by time, size and place, not watched:
 * that works on every file system, and for secrets of Kubernetes, which are swapped by a link.
 */
export class CertificateFiles implements TlsSource {
  readonly #paths: CertificatePaths;
  readonly #options: CertificateFilesOptions;
  readonly #timers: Timers;
  readonly #watchers = new Set<() => void>();
  #material: TlsMaterial;
  #expiresMs: number;
  #seen: string;
  #timer: { cancel(): void } | undefined = undefined;

  /** Reads the files. Throws CertificateFault where they cannot be used. */
  static open(paths: CertificatePaths, options: CertificateFilesOptions): CertificateFiles {
    const seen = stamp(paths);
    return new CertificateFiles(paths, options, read(paths, (options.nowMs ?? Date.now)()), seen);
  }

  private constructor(paths: CertificatePaths, options: CertificateFilesOptions, found: Found, seen: string) {
    this.#paths = paths;
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
    this.#material = found.material;
    this.#expiresMs = found.expiresMs;
    this.#seen = seen;
    this.#look();
  }

  current(): TlsMaterial {
    return this.#material;
  }

  /** When the first of the certificates expires, epoch milliseconds; Infinity where there is none of one's own. */
  get expiresMs(): number {
    return this.#expiresMs;
  }

  watch(changed: () => void): () => void {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  }

  /** Looks at the files no more. */
  close(): void {
    this.#timer?.cancel();
    this.#watchers.clear();
  }

  #look(): void {
    this.#timer = this.#timers.setTimer(this.#options.reloadMs, () => {
      this.#reload();
      this.#look();
    });
  }

  #reload(): void {
    const now = stamp(this.#paths);
    if (now === this.#seen) return;
    this.#seen = now;
    try {
      const found = read(this.#paths, (this.#options.nowMs ?? Date.now)());
      this.#material = found.material;
      this.#expiresMs = found.expiresMs;
    } catch (error) {
      if (!(error instanceof CertificateFault)) throw error;
      this.#options.refused?.(error);
      return;
    }
    for (const changed of [...this.#watchers]) changed();
    this.#options.reloaded?.();
  }
}

/** What changes when a file does. */
function stamp(paths: CertificatePaths): string {
  return parts
    .map((part) => {
      const path = paths[part];
      if (path === undefined) return "";
      const stat = statSync(path, { throwIfNoEntry: false, bigint: true });
      return stat === undefined ? "none" : `${stat.mtimeNs} ${stat.size} ${stat.ino}`;
    })
    .join(",");
}

interface Found {
  readonly material: TlsMaterial;
  readonly expiresMs: number;
}

function read(paths: CertificatePaths, nowMs: number): Found {
  if (paths.cert !== undefined && paths.key === undefined)
    throw new CertificateFault("key", "a certificate needs the file of its key");
  if (paths.key !== undefined && paths.cert === undefined)
    throw new CertificateFault("cert", "a key needs the file of its certificate");
  const [cert, key, ca] = parts.map((part) => readPart(part, paths[part]));
  const own = cert === undefined ? [] : certificatesOf("cert", paths.cert, cert);
  if (ca !== undefined) certificatesOf("ca", paths.ca, ca);
  for (const { validTo } of own)
    if (Date.parse(validTo) <= nowMs) throw new CertificateFault("cert", `${paths.cert}: expired on ${validTo}`);
  const material: TlsMaterial = { cert, key, ca };
  try {
    createSecureContext(tlsOptions(material));
  } catch (cause) {
    const why = cause instanceof Error && /mismatch/i.test(cause.message) ? "not the key of the certificate" : "no key";
    throw new CertificateFault("key", `${paths.key}: ${why}`, cause);
  }
  return { material, expiresMs: Math.min(...own.map(({ validTo }) => Date.parse(validTo))) };
}

function readPart(part: keyof CertificatePaths, path: string | undefined): Buffer | undefined {
  if (path === undefined) return undefined;
  try {
    const { size } = statSync(path);
    if (size > fileBytesMax) throw new CertificateFault(part, `${path}: more than ${fileBytesMax} bytes`);
    return readFileSync(path);
  } catch (cause) {
    if (cause instanceof CertificateFault) throw cause;
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    const why = code === "ENOENT" ? "no such file" : code === "EACCES" ? "may not be read" : String(cause);
    throw new CertificateFault(part, `${path}: ${why}`, cause);
  }
}

/** Every certificate of a file, which must have one at least. */
function certificatesOf(part: "cert" | "ca", path: string | undefined, pem: Buffer): readonly X509Certificate[] {
  const blocks = pem.toString("latin1").match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g);
  if (blocks === null) throw new CertificateFault(part, `${path}: no certificate in PEM`);
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (cause) {
    throw new CertificateFault(part, `${path}: not a certificate`, cause);
  }
}
