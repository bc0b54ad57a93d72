/*
 * Questions to a client or a pool of the user. How it reads values is its own matter, and so is whether it renames
 * columns: an answer is one value, JSON as text, under a name of one word.
 */

import { KcontError, causedBy, show } from '../../base/errors.ts';
import type { DurableClient } from '../backend.ts';

/**
 * Asks the database for one value.
 *
 * @param client - a client or a pool, which may be anything that has a method `query`
 * @param value - an expression of SQL
 * @param values - the values of its parameters
 * @param from - what it is selected from, if anything
 * @returns a promise of the value, rejected with the error of the database; with KcontError EINVAL if the client does
 * not do what one of `pg` does
 *
 * @internal
 */
export async function ask<T>(
  client: DurableClient,
  value: string,
  values: unknown[],
  from?: string,
): Promise<T> {
  const text = `select to_json(${value})::text as answer${from === undefined ? '' : ` from ${from}`}`;
  return read(await query(client, text, values)) as T;
}

/** The promise of a client, in an object of this library: what it is may be anything. */
function query(client: DurableClient, text: string, values: unknown[]): Promise<unknown> {
  let isPromise: boolean;
  let answered: unknown;
  try {
    answered = client.query(text, values);
    isPromise = typeof (answered as { then?: unknown } | null | undefined)?.then === 'function';
  } catch (error) {
    throw causedBy(unusable('threw'), error);
  }
  if (!isPromise) throw unusable(`returned ${show(answered)}`);
  return answered as Promise<unknown>;
}

function read(result: unknown): unknown {
  try {
    const { answer } = (result as { rows: [{ answer: unknown }] }).rows[0];
    if (typeof answer === 'string') return JSON.parse(answer);
  } catch (error) {
    throw causedBy(unusable('returned no result'), error);
  }
  throw unusable('returned another result');
}

function unusable(what: string): KcontError {
  return new KcontError('EINVAL', `client must be a client of pg, but its method query ${what}`);
}
