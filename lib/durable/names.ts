/*
 * Names that are stored: of continuations, handlers, locks and nodes. The limits are those of the smallest
 * column that has to hold the name.
 */

import { KcontError, show } from '../base/errors.ts';
import { kindOf, type Kind } from '../base/options-check.ts';

function nameOf(most: number, pattern?: RegExp): (value: unknown) => boolean {
  return (value) =>
    typeof value === 'string' &&
    value !== '' &&
    value.length <= most &&
    !value.includes('\0') &&
    !/\p{Cs}/u.test(value) &&
    (pattern === undefined || pattern.test(value));
}

/**
 * The check of a continuation's name.
 *
 * @internal
 */
export const ID: Kind = kindOf('a string of 1 to 250 characters', nameOf(250));

/**
 * The check of a lock's name.
 *
 * @internal
 */
export const LOCK_NAME: Kind = kindOf(
  'null or a string of 1 to 100 characters',
  (value) => value === null || nameOf(100)(value),
);

/**
 * The check of a handler's name.
 *
 * @internal
 */
export const HANDLER: Kind = kindOf(
  "a string of 1 to 60 letters, digits and the signs - _ . : /, not beginning with 'kcont:'",
  (value) => nameOf(60, /^[\w.:/-]+$/)(value) && !String(value).startsWith('kcont:'),
);

/**
 * The check of a node's name.
 *
 * @internal
 */
export const NODE: Kind = kindOf(
  'a string of 1 to 60 letters, digits and the signs - _ . :',
  nameOf(60, /^[\w.:-]+$/),
);

/**
 * Creates the error for a node that is not known to the cluster.
 *
 * @internal
 */
export function neverUp(id: string, node: string | null): KcontError {
  return new KcontError('ENOENT', `${id}: there has never been a node ${show(node)}`);
}
