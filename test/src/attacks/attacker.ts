import { attacks } from "./attacks.ts";

/** Runs one attack: name, port and milliseconds are the arguments. */
async function run(): Promise<void> {
  const [name = "", port, ms] = process.argv.slice(2);
  const attack = attacks[name];
  if (attack === undefined) throw new Error(`no attack "${name}"`);
  await attack(Number(port), Date.now() + Number(ms));
  process.exit();
}

void run();
