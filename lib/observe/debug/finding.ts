/**
 * What kind of mistake debug mode has found.
 *
 * - `'deadlock'`: some wait for each other, or one for itself
 * - `'wait'`: a lock or a run has been waited for, for longer than a second
 * - `'unsettled'`: the event loop is empty, and a function has not settled or code still waits
 * - `'refused'`: `schedule` was called by the continuation's own function, which does nothing
 * - `'destroyed'`: `schedule`, `reset` or `touch` was called after `destroy`, which does nothing
 * - `'collected'`: a continuation was garbage-collected whose last `schedule`, `reset` or `touch` returned false
 * - `'exit'`: a lock was released by another than its holder
 *
 * @public
 */
export type FindingKind =
  | 'deadlock'
  | 'wait'
  | 'unsettled'
  | 'refused'
  | 'destroyed'
  | 'collected'
  | 'exit';

/**
 * A mistake that debug mode has found. A plain object that `JSON.stringify` can write.
 *
 * @public
 */
export interface Finding {
  /** What kind of mistake. */
  readonly kind: FindingKind;
  /** A sentence for a log, in one line. */
  readonly message: string;
  /** What else is known, and what helps: a line each. */
  readonly details: readonly string[];
  /** The name of the continuation; `code` for code outside of one. */
  readonly name: string;
  /** Where the call was made: file, line and column. Null: not known. */
  readonly site: string | null;
  /** Where the continuation was created; null: not known, or it is code. */
  readonly createdAt: string | null;
  /** When it was found, in ms as of `now()` of the kernel. */
  readonly atMs: number;
  /** How often the same has been found since it was last reported. */
  readonly suppressed: number;
}

/**
 * Writes a finding as text, which ends with a newline.
 *
 * @internal
 */
export function findingText({ message, details }: Finding): string {
  return `kcont: ${[message, ...details].join('\n    ')}\n`;
}
