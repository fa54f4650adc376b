import { windowProperties } from "./window.contract.ts";

windowProperties(2_500);
