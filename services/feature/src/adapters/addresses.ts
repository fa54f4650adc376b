/** Where a server listens. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Reads "host:port" or "[v6]:port", several after commas; RangeError where one is neither. */
export function parseAddresses(text: string): readonly Address[] {
  return text.split(",").map((part) => {
    const [, bracketed, plain, digits = ""] = /^(?:\[([0-9a-fA-F:]+)\]|([^\s:]+)):(\d{1,5})$/.exec(part.trim()) ?? [];
    const host = bracketed ?? plain;
    const port = Number(digits);
    if (host === undefined || port < 1 || port > 65_535)
      throw new RangeError(`"${part.trim()}" is no address; write host:port, several after commas`);
    return { host, port };
  });
}
