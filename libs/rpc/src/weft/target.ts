import { isIP } from "node:net";
import { type BalancingPolicy, policyNames } from "./balancing/balancer.ts";

/** An address as a target names it: a host whose name may stand for many. */
export interface TargetAddress {
  /** A name or an IP address. */
  readonly host: string;
  readonly port: number;
  /** Share beside the target's other addresses, from 1. */
  readonly weight: number;
}

/** A peer by name, and how its calls are spread. */
export interface Target {
  readonly addresses: readonly [TargetAddress, ...TargetAddress[]];
  /** For `:authority`: the first address. */
  readonly authority: string;
  readonly policy: BalancingPolicy;
  /** Connections to each address; undefined for the process's default. */
  readonly connections: number | undefined;
}

/** Addresses that one target may name. */
const addressesMax = 256;
const weightMax = 100;
const connectionsMax = 64;
/** Requests whose keys the hash takes where the target names none. */
const defaultKey = "x-weft-request-id";
const parameterNames = ["policy", "key", "load", "connections"] as const;

/**
 * Reads a target:
 *
 *     [dns: | dns:/// | ipv4: | ipv6:] host[:port][*weight] [,host[:port][*weight] …] [?name=value[&name=value …]]
 *
 * as gRPC's naming has it, besides weights and parameters: `policy` (round_robin, least_request, weighted or
 * consistent_hash), `connections` to each address, and of consistent_hash `key`, the metadata key that is hashed, and
 * `load`, the greatest load of an address over the mean. The port is 443 where none is given. Throws TypeError that says
 * what is wrong.
 */
export function parseTarget(text: string): Target {
  const fail = (why: string): never => {
    throw new TypeError(`"${text}" is not a target: ${why}`);
  };
  const [named = "", query, ...more] = text.split("?");
  if (more.length > 0) fail("only one ? may stand before the parameters");
  const scheme = /^(dns|ipv4|ipv6):/.exec(named)?.[1];
  if (/^dns:\/\/[^/]/.test(named)) fail("names are resolved as the system does; a DNS server cannot be named");
  const list = named.replace(/^(dns:(\/\/\/)?|ipv[46]:)/, "");
  const parts = list.split(",");
  if (parts.length > addressesMax) fail(`more than ${addressesMax} addresses`);
  const [first, ...others] = parts.map((part) => parseAddress(part, fail));
  if (first === undefined) return fail("host:port is wanted");
  for (const { host } of [first, ...others])
    if (scheme !== undefined && scheme !== "dns" && isIP(host) !== (scheme === "ipv4" ? 4 : 6))
      fail(`${host} is no ${scheme === "ipv4" ? "IPv4" : "IPv6"} address`);
  const parameters = parseParameters(query, fail);
  const policy = parsePolicy(parameters, fail);
  if (policy.name === "round_robin" && parts.some((part) => part.includes("*")))
    fail("weights need policy=weighted, least_request or consistent_hash");
  const connections = parameters.get("connections");
  return {
    addresses: [first, ...others],
    authority: (parts[0] ?? "").replace(/\*.*$/, ""),
    policy,
    connections: connections === undefined ? undefined : wholeNumber("connections", connections, connectionsMax, fail),
  };
}

type Fail = (why: string) => never;

function parseAddress(part: string, fail: Fail): TargetAddress {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:/[\]*?&=\s]+))(?::(\d{1,5}))?(?:\*(.*))?$/.exec(part);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? 443);
  const weight = match?.[4];
  if (host === undefined) return fail("host:port is wanted");
  if (match?.[1] !== undefined && isIP(host) !== 6) fail(`[${host}] is no IPv6 address`);
  if (port > 65_535) fail(`port ${port} is above 65535`);
  return { host, port, weight: weight === undefined ? 1 : wholeNumber("a weight", weight, weightMax, fail) };
}

function parseParameters(query: string | undefined, fail: Fail): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>();
  for (const pair of query === undefined ? [] : query.split("&")) {
    const [name = "", value = ""] = pair.split("=", 2);
    if (!parameterNames.some((known) => known === name))
      fail(`"${name}" is no parameter; there are ${parameterNames.join(", ")}`);
    if (parameters.has(name)) fail(`${name} is given twice`);
    parameters.set(name, value);
  }
  return parameters;
}

function parsePolicy(parameters: ReadonlyMap<string, string>, fail: Fail): BalancingPolicy {
  const given = parameters.get("policy") ?? "round_robin";
  const name = policyNames.find((known) => known === given);
  if (name === undefined) return fail(`policy "${given}" is unknown; there are ${policyNames.join(", ")}`);
  const key = parameters.get("key");
  const load = parameters.get("load");
  if (name !== "consistent_hash") {
    if (key !== undefined || load !== undefined) fail("key and load go with policy=consistent_hash");
    return { name };
  }
  if (key !== undefined && !/^[0-9a-z_.-]{1,64}$/.test(key)) fail(`"${key}" is no metadata key`);
  const loadFactor = load === undefined ? undefined : Number(load);
  if (loadFactor !== undefined && !(loadFactor > 1 && loadFactor <= 100)) fail("load must be above 1, and 100 at most");
  return { name, key: key ?? defaultKey, loadFactor };
}

function wholeNumber(what: string, text: string, max: number, fail: Fail): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  return value >= 1 && value <= max ? value : fail(`${what} must be a whole number, 1 to ${max}`);
}
