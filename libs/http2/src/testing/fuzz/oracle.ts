import { type ReadFrame, readFrames } from "../frames.ts";
import type { Sequence } from "./mutation.ts";
import { limits } from "./servers.ts";
import type { Told, Verdict } from "./verdict.ts";

/** How our verdict on a sequence compares with the reference's, and what differs. */
export interface Judgement {
  readonly kind: "same" | "stricter" | "explained" | "laxer" | "different";
  readonly what: string;
}

/** A connection error of the reference's that RFC 9113 does not ask for. */
interface Explained {
  /** What the reference ended the connection with; -1 where it closed it without a GOAWAY. */
  readonly code: number;
  readonly why: RegExp;
  /** Where the RFC asks for, or allows, an error of the stream alone: what we must have reset one with. */
  readonly resets?: readonly number[];
  /** Where it asks for nothing: the frame that the reference does not take. */
  readonly frame?: (frame: ReadFrame, ours: Verdict) => boolean;
  /** Of RFC 9113 unless it says another. */
  readonly section: string;
}

/** Of a stream that we ended for an earlier fault, of its window too, later frames are passed over (section 5.1, closed). */
const earlier = [1, 3, 5];

const explained: readonly Explained[] = [
  // "If a DATA frame is received whose stream is not in the open or half-closed (local) state, the recipient MUST respond
  // with a stream error of type STREAM_CLOSED"; section 5.1 says the same of all frames but three.
  { code: 5, why: /^DATA: stream in half-closed\(remote\)$/, resets: earlier, section: "6.1" },
  { code: 5, why: /^HEADERS: stream closed$/, resets: earlier, section: "5.1" },
  // "For streams, the sender sends a RST_STREAM with an error code of FLOW_CONTROL_ERROR."
  { code: 3, why: /^WINDOW_UPDATE: window size overflow$/, resets: earlier, section: "6.9.1" },
  // "WINDOW_UPDATE can be sent by a peer that has sent a frame with the END_STREAM flag set [...] a receiver could receive a
  // WINDOW_UPDATE frame on a stream in a half-closed (remote) or closed state. A receiver MUST NOT treat this as an error":
  // we had sent the whole answer where the reference had not come to it, and found its window too large at once or with the
  // next SETTINGS.
  {
    code: 3,
    why: /^(WINDOW_UPDATE: window size overflow)?$/,
    frame: ({ type, id }, ours) => type === 8 && ours.sent.get(id)?.endsWith("ended") === true,
    section: "6.9",
  },
  // "A receiver MUST treat the receipt of a WINDOW_UPDATE frame with a flow-control window increment of 0 as a stream
  // error of type PROTOCOL_ERROR"; only of the connection's window it is the connection's.
  { code: 1, why: /^WINDOW_UPDATE: window_size_increment == 0$/, resets: earlier, section: "6.9" },
  // "A receiver MAY respond with a stream error or connection error of type FLOW_CONTROL_ERROR if it is unable to accept
  // a frame."
  { code: 3, why: /^$/, resets: earlier, section: "6.9" },
  // "After sending a SETTINGS frame that reduces the initial flow-control window size, a receiver MAY continue to process
  // streams that exceed flow-control limits": those opened before the peer has acknowledged it. And the reference gives
  // windows back a few turns later than we do.
  {
    code: 3,
    why: /^$/,
    frame: ({ type, id }, ours) => type === 0 && (ours.told.get(id)?.content.length ?? 0) > limits.streamWindowBytes,
    section: "6.9.2",
  },
  // "A PRIORITY frame with a length other than 5 octets MUST be treated as a stream error of type FRAME_SIZE_ERROR."
  {
    code: 6,
    why: /^$/,
    resets: [6, ...earlier],
    frame: ({ type, payload }) => type === 2 && payload.length !== 5,
    section: "6.3",
  },
  // DATA before the HEADERS of a final response makes it malformed: "Malformed requests or responses that are detected
  // MUST be treated as a stream error of type PROTOCOL_ERROR."
  { code: 1, why: /^DATA: stream not opened$/, resets: [1], section: "8.1.1" },
  // So does content that is not what content-length says, to which the reference answers INTERNAL_ERROR; we may have ended
  // the stream for its window already.
  { code: 2, why: /^$/, resets: [1, 3], section: "8.1.1" },
  // A PING with ACK that answers none is no error in section 6.7; we count it as a frame that carries nothing.
  { code: 2, why: /^$/, frame: ({ type, flags }) => type === 6 && (flags & 1) === 1, section: "6.7" },
  // "Unknown and unsupported frame types MUST be ignored": the reference knows ALTSVC (RFC 7838) and ORIGIN (RFC 8336).
  { code: 2, why: /^$/, frame: ({ type }) => type === 10 || type === 12, section: "4.1" },
  // "Activity on streams numbered lower than or equal to the last stream identifier might still complete successfully":
  // the reference gives all of them up when the GOAWAY has an error code. It also wants the identifier to be of a stream
  // that it could have opened, of which the RFC says nothing.
  { code: -1, why: /^$/, frame: ({ type }) => type === 7, section: "6.8" },
  { code: 1, why: /^GOAWAY: invalid last_stream_id$/, frame: ({ type }) => type === 7, section: "6.8" },
  // "An endpoint that receives a SETTINGS frame with any unknown or unsupported identifier MUST ignore that setting."
  {
    code: 1,
    why: /^SETTINGS: invalid SETTINGS_(ENABLE_CONNECT_PROTOCOL|NO_RFC7540_PRIORITIES)$/,
    frame: ({ type }) => type === 4,
    section: "6.5.2",
  },
];

/** Compares the verdicts on a sequence. */
export function judge(sequence: Sequence, ours: Verdict, reference: Verdict): Judgement {
  if (ours.connection !== undefined)
    return reference.connection !== undefined
      ? { kind: "same", what: "connection error" }
      : { kind: "stricter", what: `connection error ${ours.connection} ${ours.why}` };
  if (reference.connection !== undefined) return judgeLostConnection(sequence, ours, reference);
  if (ours.pingsAnswered !== reference.pingsAnswered) return { kind: "different", what: "PINGs answered" };
  if (ours.settingsAcknowledged !== reference.settingsAcknowledged)
    return { kind: "different", what: "SETTINGS acknowledged" };
  let strictest: Judgement = { kind: "same", what: ours.resets.size > 0 ? "stream error" : "served" };
  for (const id of idsOf(ours, reference)) {
    const one = judgeStream(id, ours, reference);
    // A client's GOAWAY is about streams that the server opens; the reference serves no later stream of the client's.
    if (one.kind === "different" && !reference.told.has(id) && framesOf(sequence).some(({ type }) => type === 7))
      return { kind: "explained", what: "a request after GOAWAY: section 6.8" };
    if (one.kind === "laxer" || one.kind === "different") return one;
    if (one.kind === "stricter") strictest = one;
  }
  return strictest;
}

function judgeLostConnection(sequence: Sequence, ours: Verdict, { connection, why }: Verdict): Judgement {
  const resets = [...ours.resets.values()];
  const frames = framesOf(sequence);
  const found = explained.find(
    (one) =>
      one.code === connection &&
      one.why.test(why) &&
      (one.resets === undefined || one.resets.some((code) => resets.includes(code))) &&
      (one.frame === undefined || frames.some((frame) => one.frame?.(frame, ours))),
  );
  const what = `connection error ${connection} ${why}`;
  return found === undefined
    ? { kind: "laxer", what }
    : { kind: "explained", what: `${what}: section ${found.section}` };
}

function framesOf({ steps, isClient }: Sequence): readonly ReadFrame[] {
  const bytes = Buffer.concat(steps.flat());
  return readFrames(isClient ? bytes.subarray(24) : bytes).frames;
}

function idsOf(...verdicts: readonly Verdict[]): Set<number> {
  return new Set(verdicts.flatMap(({ resets, sent, told }) => [...resets.keys(), ...sent.keys(), ...told.keys()]));
}

function judgeStream(id: number, ours: Verdict, reference: Verdict): Judgement {
  const reset = ours.resets.get(id);
  const resetOfReference = reference.resets.get(id);
  if (reset !== undefined)
    return resetOfReference !== undefined
      ? { kind: "same", what: "stream error" }
      : { kind: "stricter", what: `stream error ${reset}` };
  if (resetOfReference !== undefined) return { kind: "laxer", what: `stream error ${resetOfReference}` };
  const told = ours.told.get(id);
  const toldOfReference = reference.told.get(id);
  // How far a message that broke off had come depends on who read when.
  if (told?.broken === true && toldOfReference?.broken === true)
    return told.head === toldOfReference.head
      ? { kind: "same", what: "broken off" }
      : { kind: "different", what: "headers of what broke off" };
  if (told?.broken === true) return { kind: "stricter", what: "broken off" };
  // The peer's reset found our answer gone already where the reference had not come to its end.
  if (told !== undefined && toldOfReference?.broken === true && ours.sent.get(id)?.endsWith("ended") === true)
    return told.head === toldOfReference.head
      ? { kind: "same", what: "answered before it was reset" }
      : { kind: "different", what: "headers of what was reset" };
  if (textOf(told) !== textOf(toldOfReference))
    return { kind: "different", what: `${textOf(told)} where the reference has ${textOf(toldOfReference)}` };
  if (ours.sent.get(id) !== reference.sent.get(id))
    return { kind: "different", what: `sent ${ours.sent.get(id)} where the reference sent ${reference.sent.get(id)}` };
  return { kind: "same", what: "served" };
}

function textOf(told: Told | undefined): string {
  return told === undefined
    ? "nothing"
    : JSON.stringify([told.head, told.content, told.trailers, told.whole, told.broken]);
}
