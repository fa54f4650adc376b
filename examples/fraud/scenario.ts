import {
  defineModel,
  defineScenario,
  defineScorePipeline,
  defineSource,
  defineTrainingSet,
  type FeatureReference,
} from "@weft/scenario";
import {
  card,
  cardDevice,
  cardPayments,
  customer,
  customerRisk,
  device,
  deviceSharing,
  terminal,
  terminalChargebacks,
  terminalPayments,
} from "./features.ts";
import { declineFrom, reasons, reviewFrom, rules } from "./policy.ts";
import { chargebackRate, clock, familiarity, spending } from "./transforms.ts";

const payments = defineTrainingSet({
  name: "labelled_payments",
  source: defineSource({
    name: "labels",
    file: "labels.csv",
    eventTime: "event_time_us",
    fields: {
      transaction_id: "int64",
      card_id: "int64",
      customer_id: "int64",
      terminal_id: "int64",
      device_id: "string",
      amount: "float64",
      online: "bool",
      local_minute: "float64",
      is_fraud: "int64",
      label_time_us: "int64",
    },
    description: "Simulated payments whose label is final: reported, or five days past without a report.",
  }),
  entities: { card: "card_id", customer: "customer_id", terminal: "terminal_id", device: "device_id" },
  label: "is_fraud",
  labelTime: "label_time_us",
  extra: ["label_time_us"],
  testShare: 0.2,
});

const features: readonly FeatureReference[] = [
  "request:amount",
  "request:online",
  "clock:hour",
  "card_payments:count_1m",
  "card_payments:count_5m",
  "card_payments:count_1h",
  "card_payments:count_24h",
  "card_payments:count_7d",
  "card_payments:amount_sum_1m",
  "card_payments:amount_sum_5m",
  "card_payments:amount_sum_1h",
  "card_payments:amount_sum_24h",
  "card_payments:amount_sum_7d",
  "card_payments:amount_mean_30d",
  "card_payments:amount_max_24h",
  "card_payments:terminals_1h",
  "spending:amount_to_card_mean",
  "spending:amount_to_terminal_mean",
  "spending:pace",
  "familiarity:device_seen",
  "card_device:count_1h",
  "card_device:count_30d",
  "device_sharing:cards_7d",
  "device_sharing:count_24h",
  "customer_risk:risk_score",
  "terminal_payments:count_5m",
  "terminal_payments:count_1h",
  "terminal_payments:count_24h",
  "terminal_payments:count_7d",
  "terminal_payments:amount_mean_7d",
  "terminal_chargebacks:count_1h",
  "terminal_chargebacks:count_24h",
  "chargeback_rate:rate_5m",
  "chargeback_rate:rate_1h",
  "chargeback_rate:rate_24h",
  "chargeback_rate:rate_7d",
];

const tree = defineModel({
  name: "fraud_tree",
  features,
  trainingSet: payments,
  trainer: {
    name: "lightgbm_classifier",
    parameters: {
      trees: 150,
      learningRate: 0.08,
      leaves: 8,
      minRowsInLeaf: 30,
      featureShare: 0.7,
      rowShare: 0.8,
      l2: 1,
      labelTime: "label_time_us",
    },
  },
  gates: [
    { metric: "auc", atLeast: 0.95 },
    { metric: "pr_auc", atLeast: 0.6 },
    { metric: "onnx_max_abs_diff", atMost: 1e-5 },
  ],
  output: "probability",
});

const network = defineModel({
  name: "fraud_mlp",
  features,
  trainingSet: payments,
  trainer: { name: "mlp", parameters: { layers: [64, 32], epochs: 20, labelTime: "label_time_us" } },
  gates: [
    { metric: "auc", atLeast: 0.9 },
    { metric: "pr_auc", atLeast: 0.5 },
    { metric: "onnx_max_abs_diff", atMost: 1e-5 },
  ],
  output: "probability",
});

export default defineScenario({
  name: "fraud",
  description: "Scores simulated card payments as they are made, and approves, reviews or declines them.",
  simulated: true,
  request: { amount: "float64", online: "bool", local_minute: "float64" },
  views: [cardPayments, cardDevice, deviceSharing, terminalPayments, terminalChargebacks, customerRisk],
  transforms: [spending, chargebackRate, familiarity, clock],
  models: [tree, network],
  pipeline: defineScorePipeline({
    name: "score_payment",
    deadlineMs: 50,
    entities: [card, customer, terminal, device],
    stages: { features: { budgetMs: 25 }, scoring: { budgetMs: 20, model: tree } },
    shadows: [network],
    decisions: [
      { decision: "decline", atLeast: declineFrom },
      { decision: "review", atLeast: reviewFrom },
      { decision: "approve", atLeast: 0 },
    ],
    reasons,
    fallback: { name: "rules", rules },
  }),
  // At this time the history ends. README.md tells what is going on with these cards.
  examples: [
    {
      // Approve: the card's usual shop and phone, its usual amount.
      entities: { card: 1_000_043n, customer: 3_000_034n, terminal: 5_000_543n, device: "m-1bb8ecb36ac9c3cb" },
      request: { amount: 23.9, online: false, local_minute: 1080 },
      eventTimeUs: 1_739_556_000_000_000n,
    },
    {
      // Review: the seventh payment within the hour, and a large one.
      entities: { card: 1_000_007n, customer: 3_000_005n, terminal: 5_000_338n, device: "c-1000007" },
      request: { amount: 189, online: false, local_minute: 1080 },
      eventTimeUs: 1_739_556_000_000_000n,
    },
    {
      // Decline: the first card again, now at a terminal whose payments are being reported.
      entities: { card: 1_000_043n, customer: 3_000_034n, terminal: 5_000_009n, device: "c-1000043" },
      request: { amount: 46, online: false, local_minute: 1080 },
      eventTimeUs: 1_739_556_000_000_000n,
    },
  ],
});
