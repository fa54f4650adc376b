#!/usr/bin/env -S node --max-semi-space-size=64 --initial-old-space-size=256
// The heap's sizes are a server's: one that allocates per request spends far less time in collections with room for its
// young objects, and collects the old ones seldom. They are thresholds, not reservations.
// Runs the command on the Node that the project pins, whichever Node started it, and builds once where nothing is built.
const { spawnSync } = require("node:child_process");
const { existsSync } = require("node:fs");
const { join } = require("node:path");

const root = join(__dirname, "..", "..");
const main = join(__dirname, "..", "dist", "main.js");
if (Number(process.versions.node.split(".")[0]) < 24) {
  const pinned = join(root, "node_modules", "node", "bin", "node");
  if (!existsSync(pinned)) {
    console.error(`weft needs Node 24 or newer and this is ${process.version}; \`npm install\` in ${root} brings it`);
    process.exit(1);
  }
  const child = spawnSync(pinned, [...process.execArgv, __filename, ...process.argv.slice(2)], { stdio: "inherit" });
  process.exit(child.status ?? 1);
}
if (!existsSync(main)) {
  const build = spawnSync(process.execPath, [join(root, "node_modules", "typescript", "bin", "tsc"), "--build", root], {
    stdio: "inherit",
  });
  if (build.status !== 0) process.exit(build.status ?? 1);
}
require(main);
