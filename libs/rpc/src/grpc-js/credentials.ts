import { type ChannelCredentials, credentials, experimental, ServerCredentials } from "@grpc/grpc-js";
import type { TlsSource } from "../tls/tls-source.ts";
import type { ListenOptions } from "../transport.ts";

type Provider = experimental.CertificateProvider;

/** Certificates as grpc-js takes them: it goes by the newest for new connections, as the other transport does. */
function providerOf(source: TlsSource): Provider {
  const unwatch = new Map<unknown, () => void>();
  const add = (listener: unknown, tell: () => void) => {
    unwatch.set(listener, source.watch(tell));
    // The library listens before it can hear.
    queueMicrotask(() => {
      if (unwatch.has(listener)) tell();
    });
  };
  const remove = (listener: unknown) => {
    unwatch.get(listener)?.();
    unwatch.delete(listener);
  };
  return {
    addCaCertificateListener: (listener) =>
      add(listener, () => {
        const { ca } = source.current();
        listener(ca === undefined ? null : { caCertificate: ca });
      }),
    removeCaCertificateListener: remove,
    addIdentityCertificateListener: (listener) =>
      add(listener, () => {
        const { cert, key } = source.current();
        listener(cert === undefined || key === undefined ? null : { certificate: cert, privateKey: key });
      }),
    removeIdentityCertificateListener: remove,
  };
}

/** What a listener of grpc-js goes by. */
export function serverCredentials({ tls, clientCertificates }: ListenOptions): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const provider = providerOf(tls);
  // The library takes its own certificate first, whatever it calls its parameters.
  return experimental.createCertificateProviderServerCredentials(
    provider,
    clientCertificates === true ? provider : null,
    clientCertificates === true,
  );
}

/** What a client of grpc-js goes by. Without authorities of its own it trusts those that Node knows, and takes no newer certificate. */
export function channelCredentials(tls: TlsSource): ChannelCredentials {
  const { ca, cert, key } = tls.current();
  if (ca === undefined) return credentials.createSsl(null, key ?? null, cert ?? null);
  const provider = providerOf(tls);
  return experimental.createCertificateProviderChannelCredentials(provider, cert === undefined ? null : provider);
}
