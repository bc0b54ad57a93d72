/*
 * The names by which metrics are told apart: of workqueues and of continuations. Each combination of names is a
 * time series of its own, so their number has to be limited: a program may name each continuation after its user.
 */

import { integerOf, isObject, kindOf, type Kind } from '../base/options-check.ts';
import type { KcontMessage } from './messages.ts';

/** The name of all continuations whose name is one too many. */
const OTHER = '(other)';

/** The check of an option for their number. @internal */
export const MOST_NAMES: Kind = integerOf('an integer >= 0, or Infinity', 0, Infinity);

/**
 * The check of an option for an object of another package.
 *
 * @internal
 */
export function having(method: string, expected: string): Kind {
  return kindOf(expected, (value) => {
    return isObject(value) && typeof (value as Record<string, unknown>)[method] === 'function';
  });
}

/**
 * Tells names apart, as many as are allowed.
 *
 * @internal
 */
export class MetricNames {
  readonly #most: number;
  readonly #known = new Set<string>();

  constructor(most: number) {
    this.#most = most;
  }

  /** Returns the name of a continuation. */
  of({ name }: KcontMessage): string {
    if (this.#known.has(name)) return name;
    if (this.#known.size >= this.#most) return OTHER;
    this.#known.add(name);
    return name;
  }
}
