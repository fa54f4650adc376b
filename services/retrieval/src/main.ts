import { runServices } from "@weft/service";
import { retrieval } from "./index.ts";

void runServices([retrieval], process.argv.slice(2));
