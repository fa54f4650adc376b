/** Coefficients of the Lanczos approximation of the gamma function (g = 7, n = 9). */
const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
] as const;

/** Natural logarithm of the gamma function for x >= 0.5. */
function logGamma(x: number): number {
  const z = x - 1;
  let sum = LANCZOS[0] as number;
  for (let i = 1; i < LANCZOS.length; i++) {
    sum += (LANCZOS[i] ?? 0) / (z + i);
  }
  const t = z + 7.5;
  return 0.5 * Math.log(2 * Math.PI) + (z + 0.5) * Math.log(t) - t + Math.log(sum);
}

/** Regularized lower incomplete gamma function P(a, x): series below a + 1, Lentz's continued fraction above. */
function lowerGamma(a: number, x: number): number {
  if (x <= 0) {
    return 0;
  }
  const scale = Math.exp(-x + a * Math.log(x) - logGamma(a));
  if (x < a + 1) {
    let term = 1 / a;
    let sum = term;
    for (let n = 1; n < 10_000 && term > sum * 1e-16; n++) {
      term *= x / (a + n);
      sum += term;
    }
    return sum * scale;
  }
  const tiny = 1e-300;
  let b = x + 1 - a;
  let c = 1 / tiny;
  let d = 1 / b;
  let h = d;
  for (let n = 1; n < 10_000; n++) {
    const factor = -n * (n - a);
    b += 2;
    d = factor * d + b;
    d = 1 / (Math.abs(d) < tiny ? tiny : d);
    c = b + factor / c;
    c = Math.abs(c) < tiny ? tiny : c;
    const step = d * c;
    h *= step;
    if (Math.abs(step - 1) < 1e-15) {
      break;
    }
  }
  return 1 - h * scale;
}

/** P(X <= x) of the chi-square distribution; degrees of freedom >= 1. */
export function chiSquareCdf(x: number, degreesOfFreedom: number): number {
  return lowerGamma(degreesOfFreedom / 2, x / 2);
}

/**
 * x with P(X <= x) = probability for the chi-square distribution, by bisection on the distribution function; 0 for
 * degreesOfFreedom <= 0. Accurate to about 1e-12 relative. `probability` is between 0 and 1, both excluded.
 */
export function chiSquareQuantile(probability: number, degreesOfFreedom: number): number {
  if (!(probability > 0 && probability < 1)) {
    throw new RangeError(`probability ${probability} is not between 0 and 1`);
  }
  if (degreesOfFreedom <= 0) {
    return 0;
  }
  let low = 0;
  let high = degreesOfFreedom + 10;
  while (chiSquareCdf(high, degreesOfFreedom) < probability) {
    high *= 2;
  }
  for (let i = 0; i < 200; i++) {
    const middle = (low + high) / 2;
    if (middle === low || middle === high) {
      break;
    }
    if (chiSquareCdf(middle, degreesOfFreedom) < probability) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return (low + high) / 2;
}
