import { connect as connectSocket, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { Connection } from "./connection.ts";
import type { Http2Meter } from "./meter.ts";
import { defaultHttp2Options, type Http2Options } from "./options.ts";

/** Settings of a client's connection. */
export interface Http2ClientOptions {
  readonly host: string;
  readonly port: number;
  /** Set where it speaks TLS, with ALPN; absent for cleartext with prior knowledge. */
  readonly tls?: ConnectionOptions;
  readonly http2?: Partial<Http2Options>;
  readonly meter?: Http2Meter;
  /** Streams can be opened that could not before. */
  capacity?(): void;
  /** It takes no new streams from now on. */
  draining?(): void;
  /** It is over. */
  closed?(error: Error | undefined): void;
}

/** Opens a connection to a server. Resolves once the server's SETTINGS have come; aborting gives up. */
export function connectHttp2(options: Http2ClientOptions, signal?: AbortSignal): Promise<Connection> {
  const http2: Http2Options = { ...defaultHttp2Options, ...options.http2 };
  const { host, port, tls } = options;
  return new Promise((resolve, reject) => {
    let settled = false;
    const socket: Socket =
      tls === undefined
        ? connectSocket({ host, port, noDelay: true })
        : connectTls({ host, port, ALPNProtocols: ["h2"], ...tls });
    const give = (error: Error) => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      socket.destroy();
      reject(error);
    };
    const abort = () => give(new Error("the connection was given up"));
    const timer = setTimeout(
      () => give(new Error(`${host}:${port}: no HTTP/2 in ${http2.handshakeTimeoutMs} ms`)),
      http2.handshakeTimeoutMs,
    );
    if (signal?.aborted === true) return abort();
    signal?.addEventListener("abort", abort, { once: true });
    socket.once("error", give);
    let isSecured = false;
    const closed = () => {
      const why = isSecured ? " before it spoke HTTP/2; it may refuse this side's certificate" : "";
      return new Error(`${host}:${port} closed the connection${why}`);
    };
    socket.once("close", () => give(closed()));
    socket.once(tls === undefined ? "connect" : "secureConnect", () => {
      isSecured = tls !== undefined;
      if ("alpnProtocol" in socket && socket.alpnProtocol !== "h2")
        return give(new Error(`${host}:${port} does not speak HTTP/2`));
      const made = new Connection(socket, false, http2, {
        meter: options.meter,
        request: () => {
          throw new TypeError("a client is asked nothing");
        },
        ready() {
          settled = true;
          clearTimeout(timer);
          signal?.removeEventListener("abort", abort);
          resolve(made);
        },
        capacity: () => options.capacity?.(),
        draining: () => options.draining?.(),
        closed(error) {
          if (settled) options.closed?.(error);
          else give(error ?? closed());
        },
      });
    });
  });
}
