import { createServer, type Server, type Socket } from "node:net";
import {
  createServer as createTlsServer,
  type SecureContextOptions,
  type TLSSocket,
  type TlsOptions,
  Server as TlsServer,
} from "node:tls";
import { Connection } from "./connection.ts";
import type { HeaderBlock } from "./header-block.ts";
import type { Http2Meter } from "./meter.ts";
import { defaultHttp2Options, type Http2Options } from "./options.ts";
import type { Stream, StreamReceiver } from "./stream.ts";

/** Settings of a server. */
export interface Http2ServerOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** Certificates where it speaks TLS, with ALPN; absent for cleartext with prior knowledge. */
  readonly tls?: TlsOptions;
  /** Connections at once; more are closed. */
  readonly connectionsMax?: number;
  readonly http2?: Partial<Http2Options>;
  readonly meter?: Http2Meter;
  /** A peer's TLS handshake failed. */
  handshakeFailed?(error: Error): void;
  /** Answers who receives what follows on a new stream. */
  request(stream: Stream, block: HeaderBlock, end: boolean): StreamReceiver;
}

/** A listening server. */
export interface Http2Server {
  readonly port: number;
  /** Connections that are open. */
  readonly connections: ReadonlySet<Connection>;
  /** Takes other certificates for new connections. Throws where they cannot be used. */
  setCertificates(certificates: SecureContextOptions): void;
  /** Takes no new streams, waits for those that are open up to `graceMs`, then ends them. */
  drain(graceMs: number): Promise<void>;
}

/** Serves HTTP/2. Rejects where the port cannot be had. */
export async function listenHttp2(options: Http2ServerOptions): Promise<Http2Server> {
  const http2: Http2Options = { ...defaultHttp2Options, ...options.http2 };
  const connections = new Set<Connection>();
  const accept = (socket: Socket) => {
    const connection: Connection = new Connection(socket, true, http2, {
      meter: options.meter,
      request: options.request,
      ready() {},
      capacity() {},
      draining() {},
      closed: () => connections.delete(connection),
    });
    connections.add(connection);
  };
  const server =
    options.tls === undefined
      ? createServer(accept)
      : createTlsServer(
          { ...options.tls, ALPNProtocols: ["h2"], handshakeTimeout: http2.handshakeTimeoutMs },
          (socket: TLSSocket) => {
            if (socket.alpnProtocol === "h2") accept(socket);
            else {
              socket.destroy();
              options.handshakeFailed?.(new Error("HTTP/2 was not asked for by ALPN"));
            }
          },
        );
  // Nobody else ends the socket of a handshake that failed, or that takes too long.
  server.on("tlsClientError", (error: Error, socket: TLSSocket) => {
    socket.destroy();
    options.handshakeFailed?.(unauthorized(socket) ?? error);
  });
  server.on("drop", () => options.meter?.limit("connections"));
  server.maxConnections = options.connectionsMax ?? 10_000;
  const port = await listen(server, options.host, options.port);
  return {
    port,
    connections,
    setCertificates(certificates) {
      if (server instanceof TlsServer) server.setSecureContext(certificates);
    },
    async drain(graceMs) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const connection of [...connections]) connection.drain();
      const timer = setTimeout(() => {
        for (const connection of [...connections]) connection.destroy();
      }, graceMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

/** Why a peer's certificate was not taken, where that is what ended its handshake. */
function unauthorized(socket: TLSSocket): Error | undefined {
  const why: unknown = socket.authorizationError;
  return typeof why === "string" ? Object.assign(new Error(why), { code: why }) : undefined;
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
}
