import { runServices } from "@weft/service";
import { servicesNamed } from "../services.ts";

/** Serves any subset of the services in this process until a signal. */
export async function serve(names: readonly string[], settings: readonly string[]): Promise<void> {
  await runServices(servicesNamed(names), settings);
}
