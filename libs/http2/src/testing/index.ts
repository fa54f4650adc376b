/** Peers and frames made by hand, for tests of what is built on HTTP/2. */
export { listenEcho } from "./echo-server.ts";
export { clientHello, frame, type ReadFrame, readFrames, uint32 } from "./frames.ts";
export { runH2spec } from "./h2spec.ts";
export { RawPeer } from "./raw-peer.ts";
