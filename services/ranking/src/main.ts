import { runServices } from "@weft/service";
import { ranking } from "./index.ts";

void runServices([ranking], process.argv.slice(2));
