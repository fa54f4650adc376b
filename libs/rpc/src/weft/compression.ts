import { constants, gzip } from "node:zlib";
import type { Encoded } from "./wire-writer.ts";

/** When messages are sent compressed. */
export interface CompressionOptions {
  /** Smaller messages go as they are, bytes. */
  readonly bytesMin: number;
}

/** A message as it is sent. */
export interface SentMessage {
  readonly bytes: Uint8Array;
  /** Whether it is compressed: what gzip makes no smaller goes as it was. */
  readonly isCompressed: boolean;
}

/** Messages that are compressed at once in the process: more go as they are, rather than wait. */
const runningMax = 4;
/** Hops of a mesh wait for it: the fastest is nearly as small as the smallest. */
const level = constants.Z_BEST_SPEED;

let running = 0;

/**
 * Compresses a message with gzip, off the event loop. Answers undefined where it is to go as it is: too small, or too many
 * are compressed just now.
 */
export function compress(encoded: Encoded, { bytesMin }: CompressionOptions): Promise<SentMessage> | undefined {
  if (running >= runningMax) return undefined;
  const pieces = encoded instanceof Uint8Array ? [encoded] : encoded;
  let length = 0;
  for (const piece of pieces) length += piece.length;
  if (length < bytesMin) return undefined;
  // The buffer that it was encoded into serves the next message meanwhile.
  const bytes = Buffer.concat(pieces, length);
  running++;
  return new Promise((resolve, reject) => {
    gzip(bytes, { level }, (error, result) => {
      running--;
      if (error !== null) reject(error);
      else if (result.length < length) resolve({ bytes: result, isCompressed: true });
      else resolve({ bytes, isCompressed: false });
    });
  });
}
