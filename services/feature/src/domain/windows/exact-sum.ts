/**
 * Sums as pairs of doubles (Dekker 1971, Knuth TAOCP 4.2.2, Hida, Li and Bailey 2001): about 106 bits. While the terms
 * span no more bits than that, a sum is exact, so its bits do not depend on the order of the terms; beyond, the error is
 * below 2^-100 of the sum of magnitudes. A pair lies in two neighbouring places of an array, high part first.
 */
type Pairs = Float64Array;

/** Adds a double. */
export function addNumber(pairs: Pairs, at: number, x: number): void {
  const high = pairs[at] ?? 0;
  const sum = high + x;
  const part = sum - high;
  const error = high - (sum - part) + (x - part) + (pairs[at + 1] ?? 0);
  const result = sum + error;
  pairs[at] = result;
  pairs[at + 1] = error - (result - sum);
}

/** Adds a pair. */
export function addPair(pairs: Pairs, at: number, high: number, low: number): void {
  const a = pairs[at] ?? 0;
  const b = pairs[at + 1] ?? 0;
  let sum = a + high;
  let part = sum - a;
  let error = a - (sum - part) + (high - part);
  const lowSum = b + low;
  part = lowSum - b;
  const lowError = b - (lowSum - part) + (low - part);
  error += lowSum;
  let result = sum + error;
  error = error - (result - sum) + lowError;
  sum = result;
  result = sum + error;
  pairs[at] = result;
  pairs[at + 1] = error - (result - sum);
}

const splitter = 2 ** 27 + 1;

/** The error of the rounded product a * b, exactly, for magnitudes below 1e150. */
function productError(a: number, b: number, product: number): number {
  const aScaled = splitter * a;
  const aHigh = aScaled - (aScaled - a);
  const aLow = a - aHigh;
  const bScaled = splitter * b;
  const bHigh = bScaled - (bScaled - b);
  const bLow = b - bHigh;
  return aLow * bLow - (product - aHigh * bHigh - aLow * bHigh - aHigh * bLow);
}

/** Adds the square of a double. */
export function addSquare(pairs: Pairs, at: number, x: number): void {
  const square = x * x;
  addPair(pairs, at, square, productError(x, x, square));
}

/**
 * The population's standard deviation from count, sum and sum of squares (as pairs); 0 for equal values. The subtraction
 * cancels at most half of the 106 bits while the mean is below 1e8 deviations.
 */
export function standardDeviation(count: number, sums: Pairs, sumAt: number, squareAt: number): number {
  const s = sums[sumAt] ?? 0;
  const sLow = sums[sumAt + 1] ?? 0;
  // sum^2 as a pair.
  const product = s * s;
  const low = productError(s, s, product) + 2 * s * sLow;
  const high = product + low;
  const rest = low - (high - product);
  // sum^2 / count as a pair.
  const quotient = high / count;
  const back = quotient * count;
  const remainder = high - back - productError(quotient, count, back) + rest;
  const quotientLow = remainder / count;
  // squares - sum^2 / count.
  difference[0] = sums[squareAt] ?? 0;
  difference[1] = sums[squareAt + 1] ?? 0;
  addPair(difference, 0, -quotient, -quotientLow);
  const variance = (difference[0] ?? 0) / count;
  // What is left of equal values is rounding: values of 53 bits cannot differ by so little.
  return (difference[0] ?? 0) <= (sums[squareAt] ?? 0) * 2 ** -98 ? 0 : Math.sqrt(variance);
}

const difference = new Float64Array(2);
