import { defineTransform } from "@weft/scenario";

/** A count as a number; counts of a window come as bigint, and there is none where nothing is known. */
function count(value: bigint | number | null): number {
  return value === null ? 0 : Number(value);
}

/** This payment beside what the card and the terminal are used to. */
export const spending = defineTransform({
  name: "spending",
  inputs: {
    amount: "request:amount",
    cardMean: "card_payments:amount_mean_30d",
    terminalMean: "terminal_payments:amount_mean_7d",
    lastHour: "card_payments:count_1h",
    lastWeek: "card_payments:count_7d",
  },
  outputs: { amount_to_card_mean: "float32", amount_to_terminal_mean: "float32", pace: "float32" },
  compute: (inputs: {
    amount: number | null;
    cardMean: number | null;
    terminalMean: number | null;
    lastHour: bigint | null;
    lastWeek: bigint | null;
  }) => ({
    amount_to_card_mean: ratio(inputs.amount, inputs.cardMean),
    amount_to_terminal_mean: ratio(inputs.amount, inputs.terminalMean),
    // Payments of the last hour per payment that the card makes in a usual day; at least one a week is assumed.
    pace: count(inputs.lastHour) / (Math.max(1, count(inputs.lastWeek)) / 7),
  }),
  description: "Amount and pace relative to habit.",
});

function ratio(amount: number | null, usual: number | null): number | null {
  return amount === null || usual === null || usual <= 0 ? null : amount / usual;
}

/** Share of a terminal's payments that are reported, with a few payments assumed so that one report is not everything. */
export const chargebackRate = defineTransform({
  name: "chargeback_rate",
  inputs: {
    reports5m: "terminal_chargebacks:count_5m",
    reports1h: "terminal_chargebacks:count_1h",
    reports24h: "terminal_chargebacks:count_24h",
    reports7d: "terminal_chargebacks:count_7d",
    payments5m: "terminal_payments:count_5m",
    payments1h: "terminal_payments:count_1h",
    payments24h: "terminal_payments:count_24h",
    payments7d: "terminal_payments:count_7d",
  },
  outputs: { rate_5m: "float32", rate_1h: "float32", rate_24h: "float32", rate_7d: "float32" },
  compute: (inputs: {
    reports5m: bigint | null;
    reports1h: bigint | null;
    reports24h: bigint | null;
    reports7d: bigint | null;
    payments5m: bigint | null;
    payments1h: bigint | null;
    payments24h: bigint | null;
    payments7d: bigint | null;
  }) => ({
    rate_5m: count(inputs.reports5m) / (count(inputs.payments5m) + 1),
    rate_1h: count(inputs.reports1h) / (count(inputs.payments1h) + 2),
    rate_24h: count(inputs.reports24h) / (count(inputs.payments24h) + 5),
    rate_7d: count(inputs.reports7d) / (count(inputs.payments7d) + 10),
  }),
  description: "Chargeback rate of the terminal: reports that came in during a window, by payments made in it.",
});

/** Whether this card has paid from this device in the last 30 days. */
export const familiarity = defineTransform({
  name: "familiarity",
  inputs: { together: "card_device:count_30d" },
  outputs: { device_seen: "bool" },
  compute: (inputs: { together: bigint | null }) => ({ device_seen: count(inputs.together) > 0 }),
  description: "Device seen before with this card.",
});

/** Hour of the day where the payment is made, 0 to 23. */
export const clock = defineTransform({
  name: "clock",
  inputs: { localMinute: "request:local_minute" },
  outputs: { hour: "float32" },
  compute: (inputs: { localMinute: number | null }) => ({
    hour: inputs.localMinute === null ? null : Math.floor(inputs.localMinute / 60),
  }),
  description: "Hour of the day.",
});
