/** The services of Weft. */
export const serviceNames = ["gateway", "feature", "retrieval", "ranking", "registry", "monitoring"] as const;

/** The services with callers before callees: the order to stop them in, so that each can still hand over what it holds. */
export const stopOrder: readonly ServiceName[] = [
  "gateway",
  "feature",
  "retrieval",
  "ranking",
  "monitoring",
  "registry",
];

/** One of Weft's services. */
export type ServiceName = (typeof serviceNames)[number];

/** The service that answers a protobuf service, for example ranking for inference.GRPCInferenceService. */
export function ownerOf(typeName: string): ServiceName {
  if (typeName.startsWith("inference.")) return "ranking";
  if (typeName.startsWith("feast.")) return "feature";
  const owner = serviceNames.find((name) => typeName.startsWith(`weft.${name}.`));
  if (owner === undefined) throw new TypeError(`no service owns ${typeName}`);
  return owner;
}
