/*
 * Names of locks. They are kept beside the locks, so that a lock without a name has no field for it: most
 * locks belong to one connection or one record, and have none.
 */

import { NAME, optionsOf, readOptions } from '../base/options-check.ts';
import type { Caller } from '../base/errors.ts';

/**
 * Optional settings of a lock.
 *
 * @public
 */
export interface LockOptions {
  /** Shown in reports and by `util.inspect`; not empty. By default the lock has no name. */
  name?: string;
}

const OPTIONS = optionsOf<LockOptions>('Lock', { name: NAME });

const names = new WeakMap<object, string>();

/**
 * Checks the options of a new lock.
 *
 * @returns its name; undefined: it has none
 *
 * @internal
 */
export function readName(options: LockOptions | undefined, caller: Caller): string | undefined {
  return options === undefined ? undefined : readOptions(options, OPTIONS, caller).name;
}

/**
 * Names a lock, or one side of a lock.
 *
 * @internal
 */
export function nameLock(lock: object, name: string | undefined): void {
  if (name !== undefined) names.set(lock, name);
}

/**
 * Returns the name of a lock; empty if it has none.
 *
 * @internal
 */
export function nameOf(lock: object): string {
  return names.get(lock) ?? '';
}

/**
 * Returns a title for `util.inspect`: the class, and the name if there is one.
 *
 * @internal
 */
export function titled(made: string, lock: object): string {
  return `${made} ${nameOf(lock)}`.trimEnd();
}
