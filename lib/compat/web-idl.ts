/*
 * How the web's interfaces convert what they are given, as far as the drop-in APIs need it (Web IDL).
 * What cannot be converted is a TypeError.
 */

import { show } from '../base/errors.ts';

/** A dictionary: undefined and null are empty ones. */
export function toDictionary<T extends object>(value: T | null | undefined, name: string): T {
  if (value === undefined || value === null) return {} as T;
  if (typeof value !== 'object' && typeof value !== 'function') {
    throw new TypeError(`${name} must be an object, got ${show(value)}`);
  }
  return value;
}

/** A callback function. */
export function toCallback<F>(value: F, name: string): F {
  if (typeof value !== 'function') {
    throw new TypeError(`${name} must be a function, got ${show(value)}`);
  }
  return value;
}

/** A DOMString; a symbol is none. */
export function toText(value: unknown): string {
  if (typeof value === 'symbol') throw new TypeError('a symbol cannot be a string');
  return String(value);
}

/** A value of an enumeration. */
export function toEnum<T extends string>(value: unknown, allowed: readonly T[], name: string): T {
  const text = toText(value) as T;
  if (allowed.includes(text)) return text;
  throw new TypeError(`${name} must be one of ${allowed.join(', ')}, got ${show(value)}`);
}

/** An AbortSignal. */
export function toSignal(value: unknown, name: string): AbortSignal {
  if (!(value instanceof AbortSignal)) {
    throw new TypeError(`${name} must be an AbortSignal, got ${show(value)}`);
  }
  return value;
}

/** A sequence: an object that can be iterated. */
export function toSequence<T, U>(value: Iterable<T>, name: string, convert: (item: T) => U): U[] {
  const iterable: unknown = value;
  if (typeof iterable !== 'object' || iterable === null || !(Symbol.iterator in iterable)) {
    throw new TypeError(`${name} must be iterable, got ${show(value)}`);
  }
  return Array.from(value, convert);
}

/** An `[EnforceRange] unsigned long long`: a whole number from 0 to 2^53−1, cut off. */
export function toCount(value: unknown, name: string): number {
  const count = typeof value === 'bigint' ? NaN : Math.trunc(Number(value));
  if (!(count >= 0 && count <= Number.MAX_SAFE_INTEGER)) {
    throw new TypeError(`${name} must be a number from 0 to 2^53-1, got ${show(value)}`);
  }
  return count;
}
