import { constants } from 'node:os';
import { KcontError, isA, show } from '../../base/errors.ts';

/** The codes of the system. */
const { errno } = constants;

/**
 * How often a node gives a sign of life, in ms.
 *
 * @internal
 */
export const BEAT_MS = 500;

/**
 * Whether an error means that a connection is lost, or that the session is no longer valid; other errors are
 * answers of the database, and the connection can be used again.
 *
 * @internal
 */
export function isConnectionError(error: unknown): boolean {
  const code = codeOf(error);
  return !isAnswer(code) || code === 'KC002' || /^(?:08|57P|53300)/.test(code);
}

/**
 * Whether a code is one of the database. Errors of sockets have others, such as ECONNRESET, or EPIPE, which only looks like one;
 * those of pg have none.
 */
function isAnswer(code: string | undefined): code is string {
  return code !== undefined && /^[0-9A-Z]{5}$/.test(code) && !Object.hasOwn(errno, code);
}

/**
 * Whether a connection that could not be made may be made later: the server has none free or is starting, the network is
 * down, or it took longer than it may.
 *
 * @internal
 */
export function isPassing(error: unknown): boolean {
  const code = codeOf(error);
  return !isAnswer(code) || /^(?:08|57P03|53300)/.test(code);
}

/**
 * Whether a statement can be executed again after an error: a conflict with another transaction.
 *
 * @internal
 */
export function isConflict(error: unknown): boolean {
  return /^40(?:001|P01)$/.test(codeOf(error) ?? '');
}

/**
 * Whether a prepared statement cannot be executed any more, because what it returns has changed.
 *
 * @internal
 */
export function isStale(error: unknown): boolean {
  return codeOf(error) === '0A000';
}

/**
 * Whether a statement has waited for a lock for longer than it may.
 *
 * @internal
 */
export function isLockTimeout(error: unknown): boolean {
  return codeOf(error) === '55P03';
}

/**
 * Whether a limit of the role for idle or long transactions has ended a connection.
 *
 * @internal
 */
export function isLimit(error: unknown): boolean {
  return /^25P0[34]$/.test(codeOf(error) ?? '');
}

/**
 * Whether the database has refused a statement because the node was cut off.
 *
 * @internal
 */
export function isFenced(error: unknown): boolean {
  return codeOf(error) === 'KC002';
}

function codeOf(error: unknown): string | undefined {
  try {
    const { code } = (error ?? {}) as { code?: unknown };
    return typeof code === 'string' ? code : undefined;
  } catch {
    // A function may have thrown anything.
    return undefined;
  }
}

/**
 * Creates the error for a run that its node has lost.
 *
 * @internal
 */
export function asDied(node: string, error: unknown): KcontError {
  const why = isA(error, Error) ? error.message : show(error);
  const died = new KcontError('ECPUDIED', `node ${node} was cut off: ${why}`);
  died.cause = error;
  return died;
}
