const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const validName = /^(?::[a-z]+|[!#$%&'*+\-.^_`|~0-9a-z]+)$/;
/** Controls other than a tab, and space at an end. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what a value must not have
const invalidValue = /[\u0000-\u0008\u000a-\u001f\u007f]|^[ \t]|[ \t]$/;
/** A host and a port of RFC 3986, without the user that RFC 9113 forbids. */
const authority = /^[A-Za-z0-9\-._~%!$&'()*+,;=:[\]]+$/;

/** What the values of some fields must look like (RFC 9113, section 8.3.1; RFC 3986). */
const syntaxes = new Map<string, RegExp>([
  [":method", token],
  [":scheme", /^[A-Za-z][A-Za-z0-9+.-]*$/],
  [":path", /^(?:\/[!-~]*|\*)$/],
  [":authority", authority],
  ["host", authority],
]);

/** Why a name is none of a field (RFC 9113, section 8.2.1); undefined where it is one. */
export function nameFault(name: string): string | undefined {
  return validName.test(name) ? undefined : "a field name that is none";
}

/** Why a value is none (RFC 9113, section 8.2.1), or not one of the field of that name; undefined where it is one. */
export function valueFault(name: string, value: string): string | undefined {
  return invalidValue.test(value) || syntaxes.get(name)?.test(value) === false
    ? `a value of ${name} that is none`
    : undefined;
}
