// The clients, and the messages between the load and the comparison.

/** The instructions for the load. */
export interface Order {
  readonly port: number;
  readonly warmUpMs: number;
  readonly forMs: number;
}

/** The measurements of the load; latencies in ms. */
export interface Seen {
  readonly crowd: readonly number[];
  readonly operators: readonly number[];
  /** Number of answers, including those of the warm-up. */
  readonly answered: number;
  /** Number of wrong answers. */
  readonly wrong: number;
}

/** Number of users of the crowd. */
export const USERS: number = 64;
/** Number of connections of each user of the crowd. */
export const EACH: number = 3;
export const OPERATORS: number = 8;
export const OPERATOR_EVERY_MS: number = 40;
/** Number of connections of the crowd. */
export const CONNECTIONS: number = USERS * EACH;
