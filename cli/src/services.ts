import { type ServiceName, serviceNames } from "@weft/contracts";
import { feature } from "@weft/feature";
import { gateway } from "@weft/gateway";
import { monitoring } from "@weft/monitoring";
import { ranking } from "@weft/ranking";
import { registry } from "@weft/registry";
import { retrieval } from "@weft/retrieval";
import type { ServiceDefinition } from "@weft/service";

const definitions: Readonly<Record<ServiceName, ServiceDefinition>> = {
  gateway,
  feature,
  retrieval,
  ranking,
  registry,
  monitoring,
};

/** Every service, in the order of their ports. */
export const allServices: readonly ServiceDefinition[] = serviceNames.map((name) => definitions[name]);

/** The services of these names. Throws RangeError on an unknown one. */
export function servicesNamed(names: readonly string[]): readonly ServiceDefinition[] {
  return names.map((name) => {
    const found = allServices.find((service) => service.name === name);
    if (found === undefined) throw new RangeError(`no service "${name}"; there are ${serviceNames.join(", ")}`);
    return found;
  });
}
