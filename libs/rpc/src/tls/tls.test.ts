import { mkdtempSync, rmSync } from "node:fs";
import { connect as connectSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { health } from "@weft/contracts";
import { Code, type WeftError } from "@weft/errors";
import { createClient, grpcJs, type Listener, listenWeft, ServiceRouter, type Transport, weft } from "../index.ts";
import { Authority, materialOf } from "../testing/authority.ts";
import type { WireTransport } from "../transport.ts";
import type { TlsMaterial, TlsSource } from "./tls-source.ts";

const messageBytesMax = 100_000;
const names = ["DNS:localhost", "IP:127.0.0.1"];

let folder = "";
let ours: Authority;
let foreign: Authority;
/** What each of the two sides shows and trusts, by what it is like. */
let materials: Record<
  "server" | "renewed" | "client" | "anonymous" | "stranger" | "expired" | "elsewhere",
  TlsMaterial
>;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "weft-tls-"));
  ours = new Authority(folder, "ours");
  foreign = new Authority(folder, "foreign");
  materials = {
    server: materialOf(ours.issue(names), ours.ca),
    renewed: materialOf(ours.issue(names), ours.ca),
    client: materialOf(ours.issue(["DNS:client"]), ours.ca),
    anonymous: materialOf(undefined, ours.ca),
    stranger: materialOf(foreign.issue(["DNS:client"]), ours.ca),
    expired: materialOf(ours.issue(["DNS:client"], -1), ours.ca),
    elsewhere: materialOf(ours.issue(["DNS:ranking.prod"]), ours.ca),
  };
}, 30_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Certificates that a test replaces. */
class ReplacedSource implements TlsSource {
  #material: TlsMaterial;
  readonly #watchers = new Set<() => void>();

  constructor(material: TlsMaterial) {
    this.#material = material;
  }

  current(): TlsMaterial {
    return this.#material;
  }

  watch(changed: () => void): () => void {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  }

  replace(material: TlsMaterial): void {
    this.#material = material;
    for (const changed of this.#watchers) changed();
  }

  get watched(): number {
    return this.#watchers.size;
  }
}

function createRouter(): ServiceRouter {
  const router = new ServiceRouter([]);
  router.serve(health.Health, {
    check: async ({ service }) => {
      if (service === "slow") await new Promise((resolve) => setTimeout(resolve, 1));
      return { status: 1 };
    },
    list: () => ({}),
    async *watch() {},
  });
  return router;
}

let listener: Listener | undefined;
const transports: Transport[] = [];
afterEach(async () => {
  for (const transport of transports.splice(0)) await transport.close();
  await listener?.drain(100);
  listener = undefined;
});

const serve = async (wire: WireTransport, tls: TlsSource, clientCertificates: boolean, port = 0) => {
  const limits = { messageBytesMax, concurrentStreamsMax: 100 };
  listener = await wire.listen(createRouter(), { host: "127.0.0.1", port, ...limits, tls, clientCertificates });
  return listener.port;
};
const client = (wire: WireTransport, target: string, tls: TlsSource | undefined, serverName?: string) => {
  const name = serverName === undefined ? {} : { serverName };
  const transport = wire.connect(target, { messageBytesMax, ...(tls === undefined ? {} : { tls }), ...name });
  transports.push(transport);
  return createClient(health.Health, transport, []);
};
const source = (like: keyof typeof materials) => new ReplacedSource(materials[like]);

async function failure(work: Promise<unknown>): Promise<WeftError> {
  try {
    await work;
  } catch (error) {
    return error as WeftError;
  }
  throw new Error("the call did not fail");
}

const pairs: readonly (readonly [string, WireTransport, WireTransport])[] = [
  ["weft to weft", weft, weft],
  ["weft to grpc-js", weft, grpcJs],
  ["grpc-js to weft", grpcJs, weft],
  ["grpc-js to grpc-js", grpcJs, grpcJs],
];

describe.each(pairs)("TLS, %s", (_name, from, to) => {
  const check = (made: ReturnType<typeof client>) => made.check({}, { timeoutMs: 5_000 });

  test("a peer is called by name and by address, and by another name where that is set", async () => {
    const port = await serve(to, source("server"), false);
    expect((await check(client(from, `localhost:${port}`, source("anonymous")))).status).toBe(1);
    expect((await check(client(from, `127.0.0.1:${port}`, source("anonymous")))).status).toBe(1);
    await listener?.drain(0);
    const other = await serve(to, source("elsewhere"), false);
    expect((await check(client(from, `127.0.0.1:${other}`, source("anonymous"), "ranking.prod"))).status).toBe(1);
    expect((await failure(check(client(from, `127.0.0.1:${other}`, source("anonymous"))))).code).toBe(Code.Unavailable);
  });

  test("with certificates of both sides, only clients of the authority are served", async () => {
    const port = await serve(to, source("server"), true);
    expect((await check(client(from, `127.0.0.1:${port}`, source("client")))).status).toBe(1);
    for (const like of ["anonymous", "stranger", "expired"] as const) {
      const error = await failure(check(client(from, `127.0.0.1:${port}`, source(like))));
      expect([like, error.code]).toEqual([like, Code.Unavailable]);
    }
    const cleartext = client(from, `127.0.0.1:${port}`, undefined);
    expect((await failure(check(cleartext))).code).toBe(Code.Unavailable);
  });

  test("certificates are replaced under load, on both sides and the authority too, and no call fails", async () => {
    const server = source("server");
    const own = source("client");
    const port = await serve(to, server, true);
    const watchedBefore = server.watched;
    const failures: WeftError[] = [];
    let answered = 0;
    let running = true;
    const lane = async () => {
      while (running) {
        // A connection of its own each time: every handshake goes by what is current.
        const name = { tls: own, messageBytesMax };
        const transport = from.connect(`127.0.0.1:${port}`, name);
        const made = createClient(health.Health, transport, []);
        for (let call = 0; call < 5; call++)
          await made.check({ service: "slow" }, { timeoutMs: 5_000 }).then(
            () => answered++,
            (error) => failures.push(error),
          );
        await transport.close();
      }
    };
    const steady = client(from, `127.0.0.1:${port}`, own);
    const lanes = [lane(), lane()];
    const both = Buffer.concat([materials.server.ca as Buffer, materialOf(undefined, foreign.ca).ca as Buffer]);
    const pause = () => new Promise((resolve) => setTimeout(resolve, 60));
    await check(steady);
    server.replace(materials.renewed);
    await pause();
    // Another authority: first everyone trusts both, then certificates change, then the old one goes.
    server.replace({ ...materials.renewed, ca: both });
    own.replace({ ...materials.client, ca: both });
    await pause();
    const moved = { server: materialOf(foreign.issue(names), undefined), client: materials.stranger };
    server.replace({ ...moved.server, ca: both });
    await pause();
    own.replace({ ...moved.client, ca: both });
    await pause();
    const ca = materialOf(undefined, foreign.ca).ca;
    server.replace({ ...moved.server, ca });
    own.replace({ ...moved.client, ca });
    await pause();
    // What was connected before stays connected.
    await check(steady);
    running = false;
    await Promise.all(lanes);
    expect(failures.map(({ message }) => message)).toEqual([]);
    expect(answered).toBeGreaterThan(20);
    expect((await failure(check(client(from, `127.0.0.1:${port}`, source("client"))))).code).toBe(Code.Unavailable);
    for (const transport of transports.splice(0)) await transport.close();
    expect(server.watched).toBe(watchedBefore);
  });
});

describe("what a failed handshake says", () => {
  const refused = "closed the connection before it spoke HTTP/2; it may refuse this side's certificate";
  const untrusted = "TLS: the other side's certificate is not of an authority that is trusted here";
  test.each<[keyof typeof materials, keyof typeof materials, boolean, string, string]>([
    [
      "server",
      "anonymous",
      true,
      "TLS: the other side wants a certificate, and this side has none",
      "TLS: the other side shows no certificate",
    ],
    ["server", "stranger", true, refused, untrusted],
    ["server", "expired", true, refused, "TLS: the other side's certificate has expired"],
    ["elsewhere", "client", true, "TLS: the other side's certificate is for another name", ""],
    ["stranger", "client", false, untrusted, ""],
    ["expired", "client", false, "TLS: the other side's certificate has expired", ""],
  ])("server %s, client %s", async (serverLike, clientLike, mutual, here, there) => {
    const faults: string[] = [];
    listener = await listenWeft(createRouter(), {
      host: "127.0.0.1",
      port: 0,
      messageBytesMax,
      concurrentStreamsMax: 100,
      tls: source(serverLike),
      clientCertificates: mutual,
      handshakeFailed: ({ message }) => faults.push(message),
    });
    const error = await failure(
      client(weft, `127.0.0.1:${listener.port}`, source(clientLike)).check({}, { timeoutMs: 5_000 }),
    );
    expect(error).toMatchObject({ code: Code.Unavailable, reason: "PEER_UNREACHABLE" });
    expect(error.message).toContain(here);
    for (let tries = 0; faults.length === 0 && tries < 100; tries++) await new Promise((r) => setTimeout(r, 10));
    expect(faults.join("\n")).toContain(there);
  });

  test("a server without TLS, and a client without", async () => {
    const limits = { messageBytesMax, concurrentStreamsMax: 100 };
    listener = await weft.listen(createRouter(), { host: "127.0.0.1", port: 0, ...limits });
    const error = await failure(
      client(weft, `127.0.0.1:${listener.port}`, source("client")).check({}, { timeoutMs: 5_000 }),
    );
    expect(error.message).toMatch(/TLS: the other side does not speak TLS|closed the connection/);
  });
});

test("HTTP/2 must be asked for by ALPN", async () => {
  const port = await serve(weft, source("server"), false);
  const { ca } = materials.server;
  for (const protocols of [undefined, ["http/1.1"]]) {
    const alpn = protocols === undefined ? {} : { ALPNProtocols: protocols };
    const ended = await new Promise<string>((resolve) => {
      const socket = connectTls({ port, host: "127.0.0.1", ...(ca === undefined ? {} : { ca }), ...alpn });
      socket.on("error", ({ message }) => resolve(message));
      socket.on("close", () => resolve("closed"));
      socket.on("data", () => resolve("answered"));
    });
    expect(ended).not.toBe("answered");
  }
});

test("a client that never shakes hands is closed in time, and holds nothing up", async () => {
  listener = await listenWeft(createRouter(), {
    host: "127.0.0.1",
    port: 0,
    messageBytesMax,
    concurrentStreamsMax: 100,
    tls: source("server"),
    http2: { handshakeTimeoutMs: 200 },
  });
  const silent = connectSocket({ port: listener.port, host: "127.0.0.1" });
  silent.on("error", () => {});
  const closed = new Promise((resolve) => silent.once("close", resolve));
  const made = client(weft, `127.0.0.1:${listener.port}`, source("anonymous"));
  expect((await made.check({}, { timeoutMs: 5_000 })).status).toBe(1);
  await closed;
});
