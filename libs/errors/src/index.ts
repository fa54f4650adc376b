export { type Catalogue, createErrors, type Raise, type RaiseOptions, type ReasonDefinition } from "./catalogue.ts";
export { Code, codeFromNumber, codeName } from "./code.ts";
export { type FieldViolation, isWeftError, WeftError, type WeftErrorInit } from "./weft-error.ts";
