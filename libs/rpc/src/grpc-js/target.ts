import { isIP } from "node:net";
import { addressId } from "../weft/resolver.ts";
import { parseTarget } from "../weft/target.ts";

/** A target as grpc-js reads it. Throws TypeError where grpc-js cannot do what the target asks for. */
export function grpcJsTarget(text: string): string {
  if (text.startsWith("xds:")) return text;
  const { addresses, policy, connections } = parseTarget(text);
  const refuse = (what: string): never => {
    throw new TypeError(`"${text}": ${what} is not for the grpc-js transport`);
  };
  if (policy.name !== "round_robin") refuse(`policy=${policy.name}`);
  if (connections !== undefined && connections !== 1) refuse(`connections=${connections}`);
  const [{ host }] = addresses;
  const list = addresses.map((address) => addressId(address.host, address.port)).join(",");
  if (addresses.length === 1 && isIP(host) === 0) return `dns:///${list}`;
  const version = isIP(host);
  if (version === 0 || addresses.some((address) => isIP(address.host) !== version))
    refuse("a list of anything but addresses of one kind");
  return `ipv${version}:${list}`;
}
