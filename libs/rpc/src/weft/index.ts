import type { WireTransport } from "../transport.ts";
import { connect } from "./client.ts";
import { listen } from "./server.ts";

/** gRPC over HTTP/2 by a transport of our own. */
export const weft: WireTransport = { listen, connect };
