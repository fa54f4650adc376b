import { create, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { gateway } from "@weft/contracts";
import type { Example, Scenario, Value } from "@weft/scenario";

type KeyInit = MessageInitShape<typeof gateway.KeySchema>;
type ValueInit = MessageInitShape<typeof gateway.ValueSchema>;

function keyOf(key: string | bigint): KeyInit {
  return { kind: typeof key === "bigint" ? { case: "integer", value: key } : { case: "text", value: key } };
}

function scalarOf(value: Value): ValueInit {
  switch (typeof value) {
    case "number":
      return { kind: { case: "number", value } };
    case "bigint":
      return { kind: { case: "integer", value } };
    case "boolean":
      return { kind: { case: "flag", value } };
    case "string":
      return { kind: { case: "text", value } };
    default:
      return {};
  }
}

function timestampOf(us: bigint) {
  const seconds = us / 1_000_000n;
  return { seconds, nanos: Number(us - seconds * 1_000_000n) * 1000 };
}

function fieldsOf(example: Example): Record<string, ValueInit> {
  return Object.fromEntries(Object.entries(example.request ?? {}).map(([name, value]) => [name, scalarOf(value)]));
}

/** The `Score` request of an example. */
export function scoreRequest(scenario: Scenario, example: Example): gateway.ScoreRequest {
  return create(gateway.ScoreRequestSchema, {
    scenario: scenario.name,
    entities: Object.fromEntries(Object.entries(example.entities).map(([entity, key]) => [entity, keyOf(key)])),
    features: fieldsOf(example),
    eventTime: timestampOf(example.eventTimeUs),
  });
}

/** The `Recommend` request of an example. */
export function recommendRequest(scenario: Scenario, example: Example, count: number): gateway.RecommendRequest {
  const { pipeline } = scenario;
  const user = pipeline.type === "recommend" ? example.entities[pipeline.user.name] : undefined;
  if (user === undefined) throw new TypeError(`scenario "${scenario.name}" recommends to no user`);
  return create(gateway.RecommendRequestSchema, {
    scenario: scenario.name,
    user: keyOf(user),
    context: fieldsOf(example),
    count,
    eventTime: timestampOf(example.eventTimeUs),
  });
}

/** Files that a caller of services over TLS needs; its own certificate only where they want one. */
export interface CallerTls {
  readonly caFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
}

/** A command line that sends the request with grpcurl, and one with curl. */
export function pasteLines(
  method: "Score" | "Recommend",
  request: gateway.ScoreRequest | gateway.RecommendRequest,
  grpc: string,
  edge: string,
  tls?: CallerTls,
): { readonly grpcurl: string; readonly curl: string } {
  const schema = method === "Score" ? gateway.ScoreRequestSchema : gateway.RecommendRequestSchema;
  const body = JSON.stringify(toJson(schema, request as never)).replaceAll("'", "\\u0027");
  const path = `${gateway.GatewayService.typeName}/${method}`;
  const option = (name: string, value: string | undefined) => (value === undefined ? "" : ` ${name} ${value}`);
  const own = `${option("-cert", tls?.certFile)}${option("-key", tls?.keyFile)}`;
  const security = tls === undefined ? " -plaintext" : `${option("-cacert", tls.caFile)}${own}`;
  const curlSecurity = `${option("--cacert", tls?.caFile)}${option("--cert", tls?.certFile)}${option("--key", tls?.keyFile)}`;
  const scheme = tls === undefined ? "http" : "https";
  return {
    grpcurl: `grpcurl${security} -d '${body}' ${grpc} ${path}`,
    curl: `curl -s${curlSecurity} -H 'content-type: application/json' -d '${body}' ${scheme}://${edge}/${path}`,
  };
}
