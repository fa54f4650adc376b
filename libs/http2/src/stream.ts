import type { Connection } from "./connection.ts";
import { ErrorCode } from "./fault.ts";
import type { HeaderBlock } from "./header-block.ts";
import type { HeaderTemplate } from "./hpack-encoder.ts";

/** Who takes what comes in on a stream. */
export interface StreamReceiver {
  /** Headers of a response, then trailers; a server gets only trailers here. */
  headers(block: HeaderBlock, end: boolean): void;
  /**
   * Content in `chunk[start, end)`, which the receiver must not change. It counts against the windows until `consume` is
   * called; `last` when nothing follows.
   */
  data(chunk: Buffer, start: number, end: number, last: boolean): void;
  /** The stream ended early: reset by the peer or by this side for a fault, or lost with its connection. Nothing follows. */
  reset(code: number, cause: ResetCause): void;
  /** What was written has left the stream's buffer. */
  writable(): void;
}

/** What ended a stream early; "refused" where the peer has certainly not begun with it. */
export type ResetCause = "peer" | "fault" | "connection" | "refused";

/** Names and values in turn, sent after a template's fields as literals. */
export type ExtraFields = readonly string[];

interface Trailers {
  readonly template: HeaderTemplate;
  readonly extra: ExtraFields | undefined;
}

const noBytes = new Uint8Array(0);

/** One stream of a connection. */
export class Stream {
  readonly connection: Connection;
  readonly id: number;
  receiver: StreamReceiver;
  /** Bytes that the peer takes. */
  sendWindow: number;
  /** Bytes that the peer may send. */
  receiveWindow: number;
  /** Consumed bytes that the peer has not been told of. */
  unacknowledged = 0;
  /** Received bytes that are not consumed: the connection's window gets them back when the stream ends. */
  held = 0;
  remoteClosed = false;
  localClosed = false;
  /** Whether it has left its connection. */
  gone = false;
  /** Whether the final headers of the peer have come. */
  headed = false;
  /** Bytes that content-length promises; -1 where it does not. */
  contentLeft = -1;
  /** Content that waits for a window. */
  readonly queue: Uint8Array[] = [];
  queuedBytes = 0;
  #endQueued = false;
  #trailers: Trailers | undefined = undefined;
  #wantsWritable = false;

  constructor(connection: Connection, id: number, receiver: StreamReceiver, sendWindow: number, receiveWindow: number) {
    this.connection = connection;
    this.id = id;
    this.receiver = receiver;
    this.sendWindow = sendWindow;
    this.receiveWindow = receiveWindow;
  }

  /** Sends a header block. */
  sendHeaders(template: HeaderTemplate, extra: ExtraFields | undefined, end: boolean): void {
    if (this.localClosed) return;
    this.connection.writeHeaders(this.id, template, extra, end);
    if (end) this.#closeLocal();
  }

  /**
   * Sends content: `head`, which is copied, then `body`, which must not change until it has left. Answers false when
   * more waits than `streamBufferBytes`; the receiver is told when it may go on.
   */
  write(head: Uint8Array, body: Uint8Array, end: boolean): boolean {
    if (this.localClosed || this.#endQueued) return true;
    if (this.queue.length === 0 && this.connection.writeDataAtOnce(this, head, body, end)) {
      if (end) this.#closeLocal();
      return true;
    }
    if (head.length > 0) this.queue.push(Uint8Array.prototype.slice.call(head));
    if (body.length > 0) this.queue.push(body);
    this.queuedBytes += head.length + body.length;
    if (end) this.#endQueued = true;
    this.pump();
    if (this.gone || this.queuedBytes <= this.connection.options.streamBufferBytes) return true;
    this.#wantsWritable = true;
    return false;
  }

  /** Ends this side after what was written. */
  end(): void {
    this.write(noBytes, noBytes, true);
  }

  /** Ends this side with trailers, after what was written. */
  endWith(template: HeaderTemplate, extra: ExtraFields | undefined): void {
    if (this.localClosed || this.#endQueued) return;
    if (this.queue.length === 0) {
      this.sendHeaders(template, extra, true);
      return;
    }
    this.#endQueued = true;
    this.#trailers = { template, extra };
  }

  /** Sends what waits as far as the windows allow. */
  pump(): void {
    const { connection, queue } = this;
    while (queue.length > 0) {
      const piece = queue[0] as Uint8Array;
      const room = connection.dataRoom(this);
      if (room <= 0) {
        connection.waitForRoom(this);
        return;
      }
      const last = queue.length === 1 && this.#endQueued && this.#trailers === undefined && piece.length <= room;
      if (piece.length <= room) {
        queue.shift();
        this.queuedBytes -= piece.length;
        connection.writeData(this, piece, last);
        if (last) {
          this.#closeLocal();
          return;
        }
      } else {
        queue[0] = piece.subarray(room);
        this.queuedBytes -= room;
        connection.writeData(this, piece.subarray(0, room), false);
      }
    }
    if (this.#trailers !== undefined) this.sendHeaders(this.#trailers.template, this.#trailers.extra, true);
    else if (this.#endQueued) {
      connection.writeData(this, noBytes, true);
      this.#closeLocal();
    } else if (this.#wantsWritable) {
      this.#wantsWritable = false;
      this.receiver.writable();
    }
  }

  /** Gives received bytes back to the peer: the reader is done with them. */
  consume(bytes: number): void {
    this.held -= bytes;
    if (!this.gone) this.connection.consume(this, bytes);
  }

  /** Ends the stream at once, both ways. The receiver is told nothing more. */
  reset(code: number): void {
    if (!this.gone) this.connection.resetStream(this, code);
  }

  #closeLocal(): void {
    this.localClosed = true;
    if (this.remoteClosed) this.connection.forget(this, false);
    // The answer is whole, and what the peer still sends would be for nobody.
    else if (this.connection.isServer) this.connection.resetStream(this, ErrorCode.NoError);
  }
}
