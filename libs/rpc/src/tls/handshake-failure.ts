/** What OpenSSL and Node say of handshakes, as an operator would. */
const sentences: Readonly<Record<string, string>> = {
  // What the other side says of this side's certificate.
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: "the other side does not trust this side's certificate",
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: "the other side says that this side's certificate has expired",
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: "the other side refuses this side's certificate",
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN: "the other side refuses this side's certificate",
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: "the other side wants a certificate, and this side has none",
  ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL: "the other side does not speak HTTP/2",
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: "the other side speaks another version of TLS",
  // What this side says of the other's.
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: "the other side shows no certificate",
  ERR_SSL_NO_APPLICATION_PROTOCOL_NEGOTIATED: "the other side does not speak HTTP/2",
  ERR_SSL_HTTP_REQUEST: "the other side does not speak TLS",
  ERR_SSL_WRONG_VERSION_NUMBER: "the other side does not speak TLS",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "the other side does not speak TLS",
  CERT_HAS_EXPIRED: "the other side's certificate has expired",
  CERT_NOT_YET_VALID: "the other side's certificate is not valid yet",
  DEPTH_ZERO_SELF_SIGNED_CERT: "the other side's certificate is not of an authority that is trusted here",
  SELF_SIGNED_CERT_IN_CHAIN: "the other side's certificate is not of an authority that is trusted here",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "the other side's certificate is not of an authority that is trusted here",
  UNABLE_TO_GET_ISSUER_CERT: "the other side's certificate is not of an authority that is trusted here",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "the other side's certificate is not of an authority that is trusted here",
  CERT_SIGNATURE_FAILURE: "the other side's certificate is not of an authority that is trusted here",
  ERR_TLS_CERT_ALTNAME_INVALID: "the other side's certificate is for another name",
};

/** The error of a connection with a text that says what is wrong with its TLS; other errors as they are. */
export function explainHandshake(error: Error): Error {
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  const sentence = sentences[code];
  return sentence === undefined ? error : new Error(`TLS: ${sentence} (${code})`, { cause: error });
}
