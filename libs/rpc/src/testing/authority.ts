import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

function openssl(...args: readonly string[]): void {
  execFileSync("openssl", args, { stdio: "pipe" });
}

/** A certificate and its key, as files. */
export interface IssuedCertificate {
  readonly cert: string;
  readonly key: string;
}

/** An authority that issues certificates, with openssl, in a folder. */
export class Authority {
  /** Path of its own certificate. */
  readonly ca: string;
  readonly #folder: string;
  readonly #name: string;
  #serial = 1;

  constructor(folder: string, name: string) {
    this.#folder = folder;
    this.#name = name;
    this.ca = join(folder, `${name}.pem`);
    const extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign"];
    openssl(
      ...["req", "-x509", ...newKey, "-days", "2", "-subj", `/CN=${name}`],
      ...extensions.flatMap((extension) => ["-addext", extension]),
      ...["-keyout", join(folder, `${name}.key`), "-out", this.ca],
    );
  }

  /** Issues a certificate for names like "DNS:localhost"; a negative number of days gives one that has expired. */
  issue(names: readonly string[], days = 2): IssuedCertificate {
    const path = join(this.#folder, `${this.#name}-${this.#serial++}`);
    const [key, request, cert, extensions] = [`${path}.key`, `${path}.csr`, `${path}.crt`, `${path}.ext`];
    openssl("req", "-new", ...newKey, "-subj", "/CN=leaf", "-keyout", key, "-out", request);
    writeFileSync(extensions, `subjectAltName=${names.join(",")}\n`);
    openssl(
      ...["x509", "-req", "-in", request, "-CA", this.ca, "-CAkey", join(this.#folder, `${this.#name}.key`)],
      ...["-set_serial", String(this.#serial), "-days", String(days), "-extfile", extensions, "-out", cert],
    );
    return { cert, key };
  }
}

/** The material of an issued certificate and of an authority. */
export function materialOf(own: IssuedCertificate | undefined, ca: string | undefined) {
  return {
    cert: own === undefined ? undefined : readFileSync(own.cert),
    key: own === undefined ? undefined : readFileSync(own.key),
    ca: ca === undefined ? undefined : readFileSync(ca),
  };
}
