import { defineEntity, defineFeatureView, defineSource } from "@weft/scenario";

export const card = defineEntity({ name: "card", key: "int64", description: "A payment card." });
export const customer = defineEntity({
  name: "customer",
  key: "int64",
  description: "Who pays; has one or two cards.",
});
export const terminal = defineEntity({ name: "terminal", key: "int64", description: "Where money is taken." });
export const device = defineEntity({
  name: "device",
  key: "string",
  description: "What presents the card: its own chip (c-…), or a phone or browser (m-…).",
});

const transactions = defineSource({
  name: "transactions",
  file: "transactions.csv",
  eventTime: "event_time_us",
  fields: {
    transaction_id: "int64",
    card_id: "int64",
    customer_id: "int64",
    terminal_id: "int64",
    device_id: "string",
    amount: "float64",
    online: "bool",
  },
  expectations: [
    { expect: "not_null", field: "card_id", policy: "reject" },
    { expect: "between", field: "amount", min: 0, max: 1_000_000, policy: "reject" },
    { expect: "null_rate", field: "device_id", max: 0.01, policy: "warn" },
  ],
  description: "Simulated card payments, known as they happen.",
});

const chargebacks = defineSource({
  name: "chargebacks",
  file: "chargebacks.csv",
  eventTime: "event_time_us",
  fields: {
    transaction_id: "int64",
    card_id: "int64",
    customer_id: "int64",
    terminal_id: "int64",
    amount: "float64",
  },
  description: "Simulated reports of theft; the event time is that of the report, minutes to days after the payment.",
});

const riskTable = defineSource({
  name: "customer_risk",
  file: "customer_risk.csv",
  eventTime: "event_time_us",
  createdTime: "created_time_us",
  fields: { customer_id: "int64", risk_score: "float64", reports: "int64" },
  description:
    "Simulated output of an hourly batch job: event time is the full hour, created time when the job was done.",
});

/** How much and how fast a card pays. */
export const cardPayments = defineFeatureView({
  name: "card_payments",
  entities: [{ entity: card, field: "card_id" }],
  source: transactions,
  aggregates: {
    count: { function: "count", windows: ["1m", "5m", "1h", "24h", "7d"] },
    amount_sum: { function: "sum", field: "amount", windows: ["1m", "5m", "1h", "24h", "7d"] },
    amount_mean: { function: "mean", field: "amount", windows: ["30d"] },
    amount_max: { function: "max", field: "amount", windows: ["24h"] },
    terminals: { function: "distinct", field: "terminal_id", windows: ["1h"] },
  },
  owner: "payments-risk",
});

/** Whether a card and a device have been seen together. */
export const cardDevice = defineFeatureView({
  name: "card_device",
  entities: [
    { entity: card, field: "card_id" },
    { entity: device, field: "device_id" },
  ],
  source: transactions,
  aggregates: { count: { function: "count", windows: ["1h", "30d"] } },
  owner: "payments-risk",
});

/** How many cards pay from one device: rings share theirs between victims. */
export const deviceSharing = defineFeatureView({
  name: "device_sharing",
  entities: [{ entity: device, field: "device_id" }],
  source: transactions,
  aggregates: {
    cards: { function: "distinct", field: "card_id", windows: ["7d"] },
    count: { function: "count", windows: ["24h"] },
  },
  owner: "payments-risk",
});

/** What a terminal takes. */
export const terminalPayments = defineFeatureView({
  name: "terminal_payments",
  entities: [{ entity: terminal, field: "terminal_id" }],
  source: transactions,
  aggregates: {
    count: { function: "count", windows: ["5m", "1h", "24h", "7d"] },
    amount_mean: { function: "mean", field: "amount", windows: ["7d"] },
  },
  owner: "payments-risk",
});

/** Reports against a terminal, counted when they come in. */
export const terminalChargebacks = defineFeatureView({
  name: "terminal_chargebacks",
  entities: [{ entity: terminal, field: "terminal_id" }],
  source: chargebacks,
  aggregates: { count: { function: "count", windows: ["5m", "1h", "24h", "7d"] } },
  owner: "payments-risk",
});

/** The batch job's opinion of a customer. An old one is better than none; a new customer is like most. */
export const customerRisk = defineFeatureView({
  name: "customer_risk",
  entities: [{ entity: customer, field: "customer_id" }],
  source: riskTable,
  ttl: "7d",
  features: { risk_score: { type: "float64", default: 0.006 } },
  ladder: ["stale", "default"],
  owner: "customer-analytics",
});
