import { windowProperties } from "./window.contract.ts";

// The long suite runs ten times as many.
windowProperties(250);
