import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { DescService, Message } from "@bufbuild/protobuf";
import { ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { parseTraceparent } from "@weft/telemetry";
import { CallScope } from "./context.ts";
import { toWeftError } from "./errors.ts";
import { identityKeys, readIdentity } from "./identity.ts";
import { isStream } from "./interceptor.ts";
import { methodsOf } from "./method.ts";
import { errorDetails } from "./status.ts";
import { type TlsSource, tlsOptions } from "./tls/tls-source.ts";
import { type Invoke, type Listener, type Router, singleMessage } from "./transport.ts";

/** Settings of the edge. */
export interface EdgeOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly messageBytesMax: number;
  /** Origin that browsers may call from; "*" for all, empty for none. */
  readonly allowedOrigin: string;
  /** Certificates where it speaks TLS. */
  readonly tls?: TlsSource;
  /** Whether clients must show a certificate of an authority of `tls`; default false. */
  readonly clientCertificates?: boolean;
}

/** Serves services to browsers and curl over HTTP/1.1: Connect, gRPC-Web and JSON. */
export async function listenEdge(
  router: Router,
  services: readonly DescService[],
  options: EdgeOptions,
): Promise<Listener> {
  const handle = connectNodeAdapter({
    readMaxBytes: options.messageBytesMax,
    // A misspelt field would be answered as if it had not been sent.
    jsonOptions: { ignoreUnknownFields: false },
    routes: (routes) => {
      for (const service of services) bind(routes, service, router);
    },
  });
  const answer: RequestListener = (request, response) => {
    if (options.allowedOrigin !== "") {
      response.setHeader("access-control-allow-origin", options.allowedOrigin);
      response.setHeader("access-control-expose-headers", "grpc-status, grpc-message, grpc-status-details-bin");
    }
    if (request.method === "OPTIONS") {
      response.setHeader("access-control-allow-methods", "POST, GET");
      response.setHeader(
        "access-control-allow-headers",
        [
          "content-type, connect-protocol-version, connect-timeout-ms, grpc-timeout, x-grpc-web, x-user-agent",
          ...Object.values(identityKeys),
        ].join(", "),
      );
      response.writeHead(204).end();
      return;
    }
    handle(request, response);
  };
  const { tls, clientCertificates } = options;
  const mutual = clientCertificates === true ? { requestCert: true, rejectUnauthorized: true } : {};
  const secure = tls === undefined ? undefined : createTlsServer({ ...tlsOptions(tls.current()), ...mutual }, answer);
  const server = secure ?? createServer(answer);
  if (tls !== undefined && secure !== undefined)
    server.once(
      "close",
      tls.watch(() => secure.setSecureContext(tlsOptions(tls.current()))),
    );
  server.requestTimeout = 60_000;
  const port = await new Promise<number>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => {
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : options.port);
    });
  });
  return { port, drain: (graceMs) => drain(server, graceMs) };
}

function drain(server: Server | TlsServer, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), graceMs);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}

type Implementation = Record<string, (request: never, context: HandlerContext) => unknown>;

function bind(routes: ConnectRouter, service: DescService, router: Router): void {
  const implementation: Implementation = {};
  for (const method of methodsOf(service)) {
    const invoke = router.find(method.path)?.invoke;
    if (invoke === undefined) continue;
    const run = (request: Message | AsyncIterable<Message>, context: CallScope) => invoke({ method, context, request });
    implementation[method.descriptor.localName] =
      method.kind === "unary" || method.kind === "client_streaming"
        ? single(method.name, run)
        : streamed(method.name, run);
  }
  routes.service(service, implementation as unknown as Parameters<typeof routes.service>[1]);
}

type Run = (request: Message | AsyncIterable<Message>, context: CallScope) => ReturnType<Invoke>;

function single(method: string, run: Run) {
  return async (request: never, connect: HandlerContext) => {
    try {
      return singleMessage(await run(request, openContext(connect)));
    } catch (error) {
      throw toConnectError(error, method);
    }
  };
}

function streamed(method: string, run: Run) {
  return async function* (request: never, connect: HandlerContext) {
    try {
      const answer = await run(request, openContext(connect));
      if (isStream(answer)) yield* answer;
    } catch (error) {
      throw toConnectError(error, method);
    }
  };
}

function openContext(connect: HandlerContext): CallScope {
  const get = (key: string) => connect.requestHeader.get(key) ?? undefined;
  const remainingMs = connect.timeoutMs();
  const context = new CallScope(
    {
      ...readIdentity(get),
      ...(remainingMs === undefined ? {} : { deadlineMs: Date.now() + remainingMs }),
      trace: parseTraceparent(get(identityKeys.trace)),
    },
    () => Object.fromEntries(connect.requestHeader),
  );
  const cancel = () => context.cancel(context.remainingMs() <= 0 ? "deadline" : "cancelled");
  if (connect.signal.aborted) cancel();
  else connect.signal.addEventListener("abort", cancel, { once: true });
  return context;
}

function toConnectError(thrown: unknown, method: string): ConnectError {
  const error = toWeftError(thrown, method);
  const connect = new ConnectError(error.message, error.code as number);
  connect.details = errorDetails(error).map(({ typeUrl, value }) => ({
    type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1),
    value,
  }));
  return connect;
}
