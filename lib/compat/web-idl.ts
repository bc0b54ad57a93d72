/*
 * The conversions of Web IDL that the drop-in APIs need. They throw a TypeError for a value that
 * cannot be converted.
 */

import { show } from '../base/errors.ts';

/** Converts to a dictionary. Undefined and null become an empty one. */
export function toDictionary<T extends object>(value: T | null | undefined, name: string): T {
  if (value === undefined || value === null) return {} as T;
  if (typeof value !== 'object' && typeof value !== 'function') {
    throw new TypeError(`${name} must be an object, got ${show(value)}`);
  }
  return value;
}

/** Converts to a callback function. */
export function toCallback<F>(value: F, name: string): F {
  if (typeof value !== 'function') {
    throw new TypeError(`${name} must be a function, got ${show(value)}`);
  }
  return value;
}

/** Converts to a DOMString. A symbol cannot be converted. */
export function toText(value: unknown): string {
  if (typeof value === 'symbol') throw new TypeError('a symbol cannot be a string');
  return String(value);
}

/** Converts to a value of an enumeration. */
export function toEnum<T extends string>(value: unknown, allowed: readonly T[], name: string): T {
  const text = toText(value) as T;
  if (allowed.includes(text)) return text;
  throw new TypeError(`${name} must be one of ${allowed.join(', ')}, got ${show(value)}`);
}

/** Converts to an AbortSignal. */
export function toSignal(value: unknown, name: string): AbortSignal {
  if (!(value instanceof AbortSignal)) {
    throw new TypeError(`${name} must be an AbortSignal, got ${show(value)}`);
  }
  return value;
}

/** Converts an iterable object to a sequence. */
export function toSequence<T, U>(value: Iterable<T>, name: string, convert: (item: T) => U): U[] {
  const iterable: unknown = value;
  if (typeof iterable !== 'object' || iterable === null || !(Symbol.iterator in iterable)) {
    throw new TypeError(`${name} must be iterable, got ${show(value)}`);
  }
  return Array.from(value, convert);
}

/** Converts to an `[EnforceRange] unsigned long long`: an integer from 0 to 2^53−1, truncated. */
export function toCount(value: unknown, name: string): number {
  const count = typeof value === 'bigint' ? NaN : Math.trunc(Number(value));
  if (!(count >= 0 && count <= Number.MAX_SAFE_INTEGER)) {
    throw new TypeError(`${name} must be a number from 0 to 2^53-1, got ${show(value)}`);
  }
  return count;
}
