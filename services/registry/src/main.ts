import { runServices } from "@weft/service";
import { registry } from "./index.ts";

void runServices([registry], process.argv.slice(2));
