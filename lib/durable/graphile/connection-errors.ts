import { KcontError, isA, show } from '../../base/errors.ts';

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
  // Errors of sockets have codes such as ECONNRESET; errors of pg itself have none.
  if (code === undefined || !/^[0-9A-Z]{5}$/.test(code)) return true;
  return code === 'KC002' || /^(?:08|57P|53300)/.test(code);
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
