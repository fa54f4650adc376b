/**
 * Length in bits of the code of each octet (RFC 7541, appendix B). The code is canonical: codes are given out in order of
 * length, then of octet, so the lengths are all there is to know.
 */
// biome-ignore format: sixteen octets a line
const lengths = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

const codes = new Uint32Array(256);
/** Two children an inner node: another node (positive), or -1 - symbol for a leaf. */
const nodes: [number, number][] = [[0, 0]];
const endOfString = 256;

function plant(symbol: number, code: number, length: number): void {
  let node = 0;
  for (let bit = length - 1; bit > 0; bit--) {
    const branch = nodes[node] as [number, number];
    const side = (code >>> bit) & 1;
    let next = branch[side] as number;
    if (next === 0) {
      next = nodes.length;
      nodes.push([0, 0]);
      branch[side] = next;
    }
    node = next;
  }
  (nodes[node] as [number, number])[code & 1] = -1 - symbol;
}

{
  const order = Array.from({ length: 256 }, (_, symbol) => symbol);
  order.sort((a, b) => (lengths[a] ?? 0) - (lengths[b] ?? 0) || a - b);
  let code = 0;
  let last = 5;
  for (const symbol of order) {
    const length = lengths[symbol] ?? 0;
    code <<= length - last;
    last = length;
    codes[symbol] = code;
    plant(symbol, code, length);
    code++;
  }
  plant(endOfString, 0x3fffffff, 30);
}

/** No code has fewer than five bits, so four bits yield at most one symbol. */
const nibbleStates = new Int16Array(nodes.length * 16);
const nibbleSymbols = new Int16Array(nodes.length * 16);
/** Whether a string may end in this state: on a boundary, or in fewer than eight one-bits. */
const mayEnd = new Uint8Array(nodes.length);
const noSymbol = -1;
const failed = -1;

{
  for (let state = 0; state < nodes.length; state++)
    for (let nibble = 0; nibble < 16; nibble++) {
      let node = state;
      let symbol = noSymbol;
      for (let bit = 3; bit >= 0 && node !== failed; bit--) {
        const next = (nodes[node] as [number, number])[(nibble >> bit) & 1] as number;
        if (next >= 0) node = next;
        else if (next === -1 - endOfString) node = failed;
        else {
          symbol = -1 - next;
          node = 0;
        }
      }
      nibbleStates[state * 16 + nibble] = node;
      nibbleSymbols[state * 16 + nibble] = symbol;
    }
  let node = 0;
  for (let ones = 0; ones < 8; ones++) {
    mayEnd[node] = 1;
    node = (nodes[node] as [number, number])[1] as number;
  }
}

const scratch = Buffer.allocUnsafeSlow(65_536);

/** Decodes a string; undefined where it is not one: it contains EOS, or its padding is wrong. */
export function decodeHuffman(source: Uint8Array, start: number, end: number): string | undefined {
  // The shortest code has five bits.
  const longest = (((end - start) * 8) / 5) | 0;
  const target = longest <= scratch.length ? scratch : Buffer.allocUnsafe(longest);
  let length = 0;
  let state = 0;
  for (let at = start; at < end; at++) {
    const octet = source[at] as number;
    let step = state * 16 + (octet >> 4);
    let symbol = nibbleSymbols[step] as number;
    state = nibbleStates[step] as number;
    if (state === failed) return undefined;
    if (symbol !== noSymbol) target[length++] = symbol;
    step = state * 16 + (octet & 15);
    symbol = nibbleSymbols[step] as number;
    state = nibbleStates[step] as number;
    if (state === failed) return undefined;
    if (symbol !== noSymbol) target[length++] = symbol;
  }
  return mayEnd[state] === 1 ? target.toString("latin1", 0, length) : undefined;
}

/** Bytes that a string takes when encoded; its characters are octets. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let index = 0; index < text.length; index++) bits += lengths[text.charCodeAt(index) & 255] as number;
  return (bits + 7) >> 3;
}

/** Encodes a string of octets into `target` at `at`; answers where it ends. */
export function encodeHuffman(text: string, target: Uint8Array, at: number): number {
  let pending = 0;
  let bits = 0;
  let end = at;
  for (let index = 0; index < text.length; index++) {
    const symbol = text.charCodeAt(index) & 255;
    let length = lengths[symbol] as number;
    const code = codes[symbol] as number;
    // At most seven bits wait, so a long code is taken in two parts that fit 32 bits.
    while (length > 0) {
      const take = Math.min(length, 16);
      pending = (pending << take) | ((code >>> (length - take)) & ((1 << take) - 1));
      bits += take;
      length -= take;
      while (bits >= 8) {
        bits -= 8;
        target[end++] = pending >>> bits;
        pending &= (1 << bits) - 1;
      }
    }
  }
  if (bits > 0) target[end++] = (pending << (8 - bits)) | ((1 << (8 - bits)) - 1);
  return end;
}
