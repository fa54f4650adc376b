import type { Connection } from "./connection.ts";
import { ErrorCode } from "./fault.ts";
import type { HeaderBlock } from "./header-block.ts";
import type { HeaderTemplate } from "./hpack-encoder.ts";
import { copiedBytesMax } from "./outbox.ts";
import { received } from "./received-bytes.ts";

/** Who takes what comes in on a stream. */
export interface StreamReceiver {
  /** Headers of a response, then trailers; a server gets only trailers here. */
  headers(block: HeaderBlock, end: boolean): void;
  /**
   * Content in `chunk[start, end)`, which the receiver must not change. It counts against the windows until `consume` is
   * called; `last` when nothing follows.
   */
  data(chunk: Buffer, start: number, end: number, last: boolean): void;
  /** After `data`: false where no view of its chunk is kept, so that its memory can be freed at once. */
  readonly keepsChunk?: boolean;
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
const blockBytes = 16_384;

/** One stream of a connection. */
export class Stream {
  readonly connection: Connection;
  readonly id: number;
  receiver: StreamReceiver;
  /** Bytes that the peer takes. */
  sendWindow: number;
  /** Bytes that the peer may send. */
  receiveWindow: number;
  /** Bytes that the peer may send ahead of the reader. */
  windowBytes: number;
  /** Consumed bytes that the peer has not been told of. */
  unacknowledged = 0;
  /** Received bytes that are not consumed: the connection's window gets them back when the stream ends. */
  held = 0;
  /** Bytes that the receiver has consumed and keeps none the less: the part of a message that has come. */
  retained = 0;
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
  /** Where small writes that wait are gathered; the queue's last piece lies in it. */
  #block: Uint8Array | undefined = undefined;
  #blockFill = 0;
  #endQueued = false;
  #trailers: Trailers | undefined = undefined;
  #wantsWritable = false;

  constructor(connection: Connection, id: number, receiver: StreamReceiver, sendWindow: number, receiveWindow: number) {
    this.connection = connection;
    this.id = id;
    this.receiver = receiver;
    this.sendWindow = sendWindow;
    this.receiveWindow = receiveWindow;
    this.windowBytes = receiveWindow;
  }

  /** Sends a header block. */
  sendHeaders(template: HeaderTemplate, extra: ExtraFields | undefined, end: boolean): void {
    if (this.localClosed) return;
    this.connection.writeHeaders(this.id, template, extra, end);
    if (end) this.#closeLocal();
  }

  /**
   * Sends content: `head`, which is copied, then `body`, which is copied up to `copiedBytesMax` and must not change until
   * it has left where it is larger. Answers false when more waits than `streamBufferBytes`; the receiver is told when it
   * may go on.
   */
  write(head: Uint8Array, body: Uint8Array, end: boolean): boolean {
    if (this.localClosed || this.#endQueued) return true;
    if (this.queue.length === 0 && this.connection.writeDataAtOnce(this, head, body, end)) {
      if (end) this.#closeLocal();
      return true;
    }
    this.#copyToQueue(head);
    if (body.length <= copiedBytesMax) this.#copyToQueue(body);
    else {
      this.queue.push(body);
      this.#block = undefined;
    }
    const bytes = head.length + body.length;
    this.queuedBytes += bytes;
    this.connection.countQueued(bytes);
    if (end) this.#endQueued = true;
    this.pump();
    const { options, isFull } = this.connection;
    if (this.gone || this.queuedBytes === 0 || (this.queuedBytes <= options.streamBufferBytes && !isFull)) return true;
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

  #copyToQueue(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const { queue } = this;
    const block = this.#block;
    if (block !== undefined && block.length - this.#blockFill >= bytes.length) {
      block.set(bytes, this.#blockFill);
      this.#blockFill += bytes.length;
      const last = queue[queue.length - 1] ?? block;
      queue[queue.length - 1] = block.subarray(last.byteOffset - block.byteOffset, this.#blockFill);
      return;
    }
    const fresh = Buffer.allocUnsafeSlow(Math.max(blockBytes, bytes.length));
    fresh.set(bytes);
    this.#block = fresh;
    this.#blockFill = bytes.length;
    queue.push(fresh.subarray(0, bytes.length));
  }

  /** Sends what waits as far as the windows allow, in frames as large as they may be. */
  pump(): void {
    const { connection, queue } = this;
    while (queue.length > 0) {
      const room = connection.dataRoom(this);
      if (room <= 0) {
        connection.waitForRoom(this);
        return;
      }
      const length = Math.min(room, this.queuedBytes);
      const last = length === this.queuedBytes && this.#endQueued && this.#trailers === undefined;
      connection.writeDataHead(this, length, last);
      this.#appendQueued(length);
      if (last) {
        this.#closeLocal();
        return;
      }
    }
    if (this.#trailers !== undefined) this.sendHeaders(this.#trailers.template, this.#trailers.extra, true);
    else if (this.#endQueued) {
      connection.writeDataHead(this, 0, true);
      this.#closeLocal();
    } else if (this.#wantsWritable) {
      this.#wantsWritable = false;
      this.receiver.writable();
    }
  }

  /** Takes bytes from the queue into the frame whose head was just written. */
  #appendQueued(length: number): void {
    const { connection, queue } = this;
    this.queuedBytes -= length;
    connection.countQueued(-length);
    let left = length;
    let taken = 0;
    while (left > 0) {
      const piece = queue[taken] as Uint8Array;
      if (piece.length > left) {
        connection.appendData(piece.subarray(0, left));
        queue[taken] = piece.subarray(left);
        break;
      }
      connection.appendData(piece);
      left -= piece.length;
      taken++;
    }
    if (taken > 0) queue.splice(0, taken);
    if (queue.length === 0) this.#block = undefined;
  }

  /** Gives received bytes back to the peer: the reader is done with them. */
  consume(bytes: number): void {
    if (this.gone) return;
    this.held -= bytes;
    received.bytes -= bytes;
    this.connection.consume(this, bytes);
  }

  /** Counts what the receiver keeps of bytes that it has consumed. */
  retain(bytes: number): void {
    if (this.gone || bytes === this.retained) return;
    received.bytes += bytes - this.retained;
    this.retained = bytes;
  }

  /** Bytes that have come and are not read. */
  get receivedBytes(): number {
    return this.held + this.retained;
  }

  /** Forgets what is buffered: the stream is over. Answers the bytes that were not consumed. */
  drop(): number {
    const { held } = this;
    received.bytes -= this.receivedBytes;
    this.queue.length = 0;
    this.queuedBytes = 0;
    this.held = 0;
    this.retained = 0;
    return held;
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
