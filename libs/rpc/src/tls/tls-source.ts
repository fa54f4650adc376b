/** What a handshake goes by, PEM. */
export interface TlsMaterial {
  /** Own certificate with the chain above it, leaf first; undefined where this side shows none. */
  readonly cert: Buffer | undefined;
  readonly key: Buffer | undefined;
  /** Authorities that the other side's certificate is checked against; undefined for those that Node knows. */
  readonly ca: Buffer | undefined;
}

/** Certificates that may be replaced while they are used: new connections go by the newest. */
export interface TlsSource {
  current(): TlsMaterial;
  /** Calls back after each change; answers how to stop. */
  watch(changed: () => void): () => void;
}

/** Whether certificates are a source of them, or options as node:tls has them. */
export function isTlsSource(tls: object): tls is TlsSource {
  return "current" in tls && typeof tls.current === "function";
}

/** The material as options of node:tls, which must not be undefined. */
export function tlsOptions({ cert, key, ca }: TlsMaterial): { cert?: Buffer; key?: Buffer; ca?: Buffer } {
  return {
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(ca === undefined ? {} : { ca }),
  };
}
