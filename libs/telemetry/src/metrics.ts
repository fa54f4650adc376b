import { collectDefaultMetrics, Registry } from "prom-client";

/** Label values by label name. Never an id of a person or a request: each new value is a new time series. */
export type Labels = Readonly<Record<string, string>>;

/** What a metric is called and means. Names carry base units: `_seconds`, `_bytes`, `_total`. */
export interface MetricOptions {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
}

/** A time series of a counter. */
export interface CounterSeries {
  add(amount: number): void;
}

/** A time series of a gauge. */
export interface GaugeSeries {
  set(value: number): void;
  add(amount: number): void;
}

/** A time series of a histogram. */
export interface HistogramSeries {
  observe(value: number): void;
}

/** A number that only grows. */
export interface Counter {
  add(amount: number, labels?: Labels): void;
  /** The series of these labels, to keep on a hot path. */
  with(labels: Labels): CounterSeries;
}

/** A number that goes up and down. */
export interface Gauge {
  set(value: number, labels?: Labels): void;
  with(labels: Labels): GaugeSeries;
}

/** A distribution in buckets. */
export interface Histogram {
  observe(value: number, labels?: Labels): void;
  with(labels: Labels): HistogramSeries;
}

/** Makes metrics; asking again for a name answers the metric that has it. */
export interface Metrics {
  counter(options: MetricOptions): Counter;
  gauge(options: MetricOptions): Gauge;
  /** `buckets`: upper edges, ascending; default 100 us to 10 s. */
  histogram(options: MetricOptions & { readonly buckets?: readonly number[] }): Histogram;
  /** All metrics in Prometheus' text format. */
  expose(): Promise<{ readonly contentType: string; readonly body: string }>;
}

/** Upper edges for times from 100 us to 10 s. */
export const secondsBuckets = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
] as const;

/** Time series a metric may have; further label values are counted together under "other". */
const seriesMax = 2_000;

interface Sample {
  readonly value: number;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly metricName?: string;
}

/** Series by label values; what prom-client's registry reads. A series is a plain object, so that counting costs an addition. */
class Family<S> {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly aggregator = "sum";
  readonly #labelNames: readonly string[];
  readonly #series = new Map<string, { readonly labels: Labels; readonly series: S }>();
  readonly #create: () => S;
  readonly #samples: (series: S, labels: Labels) => readonly Sample[];

  constructor(
    type: string,
    options: MetricOptions,
    create: () => S,
    samples: (series: S, labels: Labels) => readonly Sample[],
  ) {
    this.type = type;
    this.name = options.name;
    this.help = options.help;
    this.#labelNames = options.labels ?? [];
    this.#create = create;
    this.#samples = samples;
    if (this.#labelNames.length === 0) this.with({});
  }

  with(labels: Labels): S {
    let key = "";
    for (const name of this.#labelNames) key += `${labels[name] ?? ""}\u0000`;
    const found = this.#series.get(key);
    if (found !== undefined) return found.series;
    // The last place is kept for what does not fit.
    const other = Object.fromEntries(this.#labelNames.map((name) => [name, "other"]));
    if (this.#series.size >= seriesMax - 1 && this.#labelNames.some((name) => labels[name] !== "other"))
      return this.with(other);
    const series = this.#create();
    this.#series.set(key, {
      labels: Object.fromEntries(this.#labelNames.map((name) => [name, labels[name] ?? ""])),
      series,
    });
    return series;
  }

  get() {
    const values: Sample[] = [];
    for (const { labels, series } of this.#series.values()) values.push(...this.#samples(series, labels));
    return { name: this.name, help: this.help, type: this.type, aggregator: this.aggregator, values };
  }
}

class NumberSeries implements CounterSeries, GaugeSeries {
  value = 0;
  add(amount: number): void {
    this.value += amount;
  }
  set(value: number): void {
    this.value = value;
  }
}

class BucketSeries implements HistogramSeries {
  readonly counts: Float64Array;
  sum = 0;
  readonly #edges: readonly number[];
  constructor(edges: readonly number[]) {
    this.#edges = edges;
    this.counts = new Float64Array(edges.length + 1);
  }
  observe(value: number): void {
    const edges = this.#edges;
    let low = 0;
    let high = edges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (value <= (edges[middle] ?? 0)) high = middle;
      else low = middle + 1;
    }
    this.counts[low] = (this.counts[low] ?? 0) + 1;
    this.sum += value;
  }
}

/** Creates the metrics of a process. */
export function createMetrics(options: { readonly processMetrics: boolean }): Metrics {
  const registry = new Registry();
  if (options.processMetrics) collectDefaultMetrics({ register: registry });
  const made = new Map<string, unknown>();
  const once = <T>(name: string, make: () => { metric: T; family: unknown }): T => {
    const existing = made.get(name);
    if (existing !== undefined) return existing as T;
    const { metric, family } = make();
    made.set(name, metric);
    registry.registerMetric(family as Parameters<Registry["registerMetric"]>[0]);
    return metric;
  };
  const numberSamples = (series: NumberSeries, labels: Labels) => [{ value: series.value, labels }];
  return {
    counter: (metric) =>
      once<Counter>(metric.name, () => {
        const family = new Family("counter", metric, () => new NumberSeries(), numberSamples);
        return {
          family,
          metric: {
            add: (amount, labels = {}) => family.with(labels).add(amount),
            with: (labels) => family.with(labels),
          },
        };
      }),
    gauge: (metric) =>
      once<Gauge>(metric.name, () => {
        const family = new Family("gauge", metric, () => new NumberSeries(), numberSamples);
        return {
          family,
          metric: {
            set: (value, labels = {}) => family.with(labels).set(value),
            with: (labels) => family.with(labels),
          },
        };
      }),
    histogram: (metric) =>
      once<Histogram>(metric.name, () => {
        const edges = metric.buckets ?? secondsBuckets;
        const samples = (series: BucketSeries, labels: Labels): Sample[] => {
          let total = 0;
          const values: Sample[] = edges.map((edge, index) => {
            total += series.counts[index] ?? 0;
            return { value: total, labels: { ...labels, le: edge }, metricName: `${metric.name}_bucket` };
          });
          total += series.counts[edges.length] ?? 0;
          values.push({ value: total, labels: { ...labels, le: "+Inf" }, metricName: `${metric.name}_bucket` });
          values.push({ value: series.sum, labels, metricName: `${metric.name}_sum` });
          values.push({ value: total, labels, metricName: `${metric.name}_count` });
          return values;
        };
        const family = new Family("histogram", metric, () => new BucketSeries(edges), samples);
        return {
          family,
          metric: {
            observe: (value, labels = {}) => family.with(labels).observe(value),
            with: (labels) => family.with(labels),
          },
        };
      }),
    expose: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
  };
}
