import { type DescFile, type DescService, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { type reflectionV1, rpcDetails } from "@weft/contracts";
import { Code } from "@weft/errors";
import type { Handlers } from "./handlers.ts";

type Answer = NonNullable<MessageInitShape<typeof reflectionV1.ServerReflectionResponseSchema>["messageResponse"]>;
type Question = Pick<reflectionV1.ServerReflectionRequest, "host" | "messageRequest">;

/** Answers questions about the files and services of a server, so that grpcurl and others need no proto files. */
export function createReflectionHandlers(
  services: () => readonly DescService[],
): Handlers<typeof reflectionV1.ServerReflection> {
  return {
    async *serverReflectionInfo(requests) {
      const catalogue = catalogueOf(services());
      for await (const request of requests)
        yield { validHost: request.host, originalRequest: request, messageResponse: reply(catalogue, request) };
    },
  };
}

interface FileCatalogue {
  readonly services: readonly string[];
  readonly byName: ReadonlyMap<string, DescFile>;
  readonly bySymbol: ReadonlyMap<string, DescFile>;
}

function catalogueOf(services: readonly DescService[]): FileCatalogue {
  const byName = new Map<string, DescFile>();
  const bySymbol = new Map<string, DescFile>();
  const visit = (file: DescFile) => {
    const name = `${file.name}.proto`;
    if (byName.has(name)) return;
    byName.set(name, file);
    for (const service of file.services) {
      bySymbol.set(service.typeName, file);
      for (const method of service.methods) bySymbol.set(`${service.typeName}.${method.name}`, file);
    }
    const pending = [...file.messages];
    for (let message = pending.pop(); message !== undefined; message = pending.pop()) {
      bySymbol.set(message.typeName, file);
      for (const field of message.fields) bySymbol.set(`${message.typeName}.${field.name}`, file);
      for (const nested of message.nestedEnums) bySymbol.set(nested.typeName, file);
      pending.push(...message.nestedMessages);
    }
    for (const declared of file.enums) bySymbol.set(declared.typeName, file);
    file.dependencies.forEach(visit);
  };
  for (const service of services) visit(service.file);
  // Error details travel as `Any`: a client can show them only if it can ask what they are.
  visit(rpcDetails.file_google_rpc_error_details);
  return { services: services.map((service) => service.typeName).sort(), byName, bySymbol };
}

function filesOf(file: DescFile, seen = new Set<DescFile>()): Uint8Array[] {
  if (seen.has(file)) return [];
  seen.add(file);
  return [
    toBinary(FileDescriptorProtoSchema, file.proto),
    ...file.dependencies.flatMap((dependency) => filesOf(dependency, seen)),
  ];
}

function reply(catalogue: FileCatalogue, { messageRequest }: Question): Answer {
  const failure = (errorMessage: string): Answer => ({
    case: "errorResponse",
    value: { errorCode: Code.NotFound, errorMessage },
  });
  const files = (file: DescFile | undefined, what: string): Answer =>
    file === undefined
      ? failure(`no ${what}`)
      : { case: "fileDescriptorResponse", value: { fileDescriptorProto: filesOf(file) } };
  switch (messageRequest.case) {
    case "listServices":
      return {
        case: "listServicesResponse",
        value: { service: catalogue.services.map((name) => ({ name })) },
      };
    case "fileByFilename":
      return files(catalogue.byName.get(messageRequest.value), `file "${messageRequest.value}"`);
    case "fileContainingSymbol":
      return files(catalogue.bySymbol.get(messageRequest.value), `symbol "${messageRequest.value}"`);
    case "allExtensionNumbersOfType":
      return {
        case: "allExtensionNumbersResponse",
        value: { baseTypeName: messageRequest.value, extensionNumber: [] },
      };
    default:
      return failure("no such extension");
  }
}
