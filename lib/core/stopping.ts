/*
 * How a function that does not return to the event loop learns that it is to stop.
 *
 *   stop, halt, destroy, abort, on any thread
 *          |
 *          +--> on this CPU: a bit of the continuation's state
 *          +--> shared between CPUs: a bit in its control block, which the function's thread reads
 *
 * An AbortSignal cannot do that on another thread: its event is a message, which waits until the function has
 * returned.
 */

import { inPass } from './in-pass.ts';
import { KcontError, invalid, isA, traceFrom } from '../base/errors.ts';
import { Kcont } from './kcont.ts';

/** The runs of functions whose signal another CPU may abort. */
const runs = new WeakMap<AbortSignal, Kcont<unknown>>();

/**
 * Notes that a signal was made for the run of a continuation.
 *
 * @internal
 */
export function madeFor(signal: AbortSignal, kc: Kcont<unknown>): void {
  runs.set(signal, kc);
}

/**
 * Tells a function whether it has been asked to stop. Costs a load of memory, which other threads can write.
 *
 * @remarks
 * True from the `stop`, `halt` or `destroy` of the continuation, or the abort of the run, until the run has settled,
 * whichever thread asked for that. For loops that take long on a CPU of `kcont/cpu`, which cannot receive the event of
 * an AbortSignal before they have returned. A function that is asked to stop may go on; nothing else happens to it.
 *
 * Without an argument it is about the function on the stack, so it has to be called before the first `await`. After
 * that, pass what the function was given: the continuation, or the signal of `run`.
 *
 * @param of - the continuation, or the signal that the function was called with
 * @returns true: it should return soon; false: it should go on, or its run has settled
 * @throws KcontError EINVAL without an argument outside the function of a continuation or a run, and after an `await` in
 * it; EINVAL for a value that is neither a continuation nor an AbortSignal
 *
 * @example
 * ```ts
 * // A function of the CPU module: `controller.abort()` on the main thread ends the loop within a row.
 * export function total(rows: readonly Row[]): number {
 *   let sum = 0;
 *   for (const row of rows) {
 *     if (stopping()) break;
 *     sum += price(row);
 *   }
 *   return sum;
 * }
 * await wq.prilow.run(total, { arg: rows, signal: controller.signal });
 * ```
 *
 * @public
 */
export function stopping(of?: StoppableRun): boolean {
  if (of === undefined) {
    const current = inPass.dispatcher?.current;
    if (current?.running === true) return current.stopping;
    const what =
      'stopping() without an argument must be called by a function before its first await';
    throw traceFrom(stopping, new KcontError('EINVAL', what));
  }
  if (isA(of, Kcont)) return of.stopping;
  if (!isA(of, AbortSignal)) {
    throw traceFrom(stopping, invalid('the argument', 'a Kcont or an AbortSignal', of));
  }
  return of.aborted || runs.get(of)?.stopping === true;
}

/**
 * What {@link stopping} can be asked about: a continuation, or the signal that a function was called with.
 *
 * @public
 */
export type StoppableRun = Pick<Kcont<never>, 'stopping'> | AbortSignal;
