import type { gateway } from "@weft/contracts";

function keyText(key: gateway.Key | undefined): string {
  return key?.kind.case === undefined ? "?" : String(key.kind.value);
}

function valueText(value: gateway.Value): string {
  return value.kind.case === undefined ? "" : String(value.kind.value);
}

function degradedText(response: gateway.ScoreResponse | gateway.RecommendResponse): string {
  if (!response.degraded) return "";
  const causes = response.degradations.map(
    ({ stage, reason, fallback }) => `${stage} ${reason}${fallback === "" ? "" : ` → ${fallback}`}`,
  );
  return `  degraded: ${causes.join("; ")}\n`;
}

function timingText(response: gateway.ScoreResponse | gateway.RecommendResponse): string {
  const parts = response.stages.map(({ stage, duration }) => {
    const ms = Number(duration?.seconds ?? 0n) * 1000 + (duration?.nanos ?? 0) / 1e6;
    return `${stage} ${ms.toFixed(2)} ms`;
  });
  return `  release ${response.releaseId}  ${parts.join(", ")}\n`;
}

/** A recommendation for a person to read: one line an item with its display attributes, score and source. */
export function showRecommendation(response: gateway.RecommendResponse): string {
  const lines = response.items.map(({ id, score, source, attributes }, index) => {
    const shown = Object.values(attributes)
      .map(valueText)
      .filter((text) => text !== "")
      .join(", ");
    return `  ${index + 1}. ${(shown === "" ? keyText(id) : shown).padEnd(48)} score ${score.toFixed(4).padStart(8)}  from ${source}\n`;
  });
  return lines.join("") + degradedText(response) + timingText(response);
}

/** A decision for a person to read. */
export function showDecision(response: gateway.ScoreResponse): string {
  const reasons = response.reasons.length === 0 ? "" : `  reasons: ${response.reasons.join(", ")}`;
  return `  ${response.decision.padEnd(8)} score ${response.score.toFixed(4)}${reasons}\n${degradedText(response)}${timingText(response)}`;
}
