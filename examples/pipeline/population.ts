// Who asks, and what the load and the comparison tell each other.

/** What the load is told. */
export interface Order {
  readonly port: number;
  readonly warmUpMs: number;
  readonly forMs: number;
}

/** What it has seen: latencies in ms. */
export interface Seen {
  readonly crowd: readonly number[];
  readonly operators: readonly number[];
  /** All answers, also those of the time for warming up. */
  readonly answered: number;
  /** Answers that were not what was asked for. */
  readonly wrong: number;
}

/** Users of the crowd. */
export const USERS: number = 64;
/** Connections of each user of the crowd. */
export const EACH: number = 3;
export const OPERATORS: number = 8;
export const OPERATOR_EVERY_MS: number = 40;
/** Connections of the crowd. */
export const CONNECTIONS: number = USERS * EACH;
