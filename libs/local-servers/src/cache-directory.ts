import { homedir } from "node:os";
import { join } from "node:path";
import { processEnvironment } from "@weft/config";

/** Folder for what is downloaded or built once and outlives a checkout: WEFT_CACHE, or `weft` in the user's cache folder. */
export function cacheDirectory(): string {
  const environment = processEnvironment();
  return environment.WEFT_CACHE ?? join(environment.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "weft");
}
