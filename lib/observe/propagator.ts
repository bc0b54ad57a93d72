/*
 * Trace contexts: which span the code that scheduled a continuation was in. The library knows none; a propagator
 * reads the present one, and enters one. It is kept beside the handle, and only while there is a propagator.
 *
 *   schedule   capture() -------- kept ------------> run(context, …)   the function is entered
 *   run()      capture(), inject() -- to the thread --> extract(), run(context, …)   of a job on another CPU
 */

import { checkFunction, invalid, traceFrom } from '../base/errors.ts';
import { isObject } from '../base/options-check.ts';
import type { Dispatcher } from '../core/dispatcher.ts';

/**
 * A trace context in the form in which it is sent to another thread, such as `{ traceparent: '00-…' }` of W3C
 * Trace Context.
 *
 * @public
 */
export type TraceCarrier = Readonly<Record<string, string>>;

/**
 * Reads and enters trace contexts, for {@link propagate}. What one of its functions throws is reported as an
 * uncaught exception, and the continuation goes on without a context.
 *
 * @public
 */
export interface Propagator {
  /** Returns the context of the caller, who schedules a continuation; undefined: it has none. */
  capture: () => unknown;
  /** Calls a function in a context, and returns its result. */
  run: (context: unknown, call: () => unknown) => unknown;
  /** Makes a context ready to be sent to another thread; undefined: it is not sent. */
  inject: (context: unknown) => TraceCarrier | undefined;
  /** Returns the context that was sent by another thread; undefined: there is none. */
  extract: (carrier: TraceCarrier) => unknown;
}

const NAMES = ['capture', 'run', 'inject', 'extract'] as const;

/** That of this thread. @internal */
export const propagation: { current: Propagator | null } = { current: null };

/**
 * Has trace contexts follow continuations on this thread: the function of each runs in the context in which it was
 * scheduled last, also if a job of `run` is run on another CPU whose thread has a propagator too.
 *
 * @remarks
 * There is one propagator per thread, which a further call replaces. `kcont/otel` installs one.
 *
 * @param propagator - reads and enters contexts
 * @returns a function that removes it, unless it has been replaced. Contexts that were captured are dropped
 * @throws KcontError EINVAL for anything but an object of four functions, which are called without `this`
 *
 * @public
 */
export function propagate(propagator: Propagator): () => void {
  if (!isObject(propagator)) {
    throw traceFrom(propagate, invalid('propagator', 'an object of four functions', propagator));
  }
  // Read once: a getter may return something else the next time.
  const { capture, run, inject, extract } = propagator;
  const current = { capture, run, inject, extract };
  for (const name of NAMES) checkFunction(current[name], `${name} of the propagator`, propagate);
  propagation.current = current;
  return () => {
    if (propagation.current === current) propagation.current = null;
  };
}

/**
 * Calls a function of the propagator, and reports what it throws.
 *
 * @internal
 */
export function ask<T>(dispatcher: Dispatcher, call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    dispatcher.clock._raise(error);
    return undefined;
  }
}
