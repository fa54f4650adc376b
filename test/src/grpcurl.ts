import { goTool } from "@weft/local-servers";

/** Path of grpcurl: a client that this project did not write. Built once into the cache, outside the checkout. */
export function grpcurlPath(): Promise<string> {
  return goTool({ module: "github.com/fullstorydev/grpcurl/cmd/grpcurl", version: "v1.9.3" });
}
