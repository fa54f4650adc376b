// Scenario files are loaded by the runtime's own module system, which alone runs TypeScript; Jest's stand-in refuses to.
process.getBuiltinModule = globalThis.hostBuiltinModule;
