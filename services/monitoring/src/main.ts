import { runServices } from "@weft/service";
import { monitoring } from "./index.ts";

void runServices([monitoring], process.argv.slice(2));
