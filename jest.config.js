/** Jest runs the compiled output, so that tests see what is shipped. Suites that need longer are named `*.long.test.ts`. */
module.exports = {
  roots: ["<rootDir>/libs", "<rootDir>/services", "<rootDir>/cli", "<rootDir>/test"],
  testMatch: ["**/dist/**/*.test.js"],
  testPathIgnorePatterns: ["/node_modules/", "\\.long\\.test\\.js$"],
  testEnvironment: "<rootDir>/test/environment.cjs",
  setupFiles: ["<rootDir>/test/setup.cjs"],
  transform: {},
  testTimeout: 60000,
};
