import { lookup } from "node:dns/promises";
import { isIP } from "node:net";

/** A peer by name. */
export interface Target {
  readonly host: string;
  readonly port: number;
  /** For `:authority`. */
  readonly authority: string;
}

/** Reads `host:port`, `[v6]:port` or `dns:///host:port`. Throws TypeError on anything else. */
export function parseTarget(text: string): Target {
  const authority = text.replace(/^(dns:(\/\/[^/]*\/)?|ipv[46]:)/, "");
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:/[\]]+))(?::(\d{1,5}))?$/.exec(authority);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? 443);
  if (host === undefined || port > 65_535) throw new TypeError(`"${text}" is not a target: host:port is wanted`);
  return { host, port, authority };
}

/** Every address of a host. */
export async function resolveHost(host: string): Promise<readonly string[]> {
  if (isIP(host) !== 0) return [host];
  const found = await lookup(host, { all: true });
  return [...new Set(found.map(({ address }) => address))];
}
