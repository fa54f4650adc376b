/** Pseudo-header fields that a block has, as bits. */
export const Pseudo = { Method: 1, Scheme: 2, Path: 4, Authority: 8, Status: 16, Protocol: 32 } as const;

/** Fields that HTTP/2 forbids: they belong to one connection of HTTP/1.1. */
const forbidden = new Set(["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"]);

/** Bytes that a field counts beyond its name and value (RFC 7541, section 4.1). */
export const fieldOverheadBytes = 32;

/** A decoded header block. A block that is seen again is the same object. */
export class HeaderBlock {
  /** Names and values of the regular fields in turn; the pseudo-header fields are properties. */
  readonly fields: string[] = [];
  method = "";
  scheme = "";
  path = "";
  authority = "";
  status = "";
  /** Which pseudo-header fields were there. */
  pseudo = 0;
  hasHost = false;
  /** -1 where the block does not say. */
  contentLength = -1;
  /** Why the block breaks RFC 9113, section 8, if it does. */
  malformed: string | undefined = undefined;
  /** Whether it is larger than the limit; its fields are then incomplete. */
  oversized = false;
  /** Size as RFC 9113 counts it. */
  sizeBytes = 0;
  /** What a layer above made of it, kept with the block. */
  derived: unknown = undefined;

  /** Value of the first field of that name. */
  get(name: string): string | undefined {
    const fields = this.fields;
    for (let index = 0; index < fields.length; index += 2) if (fields[index] === name) return fields[index + 1];
    return undefined;
  }

  /** Takes one field, within a limit on the size of all. */
  add(name: string, value: string, sizeMax: number): void {
    this.sizeBytes += name.length + value.length + fieldOverheadBytes;
    if (this.sizeBytes > sizeMax) {
      this.oversized = true;
      return;
    }
    if (name.charCodeAt(0) === 58) this.#addPseudo(name, value);
    else this.#addRegular(name, value);
  }

  #addPseudo(name: string, value: string): void {
    if (this.fields.length > 0) this.malformed ??= "a pseudo-header field after a regular one";
    let bit: number;
    switch (name) {
      case ":method":
        bit = Pseudo.Method;
        this.method = value;
        break;
      case ":scheme":
        bit = Pseudo.Scheme;
        this.scheme = value;
        break;
      case ":path":
        bit = Pseudo.Path;
        this.path = value;
        break;
      case ":authority":
        bit = Pseudo.Authority;
        this.authority = value;
        break;
      case ":status":
        bit = Pseudo.Status;
        this.status = value;
        break;
      case ":protocol":
        bit = Pseudo.Protocol;
        break;
      default:
        this.malformed ??= `unknown pseudo-header field ${name}`;
        return;
    }
    if ((this.pseudo & bit) !== 0) this.malformed ??= `two of ${name}`;
    this.pseudo |= bit;
  }

  #addRegular(name: string, value: string): void {
    if (forbidden.has(name)) this.malformed ??= `the field ${name} is of HTTP/1.1`;
    else if (name === "te") {
      if (value !== "trailers") this.malformed ??= "te other than trailers";
    } else if (name === "content-length") {
      const length = /^\d{1,15}$/.test(value) ? Number(value) : -1;
      if (length < 0 || this.contentLength >= 0) this.malformed ??= "a wrong content-length";
      this.contentLength = length;
    } else if (name === "host") {
      if (this.hasHost) this.malformed ??= "two of host";
      this.hasHost = true;
    }
    this.fields.push(name, value);
  }
}

/** Why a block is not a request, if it is not. */
export function requestFault(block: HeaderBlock): string | undefined {
  if (block.malformed !== undefined) return block.malformed;
  const { pseudo } = block;
  if ((pseudo & (Pseudo.Status | Pseudo.Protocol)) !== 0) return "a request with :status or :protocol";
  if (block.method === "CONNECT")
    return (pseudo & (Pseudo.Scheme | Pseudo.Path)) === 0 && block.authority !== ""
      ? undefined
      : "CONNECT with :scheme or :path, or without :authority";
  const needed = Pseudo.Method | Pseudo.Scheme | Pseudo.Path;
  if ((pseudo & needed) !== needed) return "a request needs :method, :scheme and :path";
  if ((pseudo & Pseudo.Authority) === 0 && !block.hasHost) return "a request needs :authority or host";
  if (block.path === "*" && block.method !== "OPTIONS") return "a path that only OPTIONS has";
  return undefined;
}

/** Why a block is not a response, if it is not. */
export function responseFault(block: HeaderBlock): string | undefined {
  if (block.malformed !== undefined) return block.malformed;
  if (block.pseudo !== Pseudo.Status || !/^[1-9]\d\d$/.test(block.status)) return "a response needs :status alone";
  if (block.status === "101") return "101 is of HTTP/1.1";
  if (block.contentLength > (block.status === "204" ? 0 : -1) && /^(1|204)/.test(block.status))
    return "content-length where there is no content";
  return undefined;
}

/** Why a block is not a trailer section, if it is not. */
export function trailersFault(block: HeaderBlock): string | undefined {
  if (block.malformed !== undefined) return block.malformed;
  if (block.contentLength >= 0) return "trailers with content-length";
  return block.pseudo === 0 ? undefined : "trailers with a pseudo-header field";
}
