import { runServices } from "@weft/service";
import { gateway } from "./index.ts";

void runServices([gateway], process.argv.slice(2));
