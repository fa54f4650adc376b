import { parseConfig } from "@weft/config";
import type { ServiceName } from "@weft/contracts";
import { peersConfig, processConfig, readConfigInput } from "@weft/service";

/** Where running services are, from `--peers.<service>` settings, the environment and the defaults. */
export function targetsOf(settings: readonly string[]): (service: ServiceName) => string {
  const [, peers] = parseConfig([processConfig, peersConfig], readConfigInput(settings)).settings;
  return (service) => String(peers[service]);
}
