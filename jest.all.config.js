/** The suites that `npm test` leaves out because they need longer. */
module.exports = {
  ...require("./jest.config.js"),
  testMatch: ["**/dist/**/*.long.test.js"],
  testPathIgnorePatterns: ["/node_modules/"],
  testTimeout: 600000,
  maxWorkers: 1,
};
