// Shares the host realm's typed arrays and errors with the tests: native addons check `instanceof Float32Array`, and
// Node's own errors must pass `instanceof Error`.
const { TestEnvironment } = require("jest-environment-node");

const shared = [
  "ArrayBuffer",
  "SharedArrayBuffer",
  "DataView",
  "Atomics",
  "Int8Array",
  "Uint8Array",
  "Uint8ClampedArray",
  "Int16Array",
  "Uint16Array",
  "Int32Array",
  "Uint32Array",
  "Float32Array",
  "Float64Array",
  "BigInt64Array",
  "BigUint64Array",
  "Error",
  "TypeError",
  "RangeError",
  "SyntaxError",
  "AggregateError",
  "AbortController",
  "AbortSignal",
  "Promise",
];

class HostRealmEnvironment extends TestEnvironment {
  constructor(config, context) {
    super(config, context);
    for (const name of shared) this.global[name] = globalThis[name];
    this.global.hostBuiltinModule = (name) => process.getBuiltinModule(name);
  }
}

module.exports = HostRealmEnvironment;
