import type { FeatureReference, RuleResult, Value } from "@weft/scenario";

/** From this probability on, a person looks at the payment. README.md tells how both thresholds were chosen. */
export const reviewFrom = 0.05;
/** From this probability on, the payment is refused. */
export const declineFrom = 0.5;

type Features = Readonly<Record<FeatureReference, number | null>>;

const signs: readonly {
  readonly reason: string;
  readonly holds: (read: (reference: FeatureReference) => number) => boolean;
}[] = [
  {
    reason: "TERMINAL_REPORTED",
    holds: (read) => read("chargeback_rate:rate_1h") >= 0.1 || read("chargeback_rate:rate_24h") >= 0.1,
  },
  {
    reason: "CARD_VELOCITY",
    holds: (read) => read("card_payments:count_5m") >= 2 || read("card_payments:count_1h") >= 4,
  },
  { reason: "NEW_DEVICE", holds: (read) => read("familiarity:device_seen") === 0 && read("request:online") === 1 },
  { reason: "SHARED_DEVICE", holds: (read) => read("device_sharing:cards_7d") >= 3 },
  { reason: "UNUSUAL_AMOUNT", holds: (read) => read("spending:amount_to_card_mean") >= 4 },
  { reason: "RISKY_CUSTOMER", holds: (read) => read("customer_risk:risk_score") >= 0.05 },
  { reason: "NIGHT", holds: (read) => read("clock:hour") < 6 },
];

/** Reason codes of a payment that is not simply approved, most telling first. */
export function reasons(features: Features, score: number): readonly string[] {
  if (score < reviewFrom) return [];
  const read = (reference: FeatureReference): number => features[reference] ?? Number.NaN;
  const found = signs.filter((sign) => sign.holds(read)).map((sign) => sign.reason);
  return found.length > 0 ? found : ["MODEL_SCORE"];
}

/**
 * Answers from the payment alone while features or models cannot be had. It never declines: a wrong refusal costs more
 * than a review, and amounts prove little.
 */
export function rules(request: Readonly<Record<string, Value>>): RuleResult {
  const amount = typeof request.amount === "number" ? request.amount : Number.POSITIVE_INFINITY;
  const minute = typeof request.local_minute === "number" ? request.local_minute : 0;
  const found: string[] = [];
  let score = 0.002;
  if (request.online === true) {
    score += 0.004;
    found.push("ONLINE");
  }
  if (minute < 6 * 60) {
    score += 0.01;
    found.push("NIGHT");
  }
  if (amount >= 300) {
    score += 0.05;
    found.push("LARGE_AMOUNT");
  } else if (amount >= 120) {
    score += 0.012;
    found.push("RAISED_AMOUNT");
  }
  return { score, reasons: found.reverse() };
}
