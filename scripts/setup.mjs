// Makes a checkout ready: installs what package-lock.json names when that has changed, and compiles. Runs on Node 20 and
// newer; what it installs brings the Node that everything else runs on.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const stamp = join(root, "node_modules", ".weft-setup");
const lock = createHash("sha256")
  .update(readFileSync(join(root, "package-lock.json")))
  .digest("hex");

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (error !== undefined) console.error(`${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== lock) {
  console.error("installing packages …");
  // Not `npm ci`: it refuses a lock whose optional platform packages carry no addresses.
  run("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts=false"]);
  writeFileSync(
    stamp,
    createHash("sha256")
      .update(readFileSync(join(root, "package-lock.json")))
      .digest("hex"),
  );
}
const node = join(root, "node_modules", "node", "bin", "node");
run(existsSync(node) ? node : process.execPath, [
  join(root, "node_modules", "typescript", "bin", "tsc"),
  "--build",
  root,
]);
