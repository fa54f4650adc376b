import {
  appendFileSync,
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { FakeClock } from "@weft/repeatable";
import { Authority, type IssuedCertificate } from "../testing/authority.ts";
import { CertificateFault, CertificateFiles, type CertificatePaths } from "./certificate-files.ts";

let folder = "";
let authority: Authority;
let first: IssuedCertificate;
let second: IssuedCertificate;
let expired: IssuedCertificate;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "weft-certificates-"));
  authority = new Authority(folder, "authority");
  [first, second] = [authority.issue(["DNS:localhost"]), authority.issue(["DNS:localhost"], 10)];
  expired = authority.issue(["DNS:localhost"], -1);
}, 30_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("certificates that cannot be used are refused with the file and why", () => {
  const at = (name: string) => join(folder, name);
  test.each<[string, () => CertificatePaths, string, string]>([
    ["no certificate", () => ({ ...first, cert: at("none.crt"), ca: undefined }), "cert", "none.crt: no such file"],
    ["no key", () => ({ ...first, key: at("none.key"), ca: undefined }), "key", "none.key: no such file"],
    ["no authority", () => ({ ...first, ca: at("none.pem") }), "ca", "none.pem: no such file"],
    ["a folder", () => ({ ...first, cert: folder, ca: undefined }), "cert", "EISDIR"],
    ["a key alone", () => ({ cert: undefined, key: first.key, ca: undefined }), "cert", "a key needs"],
    ["a certificate alone", () => ({ cert: first.cert, key: undefined, ca: undefined }), "key", "a certificate needs"],
    ["another's key", () => ({ cert: first.cert, key: second.key, ca: undefined }), "key", "not the key of the cert"],
    ["a certificate as key", () => ({ ...first, key: first.cert, ca: undefined }), "key", "no key"],
    ["a key as certificate", () => ({ ...first, cert: first.key, ca: undefined }), "cert", "no certificate in PEM"],
    ["text", () => ({ ...first, ca: at("text.pem") }), "ca", "no certificate in PEM"],
    ["a broken certificate", () => ({ ...first, ca: at("broken.pem") }), "ca", "not a certificate"],
    ["a file too large", () => ({ ...first, ca: at("large.pem") }), "ca", "more than 4194304 bytes"],
    ["one that has expired", () => ({ ...expired, ca: undefined }), "cert", "expired on"],
  ])("%s", (_name, paths, part, why) => {
    writeFileSync(at("text.pem"), "hello");
    writeFileSync(at("broken.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    writeFileSync(at("large.pem"), Buffer.alloc(5_000_000));
    let fault: unknown;
    try {
      CertificateFiles.open(paths(), { reloadMs: 1_000, timers: new FakeClock(0) });
    } catch (error) {
      fault = error;
    }
    expect(fault).toBeInstanceOf(CertificateFault);
    expect(fault).toMatchObject({ part, message: expect.stringContaining(why) });
  });
});

describe("certificates that change", () => {
  let timers: FakeClock;
  let paths: { cert: string; key: string; ca: string };
  let files: CertificateFiles;
  let events: string[];
  const use = (issued: IssuedCertificate) => {
    copyFileSync(issued.cert, paths.cert);
    copyFileSync(issued.key, paths.key);
  };
  beforeEach(() => {
    timers = new FakeClock(0);
    events = [];
    paths = { cert: join(folder, "live.crt"), key: join(folder, "live.key"), ca: join(folder, "live.pem") };
    copyFileSync(authority.ca, paths.ca);
    use(first);
    files = CertificateFiles.open(paths, {
      reloadMs: 1_000,
      timers,
      reloaded: () => events.push("reloaded"),
      refused: ({ message }) => events.push(message.replace(folder, "")),
    });
    files.watch(() => events.push("changed"));
  });

  test("are taken, and say when they expire", async () => {
    const before = files.current();
    const expires = files.expiresMs;
    await timers.advance(5_000);
    expect([events, files.current()]).toEqual([[], before]);
    use(second);
    await timers.advance(1_000);
    expect(events).toEqual(["changed", "reloaded"]);
    expect(files.current().cert?.equals(before.cert ?? Buffer.alloc(0))).toBe(false);
    expect(files.expiresMs - expires).toBeGreaterThan(7 * 86_400_000);
    files.close();
    use(first);
    await timers.advance(10_000);
    expect(events.length).toBe(2);
    expect(timers.dueMs()).toEqual([]);
  });

  test("are not taken while they are broken: the old ones stay, and that is told once", async () => {
    const before = files.current();
    copyFileSync(second.cert, paths.cert);
    await timers.advance(5_000);
    expect(events).toEqual(["/live.key: not the key of the certificate"]);
    truncateSync(paths.cert, 100);
    await timers.advance(5_000);
    expect(events[1]).toBe("/live.crt: no certificate in PEM");
    unlinkSync(paths.cert);
    await timers.advance(5_000);
    expect(events[2]).toBe("/live.crt: no such file");
    use(expired);
    await timers.advance(5_000);
    expect(events[3]).toMatch(/^\/live.crt: expired on /);
    expect([events.length, files.current()]).toEqual([4, before]);
    use(second);
    await timers.advance(1_000);
    expect(events.slice(4)).toEqual(["changed", "reloaded"]);
  });

  test("an authority that is added counts", async () => {
    const other = new Authority(folder, "added");
    appendFileSync(paths.ca, readFileSync(other.ca));
    await timers.advance(1_000);
    expect(events).toEqual(["changed", "reloaded"]);
    expect(files.current().ca?.toString().match(/BEGIN/g)?.length).toBe(2);
  });
});
