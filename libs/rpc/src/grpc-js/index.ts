import type { WireTransport } from "../transport.ts";
import { connect } from "./client.ts";
import { listen } from "./server.ts";

/** gRPC over HTTP/2 by grpc-js: the reference transport. */
export const grpcJs: WireTransport = { listen, connect };
