import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import type { PrepareData } from "@weft/scenario";
import { DAY_US, DISPUTE_US, endOf, MINUTE_US, type Payment, START_US, simulate } from "./simulation.ts";

/** Payments of the first days fill the windows and are not trained on. */
const WARM_UP_US = 7 * DAY_US;

/**
 * Writes the sources of the *simulated* card network as CSV. Parameters: `cards` (default 20,000), `days` (40),
 * `paymentsPerCardDay` (0.36), `seed` (1).
 */
const prepareData: PrepareData = async ({ directory, parameters, progress }) => {
  const options = {
    cards: integer(parameters, "cards", 20_000, 100, 1_000_000),
    days: integer(parameters, "days", 40, 15, 365),
    paymentsPerCardDay: positive(parameters, "paymentsPerCardDay", 0.36),
    seed: integer(parameters, "seed", 1, 0, 2 ** 31 - 1),
  };
  progress(0, 5);
  const { payments, riskRows } = simulate(options);
  const endUs = endOf(options.days);
  progress(1, 5);

  await writeCsv(
    join(directory, "transactions.csv"),
    "event_time_us,transaction_id,card_id,customer_id,terminal_id,device_id,amount,online",
    payments,
    (p) => `${p.timeUs},${p.id},${p.card},${p.customer},${p.terminal},${p.device},${p.amount},${p.online}`,
  );
  progress(2, 5);

  const reported = payments
    .filter((p) => p.reportedUs !== undefined && p.reportedUs < endUs)
    .sort((a, b) => Number(a.reportedUs) - Number(b.reportedUs) || a.id - b.id);
  await writeCsv(
    join(directory, "chargebacks.csv"),
    "event_time_us,transaction_id,card_id,customer_id,terminal_id,amount",
    reported,
    (p) => `${p.reportedUs},${p.id},${p.card},${p.customer},${p.terminal},${p.amount}`,
  );
  progress(3, 5);

  await writeCsv(
    join(directory, "customer_risk.csv"),
    "event_time_us,created_time_us,customer_id,risk_score,reports",
    riskRows,
    (row) => `${row.timeUs},${row.createdUs},${row.customer},${row.score},${row.reports}`,
  );
  progress(4, 5);

  await writeCsv(
    join(directory, "labels.csv"),
    "event_time_us,transaction_id,card_id,customer_id,terminal_id,device_id,amount,online,local_minute,is_fraud,label_time_us",
    payments.filter((p) => p.timeUs >= START_US + WARM_UP_US && p.timeUs < endUs - DISPUTE_US),
    (p) =>
      `${p.timeUs},${p.id},${p.card},${p.customer},${p.terminal},${p.device},${p.amount},${p.online},` +
      `${localMinute(p)},${p.reportedUs === undefined ? 0 : 1},${p.reportedUs ?? p.timeUs + DISPUTE_US}`,
  );
  progress(5, 5);
};

export default prepareData;

/** Minutes since midnight where the payment was made; the simulated country has one time zone. */
function localMinute(payment: Payment): number {
  return Math.floor(((payment.timeUs - START_US) % DAY_US) / MINUTE_US);
}

async function writeCsv<T>(path: string, header: string, rows: readonly T[], line: (row: T) => string): Promise<void> {
  const stream = createWriteStream(path);
  const done = finished(stream);
  let chunk = `${header}\n`;
  for (const row of rows) {
    chunk += `${line(row)}\n`;
    if (chunk.length < 1 << 20) continue;
    if (!stream.write(chunk)) await once(stream, "drain");
    chunk = "";
  }
  stream.end(chunk);
  await done;
}

function integer(
  parameters: Readonly<Record<string, string>>,
  name: string,
  standard: number,
  least: number,
  most: number,
): number {
  const value = Number(parameters[name] ?? standard);
  if (!Number.isInteger(value) || value < least || value > most)
    throw new RangeError(`--data ${name}=${parameters[name]}: expected a whole number from ${least} to ${most}`);
  return value;
}

function positive(parameters: Readonly<Record<string, string>>, name: string, standard: number): number {
  const value = Number(parameters[name] ?? standard);
  if (!(value > 0 && value <= 100)) throw new RangeError(`--data ${name}=${parameters[name]}: expected 0 to 100`);
  return value;
}
