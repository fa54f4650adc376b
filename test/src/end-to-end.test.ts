import { endToEndContract } from "./end-to-end.contract.ts";

/** Answers of each topology, to compare. */
const answered = new Map<string, string>();

endToEndContract("collocated", [], answered);
endToEndContract("mesh", ["--mesh"], answered);
