import type { TlsOptions } from "node:tls";
import { HeaderTemplate } from "../hpack-encoder.ts";
import type { Http2Meter } from "../meter.ts";
import type { Http2Options } from "../options.ts";
import { type Http2Server, listenHttp2 } from "../server.ts";

const ok = new HeaderTemplate([
  [":status", "200"],
  ["content-type", "text/plain"],
]);
const body = Buffer.from("the content of an answer\n");
const noBytes = new Uint8Array(0);

/** A server for tests: once a request is whole it answers with its content, or with a line of text where it has none. */
export function listenEcho(http2: Partial<Http2Options>, tls?: TlsOptions, meter?: Http2Meter): Promise<Http2Server> {
  return listenHttp2({
    host: "127.0.0.1",
    port: 0,
    http2,
    ...(tls === undefined ? {} : { tls }),
    ...(meter === undefined ? {} : { meter }),
    request(stream, _block, end) {
      const parts: Buffer[] = [];
      const answer = () => {
        stream.sendHeaders(ok, undefined, false);
        stream.write(noBytes, parts.length === 0 ? body : Buffer.concat(parts), true);
      };
      if (end) answer();
      return {
        headers: answer,
        data(chunk, start, stop, last) {
          if (stop > start) parts.push(Buffer.from(chunk.subarray(start, stop)));
          stream.consume(stop - start);
          if (last) answer();
        },
        reset() {},
        writable() {},
      };
    },
  });
}
