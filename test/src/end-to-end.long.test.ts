import { endToEndContract } from "./end-to-end.contract.ts";

// The default transport runs with the quick suites; the reference transport must answer the same.
endToEndContract("mesh over grpc-js", ["--mesh", "--process.transport=grpc-js"], new Map());
