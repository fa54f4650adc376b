const plain = /^[ -$&-~]*$/;
const outerSpace = /^ | $/;

/** A `grpc-message`: UTF-8 with percent-encoding of what is not printable ASCII, and of spaces at its ends. */
export function encodePercent(text: string): string {
  if (plain.test(text)) return outerSpace.test(text) ? text.replace(/^ +| +$/g, encodeSpaces) : text;
  let encoded = "";
  for (const octet of Buffer.from(text, "utf8"))
    encoded +=
      octet >= 0x20 && octet <= 0x7e && octet !== 0x25
        ? String.fromCharCode(octet)
        : `%${octet.toString(16).toUpperCase().padStart(2, "0")}`;
  return encoded.replace(/^ +| +$/g, encodeSpaces);
}

/** A field value of HTTP/2 has none at its ends. */
function encodeSpaces(spaces: string): string {
  return "%20".repeat(spaces.length);
}

/** The text of a `grpc-message`; what is no encoding stands for itself. */
export function decodePercent(encoded: string): string {
  if (!encoded.includes("%")) return encoded;
  const octets: number[] = [];
  for (let index = 0; index < encoded.length; index++) {
    const hex = encoded.slice(index + 1, index + 3);
    if (encoded[index] === "%" && /^[0-9a-fA-F]{2}$/.test(hex)) {
      octets.push(Number.parseInt(hex, 16));
      index += 2;
    } else octets.push(encoded.charCodeAt(index) & 255);
  }
  return Buffer.from(octets).toString("utf8");
}
