/*
 * Arguments as JSON. `JSON.stringify` silently drops functions and undefined, and turns NaN into null and
 * dates into strings; here such a value is refused at the call, because the function would get another
 * value than the caller passed.
 */

import { KcontError, show } from '../base/errors.ts';

/**
 * A value that JSON can represent.
 *
 * @public
 */
export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [key: string]: Json };

/** The longest argument as JSON text, in UTF-16 code units. */
const LONGEST = 2 ** 20;
/** How deep an argument may be nested. */
const DEEPEST = 100;

/**
 * Returns an argument as JSON text; undefined for undefined.
 *
 * @throws KcontError EINVAL for a value that JSON cannot represent exactly, that is nested more than 100
 * levels deep, or whose text has more than 2^20 characters
 *
 * @internal
 */
export function toJson(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  let text: string;
  try {
    checkJson(value, 'arg', 0, { values: 0 });
    text = JSON.stringify(value);
  } catch (error) {
    if (error instanceof KcontError) throw error;
    throw refused('arg', 'an object that cannot be read');
  }
  if (text.length > LONGEST) throw tooLong(String(text.length));
  return text;
}

/**
 * Returns the value of a JSON text; undefined for undefined.
 *
 * @internal
 */
export function fromJson(text: string | undefined): unknown {
  return text === undefined ? undefined : (JSON.parse(text) as unknown);
}

/**
 * @param seen - how many values have been checked. Each is at least one character, so that what has too many need not be
 * looked through: an object that is found along many paths is checked on each of them
 */
function checkJson(value: unknown, path: string, depth: number, seen: { values: number }): void {
  if (++seen.values > LONGEST) throw tooLong('more');
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return;
  if (typeof value === 'number') {
    if (!Number.isFinite(value) || Object.is(value, -0)) {
      throw refused(path, Object.is(value, -0) ? '-0' : show(value));
    }
    return;
  }
  if (typeof value !== 'object') throw refused(path, show(value));
  if (depth === DEEPEST) throw refused(path, `a value nested ${DEEPEST} levels deep`);
  const prototype = Object.getPrototypeOf(value) as object | null;
  const isPlain = prototype === null || prototype === Object.prototype;
  if (Array.isArray(value)) {
    const items: readonly unknown[] = value;
    // Holes are undefined.
    for (let index = 0; index < items.length; index++) {
      checkJson(items[index], `${path}[${index}]`, depth + 1, seen);
    }
    if (Object.keys(value).length !== value.length) throw refused(path, 'an array with properties');
  } else if (isPlain) {
    if (Object.getOwnPropertySymbols(value).length > 0) {
      throw refused(path, 'an object with symbols');
    }
    for (const [key, item] of Object.entries(value))
      checkJson(item, `${path}.${key}`, depth + 1, seen);
  } else throw refused(path, show(value));
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') {
    throw refused(path, 'an object with a method toJSON');
  }
}

function tooLong(got: string): KcontError {
  return new KcontError(
    'EINVAL',
    `arg must have at most ${LONGEST} characters as JSON, got ${got}`,
  );
}

function refused(path: string, got: string): KcontError {
  return new KcontError('EINVAL', `${path} must be a JSON value, got ${got}`);
}
