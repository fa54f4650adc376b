import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import type { DescService } from "@bufbuild/protobuf";
import { ConfigError, type ConfigInput, flagName, parseConfig } from "@weft/config";
import {
  health,
  ownerOf,
  reflectionV1,
  reflectionV1Alpha,
  type ServiceName,
  serviceNames,
  stopOrder,
} from "@weft/contracts";
import { Code, createErrors } from "@weft/errors";
import {
  type Client,
  clientInterceptors,
  createClient,
  createHealthHandlers,
  createMemoryTransport,
  createReflectionHandlers,
  type Handlers,
  HealthState,
  type Listener,
  listenEdge,
  ServiceRouter,
  serverInterceptors,
  type Transport,
} from "@weft/rpc";
import { createMetrics, createTelemetry, type Telemetry } from "@weft/telemetry";
import { type Clock, systemClock } from "./clock.ts";
import type { ServiceDefinition } from "./definition.ts";
import { serveDiagnostics } from "./diagnostics.ts";
import { openTransport, type ProcessTransport } from "./process-transport.ts";
import { type ListenerSettings, peersConfig, sharedConfigs, withListener } from "./settings.ts";

const errors = createErrors("weft.service", {
  PORT_TAKEN: {
    code: Code.FailedPrecondition,
    message: (m: { service: string; setting: string; port: number }) =>
      `${m.service}: port ${m.port} is taken; set ${m.setting} to another, or to 0 for a free one`,
  },
});

/** Where one service can be reached. */
export interface ServiceAddress {
  readonly host: string;
  readonly port: number;
  readonly metricsPort: number;
  /** Set where the service has an HTTP edge. */
  readonly edgePort: number | undefined;
}

/** Services that run in this process. */
export interface RunningServices {
  readonly addresses: ReadonlyMap<ServiceName, ServiceAddress>;
  /** A client of a service, in memory where it runs here. */
  dial<S extends DescService>(service: S): Client<S>;
  /** Conditions that services wait for, as "ranking: releases"; empty when all can answer. */
  unmet(): readonly string[];
  /** Resolves when every service can answer. */
  ready(): Promise<void>;
  /** Not-ready, drain, close what is owned in reverse, flush. */
  stop(): Promise<void>;
}

/** How services are started. */
export interface StartOptions extends ConfigInput {
  readonly clock?: Clock;
  /** Where log lines go; default stderr. */
  readonly logWrite?: (line: string) => void;
}

interface Started {
  readonly definition: ServiceDefinition;
  readonly settings: ListenerSettings;
  readonly router: ServiceRouter;
  readonly health: HealthState;
  readonly telemetry: Telemetry;
  readonly owned: { close(): void | Promise<void> }[];
  readonly conditions: Map<string, boolean>;
  readonly drainListeners: (() => void)[];
  address: ServiceAddress | undefined;
  listeners: Listener[];
}

/** Composes and serves any set of services in this process. Throws ConfigError, or a WeftError where a port is taken. */
export async function startServices(
  definitions: readonly ServiceDefinition[],
  options: StartOptions,
): Promise<RunningServices> {
  const schemas = [
    ...sharedConfigs,
    ...definitions.map((definition) => withListener(definition.name, definition.config)),
  ] as const;
  const { settings } = parseConfig(schemas, options);
  const [own, peers, tls, client, http2, compression, ...serviceSettings] = settings;
  const clock = options.clock ?? systemClock;
  const metrics = createMetrics({ processMetrics: true });
  const started = new Map<ServiceName, Started>();
  const transports = new Map<string, Transport>();
  const changed = new Set<() => void>();

  const telemetryOf = (service: string) =>
    createTelemetry({
      service,
      logLevel: own.logLevel,
      otlpEndpoint: own.otlpEndpoint,
      traceRatio: own.traceRatio,
      metrics,
      ...(options.logWrite === undefined ? {} : { logWrite: options.logWrite }),
    });

  const ownTelemetry = telemetryOf("process");
  const wire = openTransport({ process: own, tls, client, http2, compression }, metrics, ownTelemetry.logger);

  const transportTo = (owner: ServiceName): Transport => {
    const existing = transports.get(owner);
    if (existing !== undefined) return existing;
    const transport = started.has(owner)
      ? createMemoryTransport(() => {
          const peer = started.get(owner);
          return peer?.address === undefined ? undefined : peer.router;
        })
      : connectPeer(wire, owner, String(peers[owner]));
    transports.set(owner, transport);
    return transport;
  };
  const dialer = (telemetry: Telemetry) => {
    const interceptors = clientInterceptors(telemetry);
    return <S extends DescService>(service: S) =>
      createClient(service, transportTo(ownerOf(service.typeName)), interceptors);
  };

  const stop = async () => {
    const all = stopOrder.flatMap((name) => started.get(name) ?? []);
    for (const service of all) {
      service.conditions.set("draining", false);
      publish(service, changed);
    }
    if (own.drainDelayMs > 0) await new Promise((done) => setTimeout(done, own.drainDelayMs));
    for (const service of all) {
      for (const listener of service.drainListeners) listener();
      service.health.end();
      await Promise.all(service.listeners.map((listener) => listener.drain(own.drainGraceMs)));
      for (const resource of service.owned.reverse()) await resource.close();
      service.address = undefined;
    }
    for (const transport of transports.values()) await transport.close();
    wire.close();
    for (const service of all) await service.telemetry.close();
  };

  // Every service is known before any is composed: which peers are local does not depend on the order.
  definitions.forEach((definition, index) => {
    const telemetry = telemetryOf(definition.name);
    started.set(definition.name, {
      definition,
      settings: serviceSettings[index] as unknown as ListenerSettings,
      router: new ServiceRouter(serverInterceptors(telemetry)),
      health: new HealthState(),
      telemetry,
      owned: [],
      conditions: new Map([["started", false]]),
      drainListeners: [],
      address: undefined,
      listeners: [],
    });
  });
  try {
    for (const service of started.values()) {
      const { definition, router, telemetry, conditions } = service;
      const dataDirectory = resolve(join(own.dataDirectory, definition.name));
      mkdirSync(dataDirectory, { recursive: true });
      await definition.compose({
        settings: service.settings as never,
        dataDirectory,
        telemetry,
        clock,
        rpc: { serve: (contract, handlers) => router.serve(contract, handlers), dial: dialer(telemetry) },
        own(resource) {
          service.owned.push(resource);
          return resource;
        },
        onDrain: (listener) => service.drainListeners.push(listener),
        readiness: {
          set(condition, ready) {
            conditions.set(condition, ready);
            publish(service, changed);
          },
        },
      });
      await listen(service, wire, own, metrics, changed);
    }
  } catch (error) {
    await stop();
    throw error;
  }

  const unmet = () =>
    [...started.values()].flatMap((service) =>
      unmetOf(service).map((condition) => `${service.definition.name}: ${condition}`),
    );
  const addresses = new Map(
    serviceNames.flatMap((name) => {
      const address = started.get(name)?.address;
      return address === undefined ? [] : [[name, address] as const];
    }),
  );
  return {
    addresses,
    dial: dialer(ownTelemetry),
    unmet,
    ready: () =>
      new Promise((done) => {
        const check = () => {
          if (unmet().length > 0) return;
          changed.delete(check);
          done();
        };
        changed.add(check);
        check();
      }),
    stop,
  };
}

function unmetOf(service: Started): string[] {
  return [...service.conditions].flatMap(([condition, met]) => (met ? [] : [condition]));
}

/** Tells the health service what the conditions say. */
function publish(service: Started, changed: ReadonlySet<() => void>): void {
  const ready = unmetOf(service).length === 0;
  for (const contract of service.router.services()) service.health.set(contract.typeName, ready);
  for (const notify of [...changed]) notify();
}

/** A client of a peer in another process. Throws ConfigError where its target asks for what the transport cannot do. */
function connectPeer(wire: ProcessTransport, name: ServiceName, target: string): Transport {
  try {
    return wire.connect(name, target);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new ConfigError([{ origin: flagName(peersConfig.name, name), fault: error.message }]);
  }
}

async function listen(
  service: Started,
  wire: ProcessTransport,
  own: { readonly messageBytesMax: number; readonly allowedOrigin: string },
  metrics: Telemetry["metrics"],
  changed: ReadonlySet<() => void>,
): Promise<void> {
  const { definition, router, settings, health: state } = service;
  const name = definition.name;
  for (const contract of router.services()) state.set(contract.typeName, false);
  router.serve(health.Health, createHealthHandlers(state));
  const reflected = () => router.services();
  router.serve(reflectionV1.ServerReflection, createReflectionHandlers(reflected));
  // The older name has the same messages under another package.
  const older = createReflectionHandlers(reflected) as unknown as Handlers<typeof reflectionV1Alpha.ServerReflection>;
  router.serve(reflectionV1Alpha.ServerReflection, older);
  const { host } = settings;
  const bound = async <T>(setting: string, port: number, open: () => Promise<T>): Promise<T> => {
    try {
      return await open();
    } catch (cause) {
      if (!(cause instanceof Error) || !cause.message.includes("EADDRINUSE")) throw cause;
      throw errors.PORT_TAKEN({ service: name, setting: `--${name}.${setting}`, port }, { cause });
    }
  };
  const listener = await bound("port", settings.port, () => wire.listen(router, host, settings.port));
  service.listeners.push(listener);
  const edge = definition.edge;
  const edgeListener =
    edge === undefined
      ? undefined
      : await bound("edge-port", settings.edgePort, () =>
          listenEdge(router, edge, {
            host,
            port: settings.edgePort,
            messageBytesMax: own.messageBytesMax,
            allowedOrigin: own.allowedOrigin,
            ...wire.secure,
          }),
        );
  if (edgeListener !== undefined) service.listeners.push(edgeListener);
  const diagnostics = await bound("metrics-port", settings.metricsPort, () =>
    serveDiagnostics({ host, port: settings.metricsPort, metrics, unmet: () => unmetOf(service) }),
  );
  service.owned.unshift(diagnostics);
  service.address = { host, port: listener.port, metricsPort: diagnostics.port, edgePort: edgeListener?.port };
  service.conditions.set("started", true);
  publish(service, changed);
}
