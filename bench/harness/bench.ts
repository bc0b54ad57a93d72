// What a bench is: some cases, each a line of the table. A case has sides that do the same work:
// kcont, its peers, and floors, the least that the work could cost. Each case is run in a process
// of its own, its sides alternating, so that nothing but the sides themselves can have shaped what
// the compiler knows.

/** What is measured. */
export type Unit = 'ns' | 'µs' | 'ms' | 'B' | 'kB';

export type Role = 'kcont' | 'peer' | 'floor';

/** How much trouble to take. */
export interface Effort {
  /** See that it works; the figures mean nothing. */
  readonly quick: boolean;
  readonly rounds: number;
  /** How long one timed run should take. */
  readonly targetMs: number;
  /** How long to run a side before it is measured. */
  readonly warmMs: number;
}

export const FULL: Effort = { quick: false, rounds: 11, targetMs: 40, warmMs: 300 };
export const QUICK: Effort = { quick: true, rounds: 2, targetMs: 0.5, warmMs: 2 };

/** A population, much smaller when in a hurry. */
export function sized(effort: Effort, full: number, quick: number = 1000): number {
  return effort.quick ? Math.min(full, quick) : full;
}

/** One way to do the work. */
export interface Side {
  readonly role: Role;
  readonly name: string;
  /** For a curve: how many are alive. */
  readonly at?: number;
  /** Before and after each of its rounds, untimed. */
  before?(): void | Promise<void>;
  after?(): void | Promise<void>;
  /** Once, before the first round. */
  warm?(effort: Effort): void | Promise<void>;
  /** One round: a figure for each metric of the case. Throws if the work was not done right. */
  sample(): readonly number[] | Promise<readonly number[]>;
}

/** What is to be reached against one of the peers. */
export type Goal = {
  readonly against: string;
} & (
  | /** The peer costs at least this many times what kcont costs. */ { readonly atLeast: number }
  | /** kcont costs at most this many times what the peer costs. */ { readonly atMost: number }
);

/** What a case measures. */
export interface Metric {
  /** Beside the name of the case; empty if it is the only one. */
  readonly name: string;
  readonly unit: Unit;
  readonly goals: readonly Goal[];
  /** Ratios say how much of a peer's cost kcont's is; so they do where an `atMost` is a goal. */
  readonly asPart?: boolean;
}

export interface Case {
  readonly name: string;
  readonly metrics: readonly Metric[];
  /** At most this many rounds, for what takes long. */
  readonly rounds?: number;
  /** Collect garbage before each side's sample, as by default, or once a round. */
  readonly collect?: 'side' | 'round';
  /** Replaces the comparison with peers: goals that are not about a peer. */
  compare?(metric: Metric, sides: readonly Figures[]): Comparison[];
  sides(effort: Effort): readonly Side[] | Promise<readonly Side[]>;
}

export interface Bench {
  readonly name: string;
  /** A sentence for the report: what is measured, and how. */
  readonly about: string;
  cases(effort: Effort): readonly Case[];
}

/** What one side came to. */
export interface Figures {
  readonly role: Role;
  readonly name: string;
  readonly at?: number;
  readonly samples: readonly number[];
  readonly median: number;
  readonly q1: number;
  readonly q3: number;
}

export type Verdict = 'met' | 'within spread' | 'missed' | '';

/** kcont beside one peer. */
export interface Comparison {
  readonly against: string;
  /** Peer over kcont for an `atLeast` goal, kcont over peer for an `atMost` one. */
  readonly ratio: number;
  readonly q1: number;
  readonly q3: number;
  /** As text: `>= 4`; empty if there is none. */
  readonly goal: string;
  readonly verdict: Verdict;
}

/** One line of the table. */
export interface Result {
  readonly bench: string;
  readonly case: string;
  readonly metric: string;
  readonly unit: Unit;
  readonly sides: readonly Figures[];
  readonly comparisons: readonly Comparison[];
}

/** A metric of its own, the usual case. */
export function costs(unit: Unit, ...goals: Goal[]): readonly Metric[] {
  return [{ name: '', unit, goals }];
}
