import { runServices } from "@weft/service";
import { feature } from "./index.ts";

void runServices([feature], process.argv.slice(2));
