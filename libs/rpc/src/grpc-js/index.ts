import { logVerbosity, setLogVerbosity } from "@grpc/grpc-js";
import type { WireTransport } from "../transport.ts";
import { connect } from "./client.ts";
import { listen } from "./server.ts";

// What goes wrong is thrown; the library's own lines on the console say it a second time.
setLogVerbosity(logVerbosity.NONE);

/** gRPC over HTTP/2 by grpc-js: the reference transport. */
export const grpcJs: WireTransport = { listen, connect };
