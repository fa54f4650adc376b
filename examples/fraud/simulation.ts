/**
 * A *simulated* card network: who pays where, with what, when, and who steals. Nothing in it is real. README.md tells
 * the process; the figures are here, next to what they drive.
 */

export const SECOND_US = 1_000_000;
export const MINUTE_US = 60 * SECOND_US;
export const HOUR_US = 60 * MINUTE_US;
export const DAY_US = 24 * HOUR_US;

/** Midnight of Monday 2025-01-06, UTC. */
export const START_US = 1_736_121_600 * SECOND_US;

/** The history ends at 18:00 of its last day, in the middle of things. */
export function endOf(days: number): number {
  return START_US + days * DAY_US - 6 * HOUR_US;
}

/** A payer who does not dispute a payment within this time accepts it. */
export const DISPUTE_US = 5 * DAY_US;

/** Card that a thief is using when the history ends, whatever its size; scenario.ts shows it. */
const LIVE_CARD = 1_000_007;
/** Terminal at which cloned cards are being used when the history ends. */
const LIVE_TERMINAL = 5_000_009;

export interface SimulationOptions {
  /** 100 to 1,000,000. */
  readonly cards: number;
  /** Length of the history in days, 15 to 365. */
  readonly days: number;
  /** Mean payments a card and day. */
  readonly paymentsPerCardDay: number;
  readonly seed: number;
}

export type Pattern = "honest" | "stolen card" | "account takeover" | "compromised terminal";

export interface Payment {
  readonly id: number;
  readonly timeUs: number;
  readonly card: number;
  readonly customer: number;
  readonly terminal: number;
  readonly device: string;
  /** Two decimals. */
  readonly amount: number;
  readonly online: boolean;
  readonly pattern: Pattern;
  /** When the payer reported it; undefined: never. */
  readonly reportedUs?: number;
}

/** What the hourly job knew about a customer. */
export interface RiskRow {
  readonly timeUs: number;
  readonly createdUs: number;
  readonly customer: number;
  readonly score: number;
  readonly reports: number;
}

/** Random numbers by sfc32: the same for a seed on every machine, up to the last bit of Math.log and Math.cos. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: number) {
    this.#a = seed | 0;
    this.#b = 0x9e3779b9;
    this.#c = 0x243f6a88;
    this.#d = 1;
    for (let i = 0; i < 15; i++) this.next();
  }

  /** From 0 up to, not including, 1. */
  next(): number {
    const t = (((this.#a + this.#b) | 0) + this.#d) | 0;
    this.#d = (this.#d + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + t;
    this.#c |= 0;
    return (t >>> 0) / 4_294_967_296;
  }

  between(low: number, high: number): number {
    return low + (high - low) * this.next();
  }

  /** From low to high, both included. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  normal(mean = 0, deviation = 1): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.next()));
    return mean + deviation * radius * Math.cos(2 * Math.PI * this.next());
  }

  logNormal(median: number, sigma: number): number {
    return median * Math.exp(this.normal(0, sigma));
  }

  /** Waiting time until an event that comes once per `mean`. */
  exponential(mean: number): number {
    return -mean * Math.log(1 - this.next());
  }

  poisson(mean: number): number {
    if (mean > 30) return Math.max(0, Math.round(this.normal(mean, Math.sqrt(mean))));
    const limit = Math.exp(-mean);
    let count = 0;
    for (let product = this.next(); product > limit; product *= this.next()) count++;
    return count;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[Math.floor(this.next() * items.length)];
    if (item === undefined) throw new RangeError("nothing to pick from");
    return item;
  }
}

interface Category {
  readonly name: string;
  /** Typical amount as a multiple of the payer's. */
  readonly multiple: number;
  /** Share of the terminals. */
  readonly share: number;
  readonly online: boolean;
  /** How easily stolen goods from here are sold: weight of a thief's choice. */
  readonly appeal: number;
}

const groceries: Category = { name: "grocery", multiple: 0.9, share: 0.28, online: false, appeal: 1 };

const CATEGORIES: readonly Category[] = [
  groceries,
  { name: "fuel", multiple: 1.1, share: 0.1, online: false, appeal: 2 },
  { name: "restaurant", multiple: 0.6, share: 0.22, online: false, appeal: 0.5 },
  { name: "fashion", multiple: 1.6, share: 0.1, online: false, appeal: 3 },
  { name: "electronics", multiple: 3, share: 0.06, online: false, appeal: 6 },
  { name: "web shop", multiple: 1.4, share: 0.12, online: true, appeal: 4 },
  { name: "digital goods", multiple: 0.5, share: 0.08, online: true, appeal: 5 },
  { name: "travel", multiple: 5, share: 0.04, online: true, appeal: 3 },
];

interface Terminal {
  readonly id: number;
  readonly category: Category;
  readonly x: number;
  readonly y: number;
  /** Relative number of customers. */
  readonly size: number;
}

interface Customer {
  readonly id: number;
  readonly amount: number;
  readonly spread: number;
  readonly onlineShare: number;
  readonly nightShare: number;
  /** Share of the payments in shops that are made with the phone. */
  readonly phoneShare: number;
  readonly near: readonly Terminal[];
  readonly web: readonly Terminal[];
  /** Weight with which thieves meet this customer: careless habits, leaked passwords. */
  readonly exposure: number;
  /** Replaced now and then, as phones are. */
  readonly phones: readonly { readonly device: string; readonly fromUs: number }[];
}

interface Card {
  readonly id: number;
  readonly customer: Customer;
  readonly paymentsPerDay: number;
}

type Draft = Omit<Payment, "id">;

/** Simulates the network. Payments are in time order; the same options give the same history. */
export function simulate(options: SimulationOptions): { payments: Payment[]; riskRows: RiskRow[] } {
  const random = new Random(options.seed);
  const endUs = endOf(options.days);
  const terminals = createTerminals(random, Math.max(60, Math.round(options.cards / 25)));
  const cards = createCards(random, options, terminals);
  const drafts: Draft[] = [];
  for (const card of cards) addHonestPayments(random, drafts, card, terminals, endUs);
  addFraud(random, drafts, cards, terminals, options, endUs);
  addLiveIncidents(random, drafts, cards, terminals, endUs);
  const payments = drafts
    .filter((draft) => draft.timeUs >= START_US && draft.timeUs < endUs)
    .sort((a, b) => a.timeUs - b.timeUs || a.card - b.card)
    .map((draft, index) => ({ id: index + 1, ...draft }));
  return { payments, riskRows: assessRisk(random, payments, endUs) };
}

/** The category at a place between 0 and 1, when all are laid side by side by their shares. */
function categoryAt(place: number): Category {
  let until = 0;
  for (const category of CATEGORIES) {
    until += category.share;
    if (place < until) return category;
  }
  return groceries; // Shares that add up to a hair less than 1.
}

function createTerminals(random: Random, count: number): Terminal[] {
  return Array.from({ length: count }, (_, index) => {
    const category = categoryAt(random.next());
    const x = random.between(0, 100);
    const y = random.between(0, 100);
    return { id: 5_000_001 + index, category, x, y, size: random.logNormal(1, 1) };
  });
}

function createCards(random: Random, options: SimulationOptions, terminals: readonly Terminal[]): Card[] {
  const shops = terminals.filter((terminal) => !terminal.category.online);
  const web = terminals.filter((terminal) => terminal.category.online);
  const heaviest = { shops: Math.max(...shops.map((t) => t.size)), web: Math.max(...web.map((t) => t.size)) };
  const bySize = (among: readonly Terminal[], most: number): Terminal => {
    for (;;) {
      const terminal = random.pick(among);
      if (random.next() * most < terminal.size) return terminal;
    }
  };
  const endUs = endOf(options.days);
  const cards: Card[] = [];
  for (let customerIndex = 0; cards.length < options.cards; customerIndex++) {
    const id = 3_000_001 + customerIndex;
    const x = random.between(0, 100);
    const y = random.between(0, 100);
    const near = Array.from({ length: 40 }, () => bySize(shops, heaviest.shops))
      .sort((a, b) => Math.hypot(a.x - x, a.y - y) - Math.hypot(b.x - x, b.y - y))
      .slice(0, 7);
    const phones = [{ device: deviceId(random), fromUs: 0 }];
    for (let at = START_US + random.exponential(90 * DAY_US); at < endUs; at += random.exponential(90 * DAY_US))
      phones.push({ device: deviceId(random), fromUs: at });
    const customer: Customer = {
      id,
      amount: random.logNormal(28, 0.6),
      spread: random.between(0.35, 0.7),
      onlineShare: random.between(0.05, 0.6) * random.next(),
      nightShare: random.chance(0.15) ? 0.25 : 0.04,
      phoneShare: random.chance(0.4) ? random.between(0, 0.3) : random.between(0.4, 0.9),
      near,
      web: Array.from({ length: 4 }, () => bySize(web, heaviest.web)),
      exposure: random.logNormal(1, 1.3),
      phones,
    };
    const activity = random.logNormal(1, 0.7) * Math.exp(-0.245);
    for (let left = random.chance(0.35) ? 2 : 1; left > 0 && cards.length < options.cards; left--) {
      const paymentsPerDay = activity * options.paymentsPerCardDay * random.between(0.6, 1.4);
      cards.push({ id: 1_000_001 + cards.length, customer, paymentsPerDay });
    }
  }
  return cards;
}

function deviceId(random: Random): string {
  const half = () =>
    Math.floor(random.next() * 4_294_967_296)
      .toString(16)
      .padStart(8, "0");
  return `m-${half()}${half()}`;
}

/** The chip of the card itself. */
function chip(card: Card): string {
  return `c-${card.id}`;
}

function phoneAt(customer: Customer, timeUs: number): string {
  let current = "";
  for (const phone of customer.phones) if (phone.fromUs <= timeUs) current = phone.device;
  return current;
}

/** A time of day as people pay: lunch, evening, and for some the night. */
function timeOfDayUs(random: Random, nightShare: number): number {
  const hour = random.chance(nightShare)
    ? random.between(0, 6)
    : random.chance(0.4)
      ? random.normal(12.5, 2)
      : random.normal(18, 2.5);
  return Math.floor((((hour % 24) + 24) % 24) * HOUR_US);
}

function amountAt(random: Random, customer: Customer, terminal: Terminal): number {
  return customer.amount * terminal.category.multiple * Math.exp(random.normal(0, customer.spread));
}

function cents(amount: number): number {
  return Math.max(0.5, Math.round(amount * 100) / 100);
}

function addHonestPayments(
  random: Random,
  drafts: Draft[],
  card: Card,
  terminals: readonly Terminal[],
  endUs: number,
): void {
  const { customer } = card;
  const days = Math.ceil((endUs - START_US) / DAY_US);
  // Away from home for some days: no usual terminal, sometimes a usual device.
  const tripDay = random.chance(0.12) ? random.integer(0, days) : days + 10;
  const pay = (timeUs: number, away: boolean, multiple: number): void => {
    const online = !away && random.chance(customer.onlineShare);
    const strange = away || random.chance(0.08);
    const terminal = strange ? random.pick(terminals) : random.pick(online ? customer.web : customer.near);
    const device =
      terminal.category.online || random.chance(customer.phoneShare) ? phoneAt(customer, timeUs) : chip(card);
    // A friend's tablet, a computer at work, a new browser.
    const borrowed = terminal.category.online && random.chance(0.03);
    drafts.push({
      timeUs,
      card: card.id,
      customer: customer.id,
      terminal: terminal.id,
      device: borrowed ? deviceId(random) : device,
      amount: cents(amountAt(random, customer, terminal) * multiple),
      online: terminal.category.online,
      pattern: "honest",
    });
  };
  for (let day = 0; day < days; day++) {
    const away = day >= tripDay && day < tripDay + 4;
    const weekend = day % 7 >= 5 ? 1.25 : 0.9;
    const count = random.poisson(card.paymentsPerDay * weekend * (away ? 2 : 0.85));
    for (let i = 0; i < count; i++) {
      const timeUs = START_US + day * DAY_US + timeOfDayUs(random, customer.nightShare);
      pay(timeUs, away, random.chance(0.02) ? random.between(3, 9) : 1);
    }
    // A shopping spree: many payments within two hours, as a thief would make them.
    if (random.chance(0.012 * Math.min(2, card.paymentsPerDay / 0.35))) {
      let timeUs = START_US + day * DAY_US + random.between(10, 19) * HOUR_US;
      for (let left = random.integer(3, 8); left > 0; left--) {
        pay(Math.floor(timeUs), random.chance(0.5), random.between(0.8, 2.5));
        timeUs += random.exponential(14 * MINUTE_US);
      }
    }
  }
}

/** Delay until the payer reports a theft: some answer an alert on the phone, most find it on the statement. */
function reportDelayUs(random: Random): number | undefined {
  if (random.chance(0.04)) return undefined;
  if (random.chance(0.4)) return Math.floor(MINUTE_US + random.exponential(8 * MINUTE_US));
  return Math.floor(Math.min(random.logNormal(1.5 * DAY_US, 0.8), DISPUTE_US - HOUR_US));
}

/** Adds the payments of one theft up to the first report, at which the card is stopped. */
function addTheft(
  random: Random,
  drafts: Draft[],
  pattern: Pattern,
  payments: readonly Omit<Draft, "pattern">[],
): void {
  let stoppedUs = Number.POSITIVE_INFINITY;
  for (const payment of payments) {
    if (payment.timeUs > stoppedUs) break;
    const delayUs = reportDelayUs(random);
    if (delayUs !== undefined) stoppedUs = Math.min(stoppedUs, payment.timeUs + delayUs);
    drafts.push({ ...payment, pattern, ...(delayUs === undefined ? {} : { reportedUs: payment.timeUs + delayUs }) });
  }
}

function addFraud(
  random: Random,
  drafts: Draft[],
  cards: readonly Card[],
  terminals: readonly Terminal[],
  options: SimulationOptions,
  endUs: number,
): void {
  const mostExposed = Math.max(...cards.map((card) => card.customer.exposure));
  const victim = (): Card => {
    for (;;) {
      const card = random.pick(cards);
      if (random.next() * mostExposed < card.customer.exposure) return card;
    }
  };
  const rings = Array.from({ length: Math.max(3, Math.round(options.cards / 1000)) }, () => deviceId(random));
  const days = Math.ceil((endUs - START_US) / DAY_US);
  const whenUs = (nightShare: number) =>
    START_US + random.integer(0, days - 1) * DAY_US + timeOfDayUs(random, nightShare);
  const perDay = options.cards * options.paymentsPerCardDay;

  const stolen = random.poisson(perDay * options.days * 0.0009);
  for (let i = 0; i < stolen; i++)
    addTheft(random, drafts, "stolen card", stolenCard(random, victim(), terminals, whenUs(0.15)));

  const takeovers = random.poisson(perDay * options.days * 0.0009);
  for (let i = 0; i < takeovers; i++)
    addTheft(random, drafts, "account takeover", takeover(random, victim(), terminals, rings, whenUs(0.3)));

  const shops = terminals.filter((terminal) => !terminal.category.online);
  const compromised = Math.max(2, random.poisson(perDay * options.days * 0.0001));
  for (let i = 0; i < compromised; i++) {
    const terminal = random.pick(shops);
    const fromUs = whenUs(0.1);
    const untilUs = fromUs + Math.floor(random.between(1, 5) * HOUR_US);
    let timeUs = fromUs;
    const meanGapUs = random.between(4, 15) * MINUTE_US;
    for (;;) {
      timeUs += Math.floor(random.exponential(meanGapUs));
      if (timeUs >= untilUs) break;
      addTheft(random, drafts, "compromised terminal", cloned(random, random.pick(cards), terminal, timeUs));
    }
  }
}

function attractive(random: Random, terminals: readonly Terminal[], online: boolean | undefined): Terminal {
  for (;;) {
    const terminal = random.pick(terminals);
    if (online !== undefined && terminal.category.online !== online) continue;
    if (random.next() * 6 < terminal.category.appeal) return terminal;
  }
}

/**
 * Pattern 1. The card itself is stolen and used in shops: a small payment to see whether it works, then several larger
 * ones within an hour, until it is stopped. One thief in five uses it once only, like its owner would.
 */
function stolenCard(
  random: Random,
  card: Card,
  terminals: readonly Terminal[],
  startUs: number,
  count = random.chance(0.2) ? 1 : random.integer(3, 9),
): Omit<Draft, "pattern">[] {
  let timeUs = startUs;
  let last = attractive(random, terminals, false);
  return Array.from({ length: count }, (_, index) => {
    if (index > 0)
      timeUs += 8 * SECOND_US + Math.floor(random.exponential(random.chance(0.5) ? 40 * SECOND_US : 8 * MINUTE_US));
    const terminal = random.chance(0.5) ? attractive(random, terminals, false) : last;
    last = terminal;
    const trial = index === 0 && count > 1;
    const amount = trial
      ? random.between(1, 9)
      : amountAt(random, card.customer, terminal) * (count === 1 ? random.between(1, 4) : random.between(1.5, 5));
    return {
      timeUs,
      card: card.id,
      customer: card.customer.id,
      terminal: terminal.id,
      device: chip(card),
      amount: cents(amount),
      online: false,
    };
  });
}

/**
 * Pattern 2. Someone has the account's password and pays online from a device of their own, which a ring shares between
 * victims; larger amounts over some hours, often at night.
 */
function takeover(
  random: Random,
  card: Card,
  terminals: readonly Terminal[],
  rings: readonly string[],
  startUs: number,
  count = random.integer(2, 6),
): Omit<Draft, "pattern">[] {
  const device = random.chance(0.5) ? random.pick(rings) : deviceId(random);
  let timeUs = startUs;
  return Array.from({ length: count }, (_, index) => {
    if (index > 0) timeUs += Math.floor(random.exponential(50 * MINUTE_US)) + 30 * SECOND_US;
    const terminal = attractive(random, terminals, true);
    return {
      timeUs,
      card: card.id,
      customer: card.customer.id,
      terminal: terminal.id,
      device,
      amount: cents(amountAt(random, card.customer, terminal) * random.logNormal(2.4, 0.5)),
      online: true,
    };
  });
}

/**
 * Pattern 3. A terminal is in the hands of thieves for some hours: clones of cards from all over the country pay there,
 * once or twice each, amounts a little above the payer's habit. Only the terminal looks odd, once reports come in.
 */
function cloned(random: Random, card: Card, terminal: Terminal, startUs: number): Omit<Draft, "pattern">[] {
  let timeUs = startUs;
  return Array.from({ length: random.chance(0.25) ? 2 : 1 }, (_, index) => {
    if (index > 0) timeUs += Math.floor(random.exponential(4 * MINUTE_US)) + 20 * SECOND_US;
    return {
      timeUs,
      card: card.id,
      customer: card.customer.id,
      terminal: terminal.id,
      device: chip(card),
      amount: cents(amountAt(random, card.customer, terminal) * random.between(1.2, 3.5)),
      online: false,
    };
  });
}

/** Two thefts in the last hour, so that the end of the history has something to show. */
function addLiveIncidents(
  random: Random,
  drafts: Draft[],
  cards: readonly Card[],
  terminals: readonly Terminal[],
  endUs: number,
): void {
  const card = cards.find((candidate) => candidate.id === LIVE_CARD);
  const terminal = terminals.find((candidate) => candidate.id >= LIVE_TERMINAL && !candidate.category.online);
  if (card === undefined || terminal === undefined) throw new RangeError("too few cards or terminals");
  for (const [index, payment] of stolenCard(random, card, terminals, endUs, 6).entries()) {
    const timeUs = endUs - 20 * MINUTE_US + index * 210 * SECOND_US;
    drafts.push({ ...payment, timeUs, pattern: "stolen card", reportedUs: timeUs + 2 * DAY_US });
  }
  for (let minute = 58; minute > 1; minute -= 8) {
    const timeUs = endUs - minute * MINUTE_US;
    const reportedUs = timeUs + Math.floor(random.between(1, 10) * MINUTE_US);
    for (const payment of cloned(random, random.pick(cards), terminal, timeUs).slice(0, 1))
      drafts.push({ ...payment, pattern: "compromised terminal", reportedUs });
  }
}

/**
 * The hourly batch job: from payments and reports known by the full hour, how likely is the next payment of a customer
 * to be reported? Both counts fade with a half-life of 14 days and lean on a prior. Rows are written for customers
 * whose score has moved by a tenth or whose row is three days old, some minutes after the hour.
 */
export function assessRisk(random: Random, payments: readonly Payment[], endUs: number): RiskRow[] {
  const prior = { rate: 0.006, payments: 12 };
  const halfLifeUs = 14 * DAY_US;
  interface State {
    payments: number;
    reports: number;
    total: number;
    atUs: number;
    score: number;
    writtenUs: number;
  }
  const states = new Map<number, State>();
  const fade = (customer: number, timeUs: number): State => {
    let state = states.get(customer);
    if (state === undefined) {
      state = { payments: 0, reports: 0, total: 0, atUs: timeUs, score: 0, writtenUs: 0 };
      states.set(customer, state);
    }
    const factor = 2 ** ((state.atUs - timeUs) / halfLifeUs);
    state.payments *= factor;
    state.reports *= factor;
    state.atUs = timeUs;
    return state;
  };
  const reports = payments
    .flatMap((payment) => (payment.reportedUs === undefined ? [] : [{ ...payment, reportedUs: payment.reportedUs }]))
    .sort((a, b) => a.reportedUs - b.reportedUs || a.id - b.id);
  const rows: RiskRow[] = [];
  let nextPayment = 0;
  let nextReport = 0;
  for (let hourUs = START_US + HOUR_US; hourUs < endUs; hourUs += HOUR_US) {
    const touched = new Set<number>();
    for (; ; nextPayment++) {
      const payment = payments[nextPayment];
      if (payment === undefined || payment.timeUs >= hourUs) break;
      fade(payment.customer, hourUs).payments += 1;
      touched.add(payment.customer);
    }
    for (; ; nextReport++) {
      const report = reports[nextReport];
      if (report === undefined || report.reportedUs >= hourUs) break;
      const state = fade(report.customer, hourUs);
      state.reports += 1;
      state.total += 1;
      touched.add(report.customer);
    }
    const createdUs = hourUs + Math.floor(random.between(2, 6) * MINUTE_US);
    for (const customer of touched) {
      const state = fade(customer, hourUs);
      const score = (state.reports + prior.rate * prior.payments) / (state.payments + prior.payments);
      if (Math.abs(score - state.score) < 0.1 * state.score && hourUs - state.writtenUs < 3 * DAY_US) continue;
      state.score = score;
      state.writtenUs = hourUs;
      rows.push({ timeUs: hourUs, createdUs, customer, score: Math.round(score * 1e6) / 1e6, reports: state.total });
    }
  }
  return rows;
}
