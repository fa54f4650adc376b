import type { DescMessage, DescMethod, DescService } from "@bufbuild/protobuf";

/** What interceptors and transports know of a method, made once. */
export interface MethodInfo {
  /** Descriptor of the method. */
  readonly descriptor: DescMethod;
  /** Path on the wire, for example "/weft.gateway.v1.GatewayService/Score". */
  readonly path: string;
  /** Full name without the leading slash, as metrics and spans show it. */
  readonly name: string;
  readonly input: DescMessage;
  readonly output: DescMessage;
  readonly kind: DescMethod["methodKind"];
  /** Whether calling it twice does no more than calling it once. */
  readonly idempotent: boolean;
}

const known = new WeakMap<DescMethod, MethodInfo>();

/** The facts of a method. */
export function methodInfo(descriptor: DescMethod): MethodInfo {
  const found = known.get(descriptor);
  if (found !== undefined) return found;
  const name = `${descriptor.parent.typeName}/${descriptor.name}`;
  const info: MethodInfo = {
    descriptor,
    path: `/${name}`,
    name,
    input: descriptor.input,
    output: descriptor.output,
    kind: descriptor.methodKind,
    idempotent: descriptor.idempotency !== 0,
  };
  known.set(descriptor, info);
  return info;
}

/** The facts of every method of a service. */
export function methodsOf(service: DescService): readonly MethodInfo[] {
  return service.methods.map(methodInfo);
}
