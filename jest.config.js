/** Jest runs the compiled output, so that tests see what is shipped. */
module.exports = {
  roots: ["<rootDir>/libs", "<rootDir>/services", "<rootDir>/cli", "<rootDir>/test"],
  testMatch: ["**/dist/**/*.test.js"],
  testEnvironment: "<rootDir>/test/environment.cjs",
  transform: {},
  testTimeout: 30000,
  modulePathIgnorePatterns: ["<rootDir>/.*/src/"],
};
