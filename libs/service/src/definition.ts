import type { DescService } from "@bufbuild/protobuf";
import type { ConfigSchema, SettingShape, SettingsOf } from "@weft/config";
import type { ServiceName } from "@weft/contracts";
import type { Client, Handlers } from "@weft/rpc";
import type { Telemetry } from "@weft/telemetry";
import type { Clock } from "./clock.ts";

/** What a service gets to compose itself from. */
export interface ServiceEnvironment<Settings> {
  readonly settings: Settings;
  /** Existing folder for the service's own state. */
  readonly dataDirectory: string;
  readonly rpc: {
    /** Answers a protobuf service with handlers. */
    serve<S extends DescService>(service: S, handlers: Handlers<S>): void;
    /** A client of a peer: in memory where the peer runs in this process, over the wire elsewhere. */
    dial<S extends DescService>(service: S): Client<S>;
  };
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  /** Hands over what must be closed at the end; closed in reverse order. */
  own<T extends { close(): void | Promise<void> }>(resource: T): T;
  /** The service can answer once every condition it has set is true. */
  readonly readiness: { set(condition: string, ready: boolean): void };
  /** Calls `listener` when the process begins to drain: to end streams that have no end of their own. */
  onDrain(listener: () => void): void;
}

/** A service: its name, settings and how it is composed. */
export interface ServiceDefinition<Shape extends SettingShape = SettingShape> {
  readonly name: ServiceName;
  readonly config: ConfigSchema<Shape>;
  /** Protobuf services that the HTTP edge serves too. */
  readonly edge?: readonly DescService[];
  /** Serves handlers; must not wait for peers, which start in any order. */
  compose(environment: ServiceEnvironment<SettingsOf<ConfigSchema<Shape>>>): void | Promise<void>;
}

/** Defines a service. */
export function defineService<Shape extends SettingShape>(definition: ServiceDefinition<Shape>): ServiceDefinition {
  return definition as unknown as ServiceDefinition;
}
