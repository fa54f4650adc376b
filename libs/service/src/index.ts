export { type Clock, systemClock } from "./clock.ts";
export { defineService, type ServiceDefinition, type ServiceEnvironment } from "./definition.ts";
export { openTransport, type ProcessTransport, type TransportSettings } from "./process-transport.ts";
export { describeServices, readConfigInput, runServices } from "./run.ts";
export { edgePort, firstPort, metricsPortOffset, peersConfig, processConfig, sharedConfigs } from "./settings.ts";
export { type RunningServices, type ServiceAddress, type StartOptions, startServices } from "./start.ts";
