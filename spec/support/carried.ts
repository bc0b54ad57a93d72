// Checks of thrown values after they were sent to another thread.
import { expect } from 'chai';
import { isError } from '../../lib/cpu/messages/wire-error.ts';
import { CLASSES } from './hostile.ts';

/** The value of a property; undefined if it cannot be read. */
function read(value: object, key: string): unknown {
  try {
    return (value as Record<string, unknown>)[key];
  } catch {
    return undefined;
  }
}

/** The built-in class of a value. */
function classOf(value: object): string | undefined {
  // Subclasses come last.
  return Object.keys(CLASSES).findLast((name) => {
    try {
      return value instanceof (CLASSES[name] as new (message: string) => Error);
    } catch {
      return false;
    }
  });
}

/** Sends a value and compares it with the result, as far as both can be read. */
export function expectCarried(thrown: unknown, carry: (value: unknown) => unknown): void {
  compare(thrown, carry(thrown), new Set());
}

function compare(thrown: unknown, arrived: unknown, seen: Set<unknown>): void {
  if (!isError(thrown) || seen.has(thrown)) return;
  seen.add(thrown);
  expect(arrived).to.be.an.instanceOf(Error);
  const error = arrived as Error;
  const made = classOf(thrown);
  if (made !== undefined) expect(classOf(error)).to.equal(made);
  for (const key of ['message', 'name'] as const) {
    const value = read(thrown, key);
    if (typeof value === 'string' && value !== '') expect(error[key], key).to.equal(value);
    else expect(error[key], key).to.be.a('string');
  }
  expect(error.stack).to.be.a('string');
  for (const key of Object.getOwnPropertyNames(thrown)) {
    if (['message', 'name', 'stack'].includes(key)) continue;
    const value = read(thrown, key);
    const isPlain = ['string', 'number', 'boolean', 'bigint'].includes(typeof value);
    if (isPlain) expect(read(error, key), key).to.deep.equal(value);
    else compare(value, read(error, key), seen);
  }
}

/** The causes of an error, the nearest first. */
export function causesOf(error: unknown): unknown[] {
  const causes: unknown[] = [];
  for (let at = error; at instanceof Error && at.cause !== undefined;) {
    at = at.cause;
    causes.push(at);
  }
  return causes;
}
