import { invalid } from '../../errors.ts';

/**
 * Throws KcontError EINVAL for what is neither a count nor Infinity.
 *
 * @internal
 */
export function checkCount(name: string, value: number | undefined, least: number): void {
  if (value === undefined || value === Infinity || (Number.isInteger(value) && value >= least)) {
    return;
  }
  throw invalid(name, `an integer >= ${least} or Infinity`, value);
}

/**
 * Throws KcontError EINVAL for what is no deadline.
 *
 * @internal
 */
export function checkDeadline(deadlineMs: number | undefined): void {
  if (deadlineMs === undefined || (deadlineMs > 0 && deadlineMs <= Number.MAX_SAFE_INTEGER)) return;
  throw invalid('deadlineMs', 'a number of ms > 0, to 2^53-1', deadlineMs);
}

/**
 * Throws KcontError EINVAL for what is no signal.
 *
 * @internal
 */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal === undefined || signal instanceof AbortSignal) return;
  throw invalid('signal', 'an AbortSignal', signal);
}
