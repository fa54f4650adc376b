import type { Socket } from "node:net";
import { ErrorCode, Http2Fault } from "./fault.ts";
import { type HeaderBlock, requestFault, responseFault, trailersFault } from "./header-block.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { type HeaderTemplate, HpackEncoder } from "./hpack-encoder.ts";
import type { Http2Meter } from "./meter.ts";
import type { Http2Options } from "./options.ts";
import { copiedBytesMax, Outbox } from "./outbox.ts";
import { PathWindow } from "./path-window.ts";
import { RateLimit } from "./rate-limit.ts";
import { received } from "./received-bytes.ts";
import { type ExtraFields, type ResetCause, Stream, type StreamReceiver } from "./stream.ts";
import { type EndedConnection, tellStreamsOf } from "./stream-endings.ts";
import { StreamTable } from "./stream-table.ts";
import { startTicking, stopTicking } from "./ticker.ts";

const typeData = 0;
const typeHeaders = 1;
const typePriority = 2;
const typeRstStream = 3;
const typeSettings = 4;
const typePushPromise = 5;
const typePing = 6;
const typeGoAway = 7;
const typeWindowUpdate = 8;
const typeContinuation = 9;

const flagEndStream = 1;
const flagAck = 1;
const flagEndHeaders = 4;
const flagPadded = 8;
const flagPriority = 32;

const settingHeaderTableSize = 1;
const settingEnablePush = 2;
const settingConcurrentStreamsMax = 3;
const settingInitialWindowSize = 4;
const settingMaxFrameSize = 5;
const settingHeaderListSize = 6;

const frameHeadBytes = 9;
const windowMax = 2 ** 31 - 1;
const streamIdMax = 2 ** 31 - 1;
const initialWindow = 65_535;
const initialFrameMax = 16_384;
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
/** Streams that closed last, of which late frames are told from faults; a power of two. */
const closedCount = 1_024;
/**
 * A server that cannot send stops reading: what it reads makes it send more. A client that did the same could wait for a
 * server that waits for it; it stops only for what a flood of frames to be answered makes of its buffer.
 */
const clientPauseFactor = 16;
/**
 * Work after which a connection lets others have their turn, as one read can bring thousands of small requests. A frame is
 * one, a header block sixteen and one more for every sixteen bytes. It begins small, and grows as long as turns are short:
 * what a request costs is known only when it is answered.
 */
const workPerTurnMax = 4_096;
const workPerTurnMin = 128;
const workPerTurnFirst = 256;
/** Time until the next turn, in milliseconds, above which a connection's work was too much for one. */
const longTurnMs = 5;
/** How long the process may hold too many received bytes before streams are given up for it. */
const overfullGraceMs = 1_000;
/** What buffers less is not given up: it would free little. */
const givenUpBytesMin = 65_536;
/** Read by a stream before it is given the window that the path has shown to carry: short streams need none. */
const windowStepBytes = 65_536;
/** Chunks of the socket of at least that size are freed as soon as they are read, where nobody keeps a part of them. */
const freedChunkBytes = 16_384;
/** Until a closed connection's socket is destroyed, and a drain goes from its first to its second GOAWAY. */
const lingerMs = 1_000;

/** What the process's connections have queued, and how many they are. */
const unsent = { bytes: 0, connections: 0 };

/** What the owner of a connection is told. */
export interface ConnectionObserver {
  /** What the connection counts with. */
  readonly meter?: Http2Meter | undefined;
  /** A server's connection has a new request. Answers who receives what follows. */
  request(stream: Stream, block: HeaderBlock, end: boolean): StreamReceiver;
  /** The peer's first SETTINGS have come. */
  ready(): void;
  /** Streams can be opened that could not before. */
  capacity(): void;
  /** The peer takes no new streams, or this side gave up: the connection is good only for what is open. */
  draining(): void;
  /** It is over. Every open stream has been told before. */
  closed(error: Error | undefined): void;
}

/** One HTTP/2 connection, of a client or a server (RFC 9113). */
export class Connection implements EndedConnection {
  readonly isServer: boolean;
  readonly options: Http2Options;
  /** Work that the owner does for this connection's streams, those that were reset included. The owner's to count. */
  working = 0;
  /** Streams that are open, by id. */
  readonly streams = new StreamTable();
  readonly #socket: Socket;
  readonly #observer: ConnectionObserver;
  readonly #meter: Http2Meter | undefined;
  /** Bytes of the socket that the meter knows of. */
  #meteredReceived = 0;
  #meteredSent = 0;
  readonly #outbox: Outbox;
  readonly #decoder: HpackDecoder;
  readonly #encoder: HpackEncoder;

  // What the peer allows.
  #peerFrameMax = initialFrameMax;
  #peerInitialWindow = initialWindow;
  #peerStreamsMax = Number.POSITIVE_INFINITY;
  #sendWindow = initialWindow;
  // What this side allows.
  readonly #pathWindow: PathWindow;
  /** What the peer is given on the connection. */
  #windowBytes: number;
  #receiveWindow: number;
  #unacknowledged = 0;
  /** Whether windows were not granted because the process holds too many received bytes, and since when it was seen to. */
  #withholds = false;
  #overfullSinceMs = 0;
  /** Whether the first SETTINGS are, which say what streams begin with. */
  #settingsAcknowledged = false;
  /** SETTINGS that are not acknowledged yet, and when the last of them were sent. */
  #settingsOpen = 0;
  #settingsSentMs = 0;

  #nextId = 1;
  /** The first stream of which nothing has left the process yet. */
  #unsentId = 1;
  #lastPeerId = 0;
  /** How streams ended: by both sides (the id), or by a reset of ours (its negative), after which frames are late, not wrong. */
  readonly #closed = new Int32Array(closedCount);
  // The DATA frame written last, which grows while nothing comes after it: a frame a message would be more head than content.
  #openFrame = 0;
  #openFrameEnd = 0;
  #openFrameEpoch = -1;
  #openFrameStream: Stream | undefined = undefined;
  /** Streams that wait for the connection's window or the socket. */
  readonly #waiting = new Set<Stream>();
  readonly #socketBufferBytes: number;
  readonly #pauseBytes: number;
  #socketFull = false;
  /** Bytes queued on streams. */
  #queuedBytes = 0;
  #overflowing = false;
  /** Work done since the turn's writes, or since this connection gave way last. */
  #work = 0;
  /**
   * A client does not give way: it reads what it asked for, and one that read less than its server sends would hold its own
   * calls up behind a backlog of the window's size, and its resets with them.
   */
  #workPerTurn = Number.POSITIVE_INFINITY;

  /** Greatest frame taken. */
  #frameMax = initialFrameMax;
  /** Greatest frame other than DATA: it is gathered before it is looked at. */
  readonly #controlFrameMax: number;
  // A frame that is not whole yet.
  readonly #head = Buffer.allocUnsafe(frameHeadBytes);
  #headFill = 0;
  #prefaceFill = 0;
  #partial: Buffer | undefined = undefined;
  #partialFill = 0;
  /** DATA of which the rest is to come: bytes left, and where they go. */
  #dataLeft = 0;
  #dataStream: Stream | undefined = undefined;
  #dataEnd = false;
  #chunkKept = false;
  // A header block that is not whole yet.
  #blockId = 0;
  #blockEnd = false;
  #blockParts: Buffer[] = [];
  #blockBytes = 0;
  #continuations = 0;

  #state: "open" | "draining" | "closing" | "closed" = "open";
  /** Streams that were open when it ended, and how many of them have been told. */
  #ending: Stream[] | undefined = undefined;
  #ended = 0;
  #closedTold = false;
  #ready = false;
  /** Greatest peer's stream that is served after a GOAWAY. */
  #servedMax = streamIdMax;
  /** Greatest of our streams that the peer serves, by its GOAWAY. */
  #peerServesMax = streamIdMax;
  #goAwaySent = false;
  #drainPinged = false;
  /** Why the connection ends, where this side knows. */
  #cause: Error | undefined = undefined;

  // Clocks, in ms of performance.now().
  readonly #openedMs = performance.now();
  #heard = true;
  #heardMs = this.#openedMs;
  #pingedMs = 0;
  #usedMs = this.#openedMs;
  #lingerUntilMs = 0;

  readonly #resets: RateLimit;
  readonly #settingsFrames: RateLimit;
  readonly #pings: RateLimit;
  readonly #emptyFrames: RateLimit;

  constructor(socket: Socket, isServer: boolean, options: Http2Options, observer: ConnectionObserver) {
    this.#socket = socket;
    this.isServer = isServer;
    this.options = options;
    this.#observer = observer;
    if (isServer) this.#workPerTurn = workPerTurnFirst;
    this.#meter = observer.meter;
    this.#meter?.connections(1);
    this.#outbox = new Outbox(socket, () => this.#flushed());
    this.#decoder = new HpackDecoder({
      tableBytesMax: options.headerTableBytesMax,
      listBytesMax: options.headerListBytesMax,
      cachedBlocksMax: options.cachedBlocksMax,
    });
    this.#encoder = new HpackEncoder(options.headerTableBytesMax);
    this.#windowBytes = Math.max(initialWindow, options.connectionWindowBytes);
    this.#receiveWindow = this.#windowBytes;
    this.#pathWindow = new PathWindow(options.streamWindowBytes, options.streamWindowBytesMax);
    this.#controlFrameMax = Math.max(initialFrameMax, options.headerBlockBytesMax);
    this.#prefaceFill = isServer ? 0 : preface.length;
    this.#resets = new RateLimit(options.resetsPerSecondMax);
    this.#settingsFrames = new RateLimit(options.settingsPerSecondMax);
    this.#pings = new RateLimit(options.pingsPerSecondMax);
    this.#emptyFrames = new RateLimit(options.emptyFramesPerSecondMax);
    // Below the socket's own mark it would not tell when it has drained.
    this.#socketBufferBytes = Math.max(options.socketBufferBytes, socket.writableHighWaterMark);
    this.#pauseBytes = this.#socketBufferBytes * (isServer ? 1 : clientPauseFactor);
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("drain", () => this.#drained());
    socket.on("error", (error) => {
      this.#cause ??= error;
    });
    socket.on("close", () => this.#lost());
    this.#greet();
    unsent.connections++;
    startTicking(this);
  }

  /** Whether a client can open a stream now. */
  get canOpen(): boolean {
    return this.#state === "open" && this.streams.size < this.#peerStreamsMax && this.#nextId < streamIdMax;
  }

  /** Whether new streams will never be possible. */
  get isDraining(): boolean {
    return this.#state !== "open";
  }

  /** Bytes that wait to be sent: in the socket, in the turn's writes, and on streams. */
  get bufferedBytes(): number {
    return this.#outbox.pendingBytes + this.#queuedBytes;
  }

  /** Whether writers of all streams should wait, whatever their own stream holds. */
  get isFull(): boolean {
    return this.#queuedBytes > this.options.connectionBufferBytes;
  }

  /** Counts bytes that were queued on a stream, or left its queue. Ends the connection where its peer lets too many pile up. */
  countQueued(bytes: number): void {
    this.#queuedBytes += bytes;
    unsent.bytes += bytes;
    if (bytes <= 0 || this.#overflowing) return;
    const { connectionBufferBytesMax, processBufferBytesMax } = this.options;
    // Where the process holds too much, whoever holds more than an equal share goes.
    if (
      this.#queuedBytes <= connectionBufferBytesMax &&
      (unsent.bytes <= processBufferBytesMax || this.#queuedBytes * unsent.connections <= unsent.bytes)
    )
      return;
    this.#overflowing = true;
    this.#meter?.limit("buffered_bytes");
    // Not within a write of the one whose stream is to end.
    setImmediate(() => this.#fail(ErrorCode.EnhanceYourCalm, "too many bytes that the peer does not take"));
  }

  /** Opens a stream of a client; its headers must be sent before another is opened. */
  open(receiver: StreamReceiver): Stream {
    const id = this.#nextId;
    this.#nextId += 2;
    const stream = new Stream(this, id, receiver, this.#peerInitialWindow, this.#streamWindow());
    this.streams.add(stream);
    this.#meter?.streams(1);
    return stream;
  }

  /** Takes no new streams, and closes when those that are open have ended. */
  drain(): void {
    if (this.#state !== "open") return;
    this.#state = "draining";
    this.#observer.draining();
    if (this.isServer) {
      // In two steps, so that no stream is refused that the peer opened before it heard of it.
      this.#writeGoAway(streamIdMax, ErrorCode.NoError, "");
      this.#writePing(false, drainPing, 0);
      this.#drainPinged = true;
      this.#lingerUntilMs = performance.now() + lingerMs;
    } else {
      this.#writeGoAway(0, ErrorCode.NoError, "");
      this.#closeIfDone();
    }
  }

  /** Ends every stream and the connection. */
  destroy(error?: Error): void {
    this.#cause ??= error;
    if (this.#state === "closed") return;
    if (this.#state !== "closing") this.#fail(ErrorCode.NoError, "");
    this.#socket.destroy();
  }

  // What streams send.

  /** Writes a header block, in as many frames as it takes. */
  writeHeaders(id: number, template: HeaderTemplate, extra: ExtraFields | undefined, end: boolean): void {
    const encoder = this.#encoder;
    const fixed = encoder.block(template);
    let space = fixed.length;
    if (extra !== undefined)
      for (let index = 0; index < extra.length; index += 2)
        space += HpackEncoder.literalSpace(extra[index] as string, extra[index + 1] as string);
    const outbox = this.#outbox;
    const endFlag = end ? flagEndStream : 0;
    if (space <= this.#peerFrameMax) {
      const slab = outbox.reserve(frameHeadBytes + space);
      const start = outbox.at;
      let at = start + frameHeadBytes;
      if (fixed.length > 32) at += fixed.copy(slab, at);
      else for (let index = 0; index < fixed.length; index++) slab[at++] = fixed[index] as number;
      if (extra !== undefined)
        for (let index = 0; index < extra.length; index += 2)
          at = encoder.writeLiteral(extra[index] as string, extra[index + 1] as string, slab, at);
      writeHead(slab, start, at - start - frameHeadBytes, typeHeaders, flagEndHeaders | endFlag, id);
      outbox.at = at;
      return;
    }
    const block = Buffer.allocUnsafe(space);
    let length = fixed.copy(block, 0);
    if (extra !== undefined)
      for (let index = 0; index < extra.length; index += 2)
        length = encoder.writeLiteral(extra[index] as string, extra[index + 1] as string, block, length);
    for (let start = 0; start < length; start += this.#peerFrameMax) {
      const part = block.subarray(start, Math.min(length, start + this.#peerFrameMax));
      const flags = (start === 0 ? endFlag : 0) | (start + part.length === length ? flagEndHeaders : 0);
      this.#writeFrameHead(part.length, start === 0 ? typeHeaders : typeContinuation, flags, id);
      outbox.append(part);
    }
  }

  /** Writes content if the windows and the socket take it whole and it is small; joins it to the frame before it. */
  writeDataAtOnce(stream: Stream, head: Uint8Array, body: Uint8Array, end: boolean): boolean {
    const length = head.length + body.length;
    if (length > copiedBytesMax || length > this.#peerFrameMax) return false;
    if (length > 0 && (length > this.#sendWindow || length > stream.sendWindow)) return false;
    const outbox = this.#outbox;
    let at = outbox.at;
    if (
      stream === this.#openFrameStream &&
      at === this.#openFrameEnd &&
      outbox.epoch === this.#openFrameEpoch &&
      at + length <= outbox.slab.length &&
      at + length - this.#openFrame - frameHeadBytes <= this.#peerFrameMax
    ) {
      const content = at + length - this.#openFrame - frameHeadBytes;
      writeHead(outbox.slab, this.#openFrame, content, typeData, end ? flagEndStream : 0, stream.id);
    } else {
      if (length > 0 && outbox.pendingBytes > this.#socketBufferBytes) return false;
      outbox.reserve(frameHeadBytes + length);
      at = outbox.at;
      writeHead(outbox.slab, at, length, typeData, end ? flagEndStream : 0, stream.id);
      this.#openFrame = at;
      this.#openFrameEpoch = outbox.epoch;
      at += frameHeadBytes;
    }
    const { slab } = outbox;
    for (let index = 0; index < head.length; index++) slab[at++] = head[index] as number;
    slab.set(body, at);
    outbox.at = at + body.length;
    this.#openFrameEnd = outbox.at;
    this.#openFrameStream = end ? undefined : stream;
    this.#sendWindow -= length;
    stream.sendWindow -= length;
    return true;
  }

  /** Bytes that the next frame of a stream may have. */
  dataRoom(stream: Stream): number {
    if (this.#outbox.pendingBytes > this.#socketBufferBytes) return 0;
    return Math.min(this.#sendWindow, stream.sendWindow, this.#peerFrameMax);
  }

  /** Writes the head of a frame of content that there is room for; the content follows by `appendData`. */
  writeDataHead(stream: Stream, length: number, end: boolean): void {
    this.#writeFrameHead(length, typeData, end ? flagEndStream : 0, stream.id);
    this.#sendWindow -= length;
    stream.sendWindow -= length;
  }

  /** Writes a part of a frame's content; where it is large it must not change until it has left. */
  appendData(bytes: Uint8Array): void {
    this.#outbox.append(bytes);
  }

  /** Pumps a stream when the connection's window or the socket has room; its own window is asked for elsewhere. */
  waitForRoom(stream: Stream): void {
    if (stream.sendWindow > 0) this.#waiting.add(stream);
  }

  /** Gives consumed bytes back to both windows, in few frames. */
  consume(stream: Stream, bytes: number): void {
    this.#consumeConnection(bytes);
    if (this.#pathWindow.consumed(bytes)) this.#writePing(false, pathPing, 0);
    if (stream.remoteClosed) return;
    stream.unacknowledged += bytes;
    this.#grant(stream);
  }

  #grant(stream: Stream): void {
    if (this.#isOverfull()) {
      this.#withholds = true;
      return;
    }
    let grant = stream.unacknowledged;
    const growth = this.#pathWindow.bytes - stream.windowBytes;
    if (grant * 2 < stream.windowBytes && (growth <= 0 || grant < windowStepBytes)) return;
    if (growth > 0) {
      // The path has shown that it carries more than streams begin with.
      grant += growth;
      stream.windowBytes += growth;
    }
    stream.receiveWindow += grant;
    this.#writeWindowUpdate(stream.id, grant);
    stream.unacknowledged = 0;
  }

  /** Ends a stream with RST_STREAM. */
  resetStream(stream: Stream, code: number): void {
    this.#writeRst(stream.id, code);
    this.forget(stream, true);
  }

  /** Drops a stream that is closed both ways. */
  forget(stream: Stream, reset: boolean): void {
    if (stream.gone) return;
    stream.gone = true;
    stream.localClosed = true;
    stream.remoteClosed = true;
    this.streams.delete(stream.id);
    this.#meter?.streams(-1);
    if (this.#waiting.size > 0) this.#waiting.delete(stream);
    this.countQueued(-stream.queuedBytes);
    const held = stream.drop();
    if (held > 0) this.#consumeConnection(held);
    this.#closed[(stream.id >>> 1) & (closedCount - 1)] = reset ? -stream.id : stream.id;
    if (this.#state !== "open") this.#closeIfDone();
    else if (!this.isServer && this.streams.size + 1 >= this.#peerStreamsMax) this.#observer.capacity();
    if (this.streams.size === 0) this.#usedMs = this.#heardMs;
  }

  // What comes in.

  #read(chunk: Buffer): void {
    this.#heard = true;
    // A turn can bring many chunks: what they ask for must not pile up until its end.
    if (this.#outbox.pendingBytes > this.#socketBufferBytes) this.#outbox.flush();
    this.#chunkKept = false;
    let read = chunk.length;
    try {
      read = this.#parse(chunk);
    } catch (error) {
      if (error instanceof Http2Fault) {
        if (error.limit !== undefined) this.#meter?.limit(error.limit);
        this.#fail(error.code, error.message);
      } else {
        this.#cause ??= error instanceof Error ? error : new Error(String(error));
        this.#fail(ErrorCode.InternalError, "");
      }
    }
    if (this.#work >= this.#workPerTurn) this.#giveWay(chunk, read);
    else if (!this.#chunkKept && chunk.length >= freedChunkBytes) freeChunk(chunk);
  }

  /** Reads on in the next turn, from `at` in the chunk. */
  #giveWay(chunk: Buffer, at: number): void {
    const socket = this.#socket;
    const startMs = performance.now();
    this.#work = 0;
    socket.pause();
    if (at < chunk.length) socket.unshift(chunk.subarray(at));
    setImmediate(() => {
      const isLong = performance.now() - startMs > longTurnMs;
      this.#workPerTurn = isLong
        ? Math.max(workPerTurnMin, this.#workPerTurn >> 1)
        : Math.min(workPerTurnMax, this.#workPerTurn << 1);
      if (!this.#socketFull) socket.resume();
    });
  }

  /** Reads frames until the chunk's end, or until it is another's turn; answers how far. */
  #parse(chunk: Buffer): number {
    let at = 0;
    const size = chunk.length;
    if (this.#prefaceFill < preface.length) at = this.#parsePreface(chunk);
    while (at < size && this.#state !== "closing" && this.#state !== "closed") {
      if (this.#work >= this.#workPerTurn) return at;
      if (this.#dataLeft > 0) {
        const end = Math.min(size, at + this.#dataLeft);
        this.#dataLeft -= end - at;
        this.#takeData(chunk, at, end, this.#dataLeft === 0);
        at = end;
        continue;
      }
      if (this.#partial !== undefined) {
        at += this.#fillPartial(this.#partial, chunk, at);
        continue;
      }
      let head: Buffer = chunk;
      let headAt = at;
      if (this.#headFill > 0 || size - at < frameHeadBytes) {
        const take = Math.min(frameHeadBytes - this.#headFill, size - at);
        chunk.copy(this.#head, this.#headFill, at, at + take);
        this.#headFill += take;
        at += take;
        if (this.#headFill < frameHeadBytes) return size;
        this.#headFill = 0;
        head = this.#head;
        headAt = 0;
      } else at += frameHeadBytes;
      const length =
        ((head[headAt] as number) << 16) | ((head[headAt + 1] as number) << 8) | (head[headAt + 2] as number);
      const type = head[headAt + 3] as number;
      const flags = head[headAt + 4] as number;
      const id =
        (((head[headAt + 5] as number) & 127) << 24) |
        ((head[headAt + 6] as number) << 16) |
        ((head[headAt + 7] as number) << 8) |
        (head[headAt + 8] as number);
      this.#checkHead(length, type, id);
      this.#work++;
      if (type === typeData && (flags & flagPadded) === 0) {
        this.#beginData(length, (flags & flagEndStream) !== 0, id, length);
        if (length === 0) continue;
        this.#dataLeft = length;
        continue;
      }
      if (size - at >= length) {
        this.#frame(chunk, at, length, type, flags, id);
        at += length;
      } else {
        // The rest of the frame is to come: it is gathered with its head before it.
        const partial = Buffer.allocUnsafe(frameHeadBytes + length);
        head.copy(partial, 0, headAt, headAt + frameHeadBytes);
        this.#partial = partial;
        this.#partialFill = frameHeadBytes;
      }
    }
    return size;
  }

  #parsePreface(chunk: Buffer): number {
    const take = Math.min(preface.length - this.#prefaceFill, chunk.length);
    if (chunk.compare(preface, this.#prefaceFill, this.#prefaceFill + take, 0, take) !== 0)
      throw new Http2Fault(ErrorCode.ProtocolError, "the preface is not that of HTTP/2");
    this.#prefaceFill += take;
    return take;
  }

  /** Gathers a frame; answers how many bytes it took. */
  #fillPartial(partial: Buffer, chunk: Buffer, at: number): number {
    const take = Math.min(partial.length - this.#partialFill, chunk.length - at);
    chunk.copy(partial, this.#partialFill, at, at + take);
    this.#partialFill += take;
    if (this.#partialFill === partial.length) {
      this.#partial = undefined;
      const id = partial.readUInt32BE(5) & streamIdMax;
      const length = partial.length - frameHeadBytes;
      this.#frame(partial, frameHeadBytes, length, partial[3] as number, partial[4] as number, id);
    }
    return take;
  }

  #checkHead(length: number, type: number, id: number): void {
    if (length > this.#frameMax) throw new Http2Fault(ErrorCode.FrameSizeError, "a frame too large");
    if (type !== typeData && length > this.#controlFrameMax)
      throw new Http2Fault(ErrorCode.EnhanceYourCalm, "a frame too large that is not DATA");
    if (!this.#ready && type !== typeSettings)
      throw new Http2Fault(ErrorCode.ProtocolError, "the first frame must be SETTINGS");
    if (this.#blockId !== 0 && (type !== typeContinuation || id !== this.#blockId))
      throw new Http2Fault(ErrorCode.ProtocolError, "a header block must not be interrupted");
  }

  #frame(source: Buffer, at: number, length: number, type: number, flags: number, id: number): void {
    switch (type) {
      case typeData: {
        const padding = paddingOf(source, at, length, flags);
        const content = length - padding - 1;
        this.#beginData(length, (flags & flagEndStream) !== 0, id, content);
        const stream = this.#dataStream;
        // Nobody reads the padding.
        if (stream !== undefined) stream.consume(padding + 1);
        if (content > 0) this.#takeData(source, at + 1, at + 1 + content, true);
        return;
      }
      case typeHeaders:
        this.#takeHeaders(source, at, length, flags, id);
        return;
      case typeContinuation:
        this.#takeContinuation(source, at, length, flags, id);
        return;
      case typeWindowUpdate:
        this.#takeWindowUpdate(source, at, length, id);
        return;
      case typePing:
        this.#takePing(source, at, length, flags, id);
        return;
      case typeSettings:
        this.#takeSettings(source, at, length, flags, id);
        return;
      case typeRstStream:
        this.#takeRst(source, at, length, id);
        return;
      case typeGoAway:
        this.#takeGoAway(source, at, length, id);
        return;
      case typePriority:
        this.#takeEmptyFrame();
        if (id === 0) throw new Http2Fault(ErrorCode.ProtocolError, "PRIORITY on stream 0");
        if (length !== 5) this.#streamFault(id, ErrorCode.FrameSizeError);
        else if ((source.readUInt32BE(at) & streamIdMax) === id) this.#streamFault(id, ErrorCode.ProtocolError);
        return;
      case typePushPromise:
        throw new Http2Fault(ErrorCode.ProtocolError, "PUSH_PROMISE was not asked for");
      default:
        // Unknown types are passed over (section 4.1).
        this.#takeEmptyFrame();
    }
  }

  #takeEmptyFrame(): void {
    if (!this.#emptyFrames.take())
      throw new Http2Fault(ErrorCode.EnhanceYourCalm, "too many frames that carry nothing", "empty_frames");
  }

  /** Takes the head of DATA: `length` with padding, `content` without. */
  #beginData(length: number, end: boolean, id: number, content: number): void {
    if (id === 0) throw new Http2Fault(ErrorCode.ProtocolError, "DATA on stream 0");
    if (length > this.#receiveWindow)
      throw new Http2Fault(ErrorCode.FlowControlError, "the connection's window is full");
    this.#receiveWindow -= length;
    if (content === 0 && !end) this.#takeEmptyFrame();
    const stream = this.streams.get(id);
    this.#dataStream = stream;
    this.#dataEnd = end;
    if (stream === undefined) {
      this.#consumeConnection(length);
      this.#absent(id, "DATA");
      return;
    }
    stream.held += length;
    received.bytes += length;
    if (stream.remoteClosed) {
      this.#streamFault(id, ErrorCode.StreamClosed);
      this.#dataStream = undefined;
      return;
    }
    if (length > stream.receiveWindow) {
      this.#streamFault(id, ErrorCode.FlowControlError);
      this.#dataStream = undefined;
      return;
    }
    stream.receiveWindow -= length;
    if (!this.isServer && !stream.headed) {
      this.#streamFault(id, ErrorCode.ProtocolError);
      this.#dataStream = undefined;
      return;
    }
    if (stream.contentLeft >= 0) {
      stream.contentLeft -= content;
      if (stream.contentLeft < 0 || (end && stream.contentLeft !== 0)) {
        this.#streamFault(id, ErrorCode.ProtocolError);
        this.#dataStream = undefined;
        return;
      }
    }
    if (content === 0 && end) this.#takeData(noBuffer, 0, 0, true);
  }

  #takeData(chunk: Buffer, start: number, end: number, whole: boolean): void {
    const stream = this.#dataStream;
    if (stream === undefined || stream.gone) return;
    const last = whole && this.#dataEnd;
    if (last) stream.remoteClosed = true;
    const { receiver } = stream;
    receiver.data(chunk, start, end, last);
    if (receiver.keepsChunk !== false) this.#chunkKept = true;
    if (last && stream.localClosed && !stream.gone) this.forget(stream, false);
  }

  /** A frame on a stream that is not open: late, or a fault. */
  #absent(id: number, what: string): void {
    if (this.#isIdle(id)) throw new Http2Fault(ErrorCode.ProtocolError, `${what} on an idle stream`);
    // Of streams that closed long ago nothing is known, and nothing is said.
    if (this.#closed[(id >>> 1) & (closedCount - 1)] !== id) return;
    if (!this.#resets.take())
      throw new Http2Fault(ErrorCode.EnhanceYourCalm, "too many frames on closed streams", "resets");
    this.#writeRst(id, ErrorCode.StreamClosed);
  }

  #isIdle(id: number): boolean {
    const isPeers = (id & 1) === (this.isServer ? 1 : 0);
    return isPeers ? id > this.#lastPeerId : id >= this.#nextId;
  }

  #takeHeaders(source: Buffer, start: number, length: number, flags: number, id: number): void {
    if (id === 0) throw new Http2Fault(ErrorCode.ProtocolError, "HEADERS on stream 0");
    let at = start;
    let end = start + length;
    if ((flags & flagPadded) !== 0) {
      end -= paddingOf(source, start, length, flags);
      at++;
    }
    if ((flags & flagPriority) !== 0) {
      if (end - at < 5) throw new Http2Fault(ErrorCode.FrameSizeError, "HEADERS too short");
      if ((source.readUInt32BE(at) & streamIdMax) === id)
        throw new Http2Fault(ErrorCode.ProtocolError, "a stream that depends on itself");
      at += 5;
    }
    if ((flags & flagEndHeaders) !== 0) {
      this.#takeBlock(source, at, end, (flags & flagEndStream) !== 0, id);
      return;
    }
    if (end === at) this.#takeEmptyFrame();
    this.#blockId = id;
    this.#blockEnd = (flags & flagEndStream) !== 0;
    this.#blockParts = [Buffer.from(source.subarray(at, end))];
    this.#blockBytes = end - at;
    this.#continuations = 0;
  }

  #takeContinuation(source: Buffer, at: number, length: number, flags: number, id: number): void {
    if (this.#blockId === 0) throw new Http2Fault(ErrorCode.ProtocolError, "CONTINUATION without HEADERS");
    this.#continuations++;
    this.#blockBytes += length;
    if (this.#continuations > this.options.continuationsMax || this.#blockBytes > this.options.headerBlockBytesMax)
      throw new Http2Fault(ErrorCode.EnhanceYourCalm, "a header block too large", "header_block");
    if (length === 0) this.#takeEmptyFrame();
    this.#blockParts.push(Buffer.from(source.subarray(at, at + length)));
    if ((flags & flagEndHeaders) === 0) return;
    const block = Buffer.concat(this.#blockParts, this.#blockBytes);
    this.#blockId = 0;
    this.#blockParts = [];
    this.#takeBlock(block, 0, block.length, this.#blockEnd, id);
  }

  /** Takes a whole header block. It is decoded whatever becomes of the stream: the table must stay in step. */
  #takeBlock(source: Buffer, start: number, end: number, endStream: boolean, id: number): void {
    this.#work += 16 + ((end - start) >> 4);
    const block = this.#decoder.decode(source, start, end);
    const stream = this.streams.get(id);
    if (stream !== undefined) this.#takeLaterBlock(stream, block, endStream);
    else if (this.isServer) this.#takeRequest(block, endStream, id);
    else this.#absent(id, "HEADERS");
  }

  #takeRequest(block: HeaderBlock, endStream: boolean, id: number): void {
    if ((id & 1) === 0) throw new Http2Fault(ErrorCode.ProtocolError, "a client's stream has an odd number");
    if (id <= this.#lastPeerId) {
      const closed = this.#closed[(id >>> 1) & (closedCount - 1)];
      if (closed === -id) return;
      if (closed === id) throw new Http2Fault(ErrorCode.StreamClosed, "HEADERS on a closed stream");
      throw new Http2Fault(ErrorCode.ProtocolError, "a new stream needs a greater number");
    }
    if (id > this.#servedMax) return;
    this.#lastPeerId = id;
    if (this.streams.size >= this.options.concurrentStreamsMax) {
      this.#meter?.limit("concurrent_streams");
      // Refusing costs as much as being reset.
      if (!this.#resets.take())
        throw new Http2Fault(ErrorCode.EnhanceYourCalm, "too many streams beyond the limit", "concurrent_streams");
      this.#refuse(id, ErrorCode.RefusedStream);
      return;
    }
    if (this.#isOverfull()) {
      this.#meter?.limit("received_bytes");
      if (!this.#resets.take())
        throw new Http2Fault(ErrorCode.EnhanceYourCalm, "too many streams while too much is unread", "received_bytes");
      this.#refuse(id, ErrorCode.EnhanceYourCalm);
      return;
    }
    if (block.oversized) this.#meter?.limit("header_list");
    const why = block.oversized ? "a header list too large" : requestFault(block);
    if (why !== undefined) {
      if (!this.#resets.take()) throw new Http2Fault(ErrorCode.EnhanceYourCalm, "too many faulty streams", "resets");
      this.#refuse(id, block.oversized ? ErrorCode.EnhanceYourCalm : ErrorCode.ProtocolError);
      return;
    }
    if (endStream && block.contentLength > 0) {
      this.#refuse(id, ErrorCode.ProtocolError);
      return;
    }
    const stream = new Stream(this, id, noReceiver, this.#peerInitialWindow, this.#streamWindow());
    stream.headed = true;
    stream.remoteClosed = endStream;
    stream.contentLeft = block.contentLength;
    this.streams.add(stream);
    this.#meter?.streams(1);
    stream.receiver = this.#observer.request(stream, block, endStream);
  }

  /** What the peer may send on a new stream: until it has acknowledged our SETTINGS it may go by the initial window. */
  #streamWindow(): number {
    const { streamWindowBytes } = this.options;
    return this.#settingsAcknowledged ? streamWindowBytes : Math.max(initialWindow, streamWindowBytes);
  }

  #refuse(id: number, code: number): void {
    this.#closed[(id >>> 1) & (closedCount - 1)] = -id;
    this.#writeRst(id, code);
  }

  #takeLaterBlock(stream: Stream, block: HeaderBlock, endStream: boolean): void {
    if (stream.remoteClosed) {
      this.#streamFault(stream.id, ErrorCode.StreamClosed);
      return;
    }
    const isTrailers = stream.headed;
    const why = isTrailers ? trailersFault(block) : responseFault(block);
    const informational = !isTrailers && why === undefined && block.status.charCodeAt(0) === 49;
    if (
      why !== undefined ||
      block.oversized ||
      (isTrailers && !endStream) ||
      (informational && endStream) ||
      (endStream && (isTrailers ? stream.contentLeft : promisedBytes(block)) > 0)
    ) {
      this.#streamFault(stream.id, block.oversized ? ErrorCode.EnhanceYourCalm : ErrorCode.ProtocolError);
      return;
    }
    if (informational) return;
    stream.headed = true;
    if (!isTrailers && !endStream) stream.contentLeft = promisedBytes(block);
    if (endStream) stream.remoteClosed = true;
    stream.receiver.headers(block, endStream);
    if (endStream && stream.localClosed && !stream.gone) this.forget(stream, false);
  }

  #takeWindowUpdate(source: Buffer, at: number, length: number, id: number): void {
    if (length !== 4) throw new Http2Fault(ErrorCode.FrameSizeError, "WINDOW_UPDATE has four bytes");
    const increment = source.readUInt32BE(at) & windowMax;
    if (id === 0) {
      if (increment === 0) throw new Http2Fault(ErrorCode.ProtocolError, "WINDOW_UPDATE by nothing");
      this.#sendWindow += increment;
      if (this.#sendWindow > windowMax) throw new Http2Fault(ErrorCode.FlowControlError, "a window too large");
      this.#pumpWaiting();
      return;
    }
    const stream = this.streams.get(id);
    if (stream === undefined && this.#isIdle(id))
      throw new Http2Fault(ErrorCode.ProtocolError, "WINDOW_UPDATE on an idle stream");
    if (increment === 0) {
      this.#streamFault(id, ErrorCode.ProtocolError);
      return;
    }
    if (stream === undefined) return;
    stream.sendWindow += increment;
    if (stream.sendWindow > windowMax) this.#streamFault(id, ErrorCode.FlowControlError);
    else if (stream.queue.length > 0) stream.pump();
  }

  #takePing(source: Buffer, at: number, length: number, flags: number, id: number): void {
    if (length !== 8) throw new Http2Fault(ErrorCode.FrameSizeError, "PING has eight bytes");
    if (id !== 0) throw new Http2Fault(ErrorCode.ProtocolError, "PING on a stream");
    if ((flags & flagAck) !== 0) {
      this.#takeEmptyFrame();
      this.#pingedMs = 0;
      if (source.compare(pathPing, 0, 8, at, at + 8) === 0 && this.#pathWindow.answered()) this.#widen();
      if (this.#drainPinged && source.compare(drainPing, 0, 8, at, at + 8) === 0) this.#finishDrain();
      return;
    }
    if (!this.#pings.take()) throw new Http2Fault(ErrorCode.EnhanceYourCalm, "too many PINGs", "pings");
    this.#writePing(true, source, at);
  }

  #takeSettings(source: Buffer, at: number, length: number, flags: number, id: number): void {
    if (id !== 0) throw new Http2Fault(ErrorCode.ProtocolError, "SETTINGS on a stream");
    if ((flags & flagAck) !== 0) {
      if (length !== 0) throw new Http2Fault(ErrorCode.FrameSizeError, "an acknowledgement with content");
      if (!this.#ready) throw new Http2Fault(ErrorCode.ProtocolError, "the first frame must be SETTINGS");
      if (this.#settingsOpen === 0) throw new Http2Fault(ErrorCode.ProtocolError, "nothing to acknowledge");
      this.#settingsOpen--;
      this.#settingsAcknowledged = true;
      return;
    }
    if (length % 6 !== 0) throw new Http2Fault(ErrorCode.FrameSizeError, "SETTINGS in parts of six bytes");
    if (!this.#settingsFrames.take()) throw new Http2Fault(ErrorCode.EnhanceYourCalm, "too many SETTINGS", "settings");
    let windowChanged = false;
    for (let entry = at; entry < at + length; entry += 6)
      windowChanged = this.#takeSetting(source.readUInt16BE(entry), source.readUInt32BE(entry + 2)) || windowChanged;
    this.#writeFrameHead(0, typeSettings, flagAck, 0);
    if (windowChanged) for (const stream of this.streams.values()) if (stream.queue.length > 0) stream.pump();
    if (!this.#ready) {
      this.#ready = true;
      this.#observer.ready();
    } else if (!this.isServer) this.#observer.capacity();
  }

  /** Takes one setting; answers whether it gave streams room. */
  #takeSetting(setting: number, value: number): boolean {
    switch (setting) {
      case settingHeaderTableSize:
        this.#encoder.setPeerTableSize(value);
        return false;
      case settingEnablePush:
        if (value > 1 || (!this.isServer && value !== 0))
          throw new Http2Fault(ErrorCode.ProtocolError, "ENABLE_PUSH out of range");
        return false;
      case settingConcurrentStreamsMax:
        this.#peerStreamsMax = value;
        return false;
      case settingInitialWindowSize: {
        if (value > windowMax) throw new Http2Fault(ErrorCode.FlowControlError, "INITIAL_WINDOW_SIZE out of range");
        const change = value - this.#peerInitialWindow;
        this.#peerInitialWindow = value;
        for (const stream of this.streams.values()) {
          stream.sendWindow += change;
          if (stream.sendWindow > windowMax) throw new Http2Fault(ErrorCode.FlowControlError, "a window too large");
        }
        return change > 0;
      }
      case settingMaxFrameSize:
        if (value < initialFrameMax || value > 16_777_215)
          throw new Http2Fault(ErrorCode.ProtocolError, "MAX_FRAME_SIZE out of range");
        this.#peerFrameMax = value;
        return false;
      default:
        return false;
    }
  }

  #takeRst(source: Buffer, at: number, length: number, id: number): void {
    if (length !== 4) throw new Http2Fault(ErrorCode.FrameSizeError, "RST_STREAM has four bytes");
    if (id === 0) throw new Http2Fault(ErrorCode.ProtocolError, "RST_STREAM on stream 0");
    const stream = this.streams.get(id);
    if (stream === undefined) {
      if (this.#isIdle(id)) throw new Http2Fault(ErrorCode.ProtocolError, "RST_STREAM on an idle stream");
      // Both sides may have ended it at once; more than that is a flood.
      if (!this.#resets.take())
        throw new Http2Fault(ErrorCode.EnhanceYourCalm, "too many resets of closed streams", "resets");
      return;
    }
    if (this.isServer && !this.#resets.take())
      throw new Http2Fault(ErrorCode.EnhanceYourCalm, "too many streams were reset", "resets");
    const code = source.readUInt32BE(at);
    this.#meter?.reset("received", code);
    this.forget(stream, false);
    stream.receiver.reset(code, code === ErrorCode.RefusedStream ? "refused" : "peer");
  }

  #takeGoAway(source: Buffer, at: number, length: number, id: number): void {
    if (id !== 0) throw new Http2Fault(ErrorCode.ProtocolError, "GOAWAY on a stream");
    if (length < 8) throw new Http2Fault(ErrorCode.FrameSizeError, "GOAWAY has eight bytes at least");
    const last = source.readUInt32BE(at) & streamIdMax;
    const code = source.readUInt32BE(at + 4);
    if (last > this.#peerServesMax) throw new Http2Fault(ErrorCode.ProtocolError, "GOAWAY takes streams back");
    this.#peerServesMax = last;
    if (code !== ErrorCode.NoError) {
      const debug = source.toString("latin1", at + 8, at + Math.min(length, 264));
      this.#cause ??= new Error(`the peer closed the connection: code ${code} ${debug}`);
    }
    if (this.#state === "open") {
      this.#state = "draining";
      this.#observer.draining();
    }
    if (!this.isServer)
      for (const stream of this.streams.values())
        if (stream.id > last) {
          this.forget(stream, true);
          stream.receiver.reset(ErrorCode.RefusedStream, "refused");
        }
    this.#closeIfDone();
  }

  // Faults and the end.

  /** Ends one stream for a fault of the peer's; the connection lives. */
  #streamFault(id: number, code: number): void {
    if (!this.#resets.take()) throw new Http2Fault(ErrorCode.EnhanceYourCalm, "too many faulty streams", "resets");
    this.#writeRst(id, code);
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    this.forget(stream, true);
    stream.receiver.reset(code, "fault");
  }

  /** Ends the connection: GOAWAY, then the socket, once the peer can have read it. */
  #fail(code: number, message: string): void {
    if (this.#state === "closing" || this.#state === "closed") return;
    if (message !== "") this.#cause ??= new Http2Fault(code, message);
    const wasOpen = this.#state === "open";
    this.#state = "closing";
    if (wasOpen) this.#observer.draining();
    this.#writeGoAway(this.#lastPeerId, code, message);
    this.#outbox.flush();
    this.#endStreams();
    this.#endSocket();
  }

  #endSocket(): void {
    this.#outbox.flush();
    this.#lingerUntilMs = performance.now() + lingerMs;
    this.#socket.end();
    this.#socket.resume();
  }

  #endStreams(): void {
    if (this.#ending !== undefined) return;
    this.#ending = this.streams.values();
    tellStreamsOf(this);
  }

  /** For `stream-endings.ts`: tells open streams of the connection's end, at most `max`; answers how many. */
  tellStreams(max: number): number {
    const ending = this.#ending ?? [];
    let told = 0;
    while (told < max && this.#ended < ending.length) {
      const stream = ending[this.#ended++];
      // What one is told can end another.
      if (stream === undefined || stream.gone) continue;
      told++;
      this.forget(stream, true);
      const isUnsent = !this.isServer && stream.id >= this.#unsentId;
      stream.receiver.reset(ErrorCode.Cancel, isUnsent ? "refused" : "connection");
    }
    if (this.#ended === ending.length) this.#tellClosed();
    return told;
  }

  /** Tells the owner that it is over, once the socket is closed and every stream has been told. */
  #tellClosed(): void {
    if (this.#state !== "closed" || this.#ending === undefined || this.#ended < this.#ending.length) return;
    if (this.#closedTold) return;
    this.#closedTold = true;
    this.#ending = [];
    this.#ended = 0;
    this.#observer.closed(this.#cause);
  }

  #finishDrain(): void {
    if (!this.#drainPinged) return;
    this.#drainPinged = false;
    this.#servedMax = this.#lastPeerId;
    this.#writeGoAway(this.#lastPeerId, ErrorCode.NoError, "");
    this.#closeIfDone();
  }

  #closeIfDone(): void {
    if (this.#state !== "draining" || this.streams.size > 0 || this.#drainPinged) return;
    this.#state = "closing";
    if (!this.#goAwaySent) this.#writeGoAway(this.#lastPeerId, ErrorCode.NoError, "");
    this.#endSocket();
  }

  #lost(): void {
    if (this.#state === "closed") return;
    const wasOpen = this.#state === "open";
    this.#state = "closed";
    unsent.connections--;
    stopTicking(this);
    this.#meterBytes();
    this.#meter?.connections(-1);
    if (wasOpen) this.#observer.draining();
    this.#endStreams();
    this.#tellClosed();
  }

  /** Looks at the clocks; called by the process's ticker. */
  tick(nowMs: number): void {
    const { options } = this;
    if (this.#heard) {
      this.#heard = false;
      this.#meterBytes();
      this.#heardMs = nowMs;
      this.#pingedMs = 0;
    }
    if (this.#state === "closing") {
      if (nowMs >= this.#lingerUntilMs) this.#socket.destroy();
      return;
    }
    if (!this.#ready) {
      if (nowMs - this.#openedMs <= options.handshakeTimeoutMs) return;
      this.#meter?.limit("handshake_timeout");
      this.destroy(new Error("no handshake in time"));
      return;
    }
    if (this.#settingsOpen > 0 && nowMs - this.#settingsSentMs > options.settingsTimeoutMs) {
      this.#meter?.limit("settings_timeout");
      this.#fail(ErrorCode.SettingsTimeout, "SETTINGS were not acknowledged");
      return;
    }
    if (this.#drainPinged && nowMs >= this.#lingerUntilMs) this.#finishDrain();
    if (this.streams.size > 0) this.#usedMs = nowMs;
    else if (options.idleTimeoutMs > 0 && nowMs - this.#usedMs > options.idleTimeoutMs) {
      this.#meter?.limit("idle_timeout");
      this.drain();
    }
    if (options.keepaliveMs > 0) this.#keepAlive(nowMs);
    this.#boundReceived(nowMs);
  }

  /** Grants what was withheld once there is room again; where there is none for long, gives up what holds the most. */
  #boundReceived(nowMs: number): void {
    const isOverfull = this.#isOverfull();
    if (!isOverfull) this.#overfullSinceMs = 0;
    else if (this.#overfullSinceMs === 0) this.#overfullSinceMs = nowMs;
    else if (nowMs - this.#overfullSinceMs > overfullGraceMs) {
      let largest: Stream | undefined;
      for (const stream of this.streams.values())
        if (stream.receivedBytes > (largest?.receivedBytes ?? givenUpBytesMin)) largest = stream;
      if (largest !== undefined) {
        this.#meter?.limit("received_bytes");
        this.#writeRst(largest.id, ErrorCode.EnhanceYourCalm);
        this.forget(largest, true);
        largest.receiver.reset(ErrorCode.EnhanceYourCalm, "fault");
      }
    }
    if (!this.#withholds || isOverfull) return;
    this.#withholds = false;
    this.#consumeConnection(0);
    for (const stream of this.streams.values()) if (!stream.remoteClosed) this.#grant(stream);
  }

  #isOverfull(): boolean {
    return received.bytes > this.options.processReceivedBytesMax;
  }

  #meterBytes(): void {
    const meter = this.#meter;
    if (meter === undefined) return;
    const { bytesRead, bytesWritten } = this.#socket;
    meter.bytes(bytesRead - this.#meteredReceived, bytesWritten - this.#meteredSent);
    this.#meteredReceived = bytesRead;
    this.#meteredSent = bytesWritten;
  }

  #keepAlive(nowMs: number): void {
    if (this.#pingedMs > 0) {
      if (nowMs - this.#pingedMs <= this.options.keepaliveTimeoutMs) return;
      this.#meter?.limit("keepalive_timeout");
      this.#cause ??= new Error("the peer does not answer");
      this.#fail(ErrorCode.NoError, "");
      this.#socket.destroy();
    } else if (nowMs - this.#heardMs > this.options.keepaliveMs) {
      this.#pingedMs = nowMs;
      this.#writePing(false, keepalivePing, 0);
    }
  }

  // Frames that a connection sends.

  #greet(): void {
    const { options } = this;
    if (!this.isServer) this.#outbox.append(preface);
    const settings: [number, number][] = [
      [settingHeaderTableSize, options.headerTableBytesMax],
      [settingInitialWindowSize, options.streamWindowBytes],
      [settingHeaderListSize, options.headerListBytesMax],
    ];
    if (this.isServer) settings.push([settingConcurrentStreamsMax, options.concurrentStreamsMax]);
    else settings.push([settingEnablePush, 0]);
    this.#writeSettings(settings);
    if (this.#receiveWindow > initialWindow) this.#writeWindowUpdate(0, this.#receiveWindow - initialWindow);
  }

  #writeSettings(settings: readonly (readonly [number, number])[]): void {
    this.#settingsOpen++;
    this.#settingsSentMs = performance.now();
    this.#writeFrameHead(settings.length * 6, typeSettings, 0, 0);
    const bytes = Buffer.allocUnsafe(settings.length * 6);
    for (const [index, [setting, value]] of settings.entries()) {
      bytes.writeUInt16BE(setting, index * 6);
      bytes.writeUInt32BE(value, index * 6 + 2);
    }
    this.#outbox.append(bytes);
  }

  #writeFrameHead(length: number, type: number, flags: number, id: number): void {
    const outbox = this.#outbox;
    writeHead(outbox.reserve(frameHeadBytes), outbox.at, length, type, flags, id);
    outbox.at += frameHeadBytes;
  }

  #writeRst(id: number, code: number): void {
    this.#meter?.reset("sent", code);
    this.#writeNumber(typeRstStream, id, code);
  }

  #writeWindowUpdate(id: number, increment: number): void {
    this.#writeNumber(typeWindowUpdate, id, increment);
  }

  #writeNumber(type: number, id: number, value: number): void {
    const outbox = this.#outbox;
    const slab = outbox.reserve(frameHeadBytes + 4);
    writeHead(slab, outbox.at, 4, type, 0, id);
    slab.writeUInt32BE(value, outbox.at + frameHeadBytes);
    outbox.at += frameHeadBytes + 4;
  }

  #writePing(ack: boolean, source: Buffer, at: number): void {
    this.#writeFrameHead(8, typePing, ack ? flagAck : 0, 0);
    this.#outbox.append(source.subarray(at, at + 8));
  }

  #writeGoAway(last: number, code: number, message: string): void {
    this.#goAwaySent = true;
    const bytes = Buffer.allocUnsafe(8 + message.length);
    bytes.writeUInt32BE(last, 0);
    bytes.writeUInt32BE(code, 4);
    bytes.write(message, 8, "latin1");
    this.#writeFrameHead(bytes.length, typeGoAway, 0, 0);
    this.#outbox.append(bytes);
  }

  /** The path carries more than streams begin with: the connection does not hold them back, and frames get larger. */
  #widen(): void {
    const { connectionWindowBytesMax, frameBytesMax } = this.options;
    const wanted = Math.min(connectionWindowBytesMax, this.#pathWindow.bytes * 2);
    if (wanted > this.#windowBytes) {
      this.#unacknowledged += wanted - this.#windowBytes;
      this.#windowBytes = wanted;
      this.#consumeConnection(0);
    }
    if (frameBytesMax <= this.#frameMax) return;
    this.#frameMax = frameBytesMax;
    this.#writeSettings([[settingMaxFrameSize, frameBytesMax]]);
  }

  #consumeConnection(bytes: number): void {
    this.#unacknowledged += bytes;
    if (this.#unacknowledged * 2 < this.#windowBytes) return;
    if (this.#isOverfull()) {
      this.#withholds = true;
      return;
    }
    this.#receiveWindow += this.#unacknowledged;
    this.#writeWindowUpdate(0, this.#unacknowledged);
    this.#unacknowledged = 0;
  }

  // Room at the socket.

  /** A socket that holds too much is read no more: what the peer does not take, it cannot ask more of. */
  #flushed(): void {
    // Once a turn: what was asked for in it has had its turn.
    this.#work = 0;
    this.#unsentId = this.#nextId;
    if (this.#socket.writableLength > this.#pauseBytes && !this.#socketFull) {
      this.#socketFull = true;
      this.#socket.pause();
    } else if (this.#waiting.size > 0) this.#pumpWaiting();
  }

  #drained(): void {
    if (this.#socketFull) {
      this.#socketFull = false;
      this.#socket.resume();
    }
    this.#pumpWaiting();
  }

  /** Gives streams that wait their turn, in the order in which they came. */
  #pumpWaiting(): void {
    if (this.#waiting.size === 0) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const stream of waiting) stream.pump();
  }
}

const noBuffer = Buffer.alloc(0);
const drainPing = Buffer.from("weftdrai", "latin1");
const pathPing = Buffer.from("weftpath", "latin1");
const keepalivePing = Buffer.from("weftlive", "latin1");
const noReceiver: StreamReceiver = {
  headers() {},
  data() {},
  reset(_code: number, _cause: ResetCause) {},
  writable() {},
};

function writeHead(target: Buffer, at: number, length: number, type: number, flags: number, id: number): void {
  target[at] = length >>> 16;
  target[at + 1] = length >>> 8;
  target[at + 2] = length;
  target[at + 3] = type;
  target[at + 4] = flags;
  target[at + 5] = id >>> 24;
  target[at + 6] = id >>> 16;
  target[at + 7] = id >>> 8;
  target[at + 8] = id;
}

/**
 * Bytes of content that the head of a response promises, -1 where it does not say: a 204 and a 304 have none whatever they
 * say (RFC 9110, sections 15.3.5 and 15.4.5). No request of ours is a HEAD.
 */
function promisedBytes(block: HeaderBlock): number {
  return block.status === "204" || block.status === "304" ? 0 : block.contentLength;
}

/**
 * Frees a chunk that nobody looks at any more. Left to the collector, the chunks of large messages make it run so often that
 * it costs more than all the copying.
 */
function freeChunk({ buffer, byteOffset, length }: Buffer): void {
  if (byteOffset === 0 && length === buffer.byteLength && buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** Bytes of padding, without the byte that says so. */
function paddingOf(source: Buffer, at: number, length: number, flags: number): number {
  if ((flags & flagPadded) === 0) return 0;
  if (length < 1) throw new Http2Fault(ErrorCode.FrameSizeError, "a padded frame without padding");
  const padding = source[at] as number;
  if (padding >= length) throw new Http2Fault(ErrorCode.ProtocolError, "more padding than frame");
  return padding;
}
