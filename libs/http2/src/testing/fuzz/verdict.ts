import { readFrames } from "../frames.ts";

/** What the application was told of a stream. */
export interface Told {
  /** Names and values of the headers. */
  head: string;
  content: string;
  trailers: string | undefined;
  /** Whether the message came to its end. */
  whole: boolean;
  /** Whether the stream broke off. */
  broken: boolean;
}

/** What a side made of a sequence: by the frames that it sent, and by what its application was told. */
export interface Verdict {
  /** The code with which it ended the connection; -1 where it closed it without saying so. */
  readonly connection: number | undefined;
  /** Its reason, where it gave one. */
  readonly why: string;
  /** Codes of the streams that it reset. */
  readonly resets: ReadonlyMap<number, number>;
  /** What it sent on each stream: bytes of content, and whether it ended. */
  readonly sent: ReadonlyMap<number, string>;
  readonly told: ReadonlyMap<number, Told>;
  readonly pingsAnswered: number;
  readonly settingsAcknowledged: number;
}

const prefaceBytes = 24;

/** Reads a verdict from the bytes that a side sent. */
export function verdictOf(
  written: readonly Buffer[],
  isClient: boolean,
  told: ReadonlyMap<number, Told>,
  closed: boolean,
): Verdict {
  const bytes = Buffer.concat(written);
  const resets = new Map<number, number>();
  const sent = new Map<number, { bytes: number; ended: boolean }>();
  let connection: number | undefined = closed ? -1 : undefined;
  let why = "";
  let pingsAnswered = 0;
  let settingsAcknowledged = 0;
  for (const { type, flags, id, payload } of readFrames(isClient ? bytes.subarray(prefaceBytes) : bytes).frames) {
    if (type === 0 || type === 1) {
      const stream = sent.get(id) ?? { bytes: 0, ended: false };
      sent.set(id, stream);
      if (type === 0) stream.bytes += payload.length;
      if ((flags & 1) !== 0) stream.ended = true;
    } else if (type === 3) {
      // The first says it; an answer that is whole may be followed by NO_ERROR (section 8.1).
      const code = payload.readUInt32BE();
      if (code !== 0 && !resets.has(id)) resets.set(id, code);
    } else if (type === 4 && (flags & 1) !== 0) settingsAcknowledged++;
    else if (type === 6 && (flags & 1) !== 0) pingsAnswered++;
    else if (type === 7) {
      const code = payload.readUInt32BE(4);
      if (code !== 0) {
        connection = code;
        why = payload.toString("latin1", 8);
      }
    }
  }
  return {
    connection,
    why,
    resets,
    sent: new Map([...sent].map(([id, stream]) => [id, `${stream.bytes}${stream.ended ? " ended" : ""}`])),
    told: new Map([...told].map(([id, one]) => [id, { ...one }])),
    pingsAnswered,
    settingsAcknowledged,
  };
}

/** Names and values in turn as one text. */
export function fieldsText(fields: readonly string[]): string {
  return JSON.stringify(fields);
}
