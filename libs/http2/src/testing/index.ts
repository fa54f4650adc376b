/** Peers and frames made by hand, for tests of what is built on HTTP/2. */
export { clientHello, frame, type ReadFrame, readFrames, uint32 } from "./frames.ts";
export { RawPeer } from "./raw-peer.ts";
