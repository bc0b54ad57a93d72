/*
 * timers/promises over the timers of a kernel.
 *
 * Arguments that are wrong, and signals that are aborted already, are handed to Node's own
 * function: it rejects with its own error.
 */

import * as host from 'node:timers/promises';
import { join, leave } from '../../base/abort-listeners.ts';
import { named } from '../function-name.ts';
import { delayMs, type DelayRules } from './delay.ts';
import { Immediate } from './immediate.ts';
import { Timeout } from './timeout.ts';
import type { PhaseQueues } from './phase-queues.ts';
import { nothing } from '../../base/nothing.ts';

/**
 * What a promise of a timer may be told.
 *
 * @public
 */
export interface TimerOptions {
  /** False: the timer does not keep the process alive. Default true. */
  ref?: boolean | undefined;
  /** Aborted: the timer is cleared, and its promise rejected with an AbortError. */
  signal?: AbortSignal | undefined;
}

/**
 * `scheduler` of `node:timers/promises`.
 *
 * @public
 */
export interface Scheduler {
  /** Waits for `delay` ms: `setTimeout` without a value. */
  wait(delay: number, options?: TimerOptions): Promise<void>;
  /** Lets others run: `setImmediate` without a value. */
  yield(): Promise<void>;
}

/**
 * The functions of `node:timers/promises`.
 *
 * @remarks
 * Their promises are rejected with KcontError ESHUTDOWN when the kernel is closed: in the grace of
 * `Kernel.close` they go on until the last run in flight has settled.
 *
 * @public
 */
export interface TimersPromises {
  /** A promise that is fulfilled with a value when a delay is over, 1 ms by default. */
  setTimeout<T = void>(delay?: number, value?: T, options?: TimerOptions): Promise<T>;
  /** A promise that is fulfilled with a value after the I/O that has arrived. */
  setImmediate<T = void>(value?: T, options?: TimerOptions): Promise<T>;
  /** Yields a value every `delay` ms, 1 by default; values that were not asked for wait. */
  setInterval<T = void>(
    delay?: number,
    value?: T,
    options?: TimerOptions,
  ): AsyncGenerator<T, void, undefined>;
  /** The part of the Scheduling APIs that Node has. */
  readonly scheduler: Scheduler;
}

/** As Node's, whose class is not exported. */
class AbortError extends Error {
  readonly code = 'ABORT_ERR';

  constructor(signal: AbortSignal) {
    super('The operation was aborted', { cause: signal.reason });
    this.name = 'AbortError';
  }
}

/** Whether Node's own function would reject at once. */
function rejects(delay: unknown, options: TimerOptions): boolean {
  if (delay !== undefined && typeof delay !== 'number') return true;
  if (typeof options !== 'object' || options === null || Array.isArray(options)) return true;
  const { ref, signal } = options;
  if (ref !== undefined && typeof ref !== 'boolean') return true;
  if (signal === undefined) return false;
  return typeof signal !== 'object' || signal === null || !('aborted' in signal) || signal.aborted;
}

/** Calls `clear` and rejects if the signal is aborted; the result is to be disposed before. */
function onAbort(
  signal: AbortSignal | undefined,
  clear: () => void,
  reject: (reason: AbortError) => void,
): Disposable | undefined {
  if (signal === undefined) return undefined;
  const member = {
    _abort: (): void => {
      clear();
      reject(new AbortError(signal));
    },
  };
  join(signal, member);
  return { [Symbol.dispose]: () => leave(signal, member) };
}

/**
 * A promise of a value by a timer, which is cleared when the signal is aborted.
 *
 * @param make - makes the timer, to call one of its arguments; returns it, and what clears it
 */
function promised<T>(
  value: T,
  { signal, ref }: TimerOptions,
  make: (
    fulfil: () => void,
    fail: (reason: unknown) => void,
  ) => [timer: Timeout | Immediate, clear: () => void],
): Promise<T> {
  return new Promise((resolve, reject) => {
    const fulfil = (): void => {
      listening?.[Symbol.dispose]();
      resolve(value);
    };
    const fail = (reason: unknown): void => {
      listening?.[Symbol.dispose]();
      reject(reason);
    };
    const [timer, clear] = make(fulfil, fail);
    if (ref === false) timer.unref();
    const listening = onAbort(signal, clear, reject);
  });
}

/**
 * Makes the functions for one kernel.
 *
 * @internal
 */
export function promisesOn(queues: PhaseQueues, rules: DelayRules): TimersPromises {
  function setTimeout<T = void>(delay?: number, value?: T, options: TimerOptions = {}): Promise<T> {
    if (rejects(delay, options)) return host.setTimeout(delay, value, options);
    return promised(value as T, options, (fulfil, fail) => {
      const ms = delayMs(delay, rules);
      const timer = Timeout._make(queues, fulfil, ms, undefined, false, fail);
      return [timer, () => timer.close()];
    });
  }

  function setImmediate<T = void>(value?: T, options: TimerOptions = {}): Promise<T> {
    if (rejects(undefined, options)) return host.setImmediate(value, options);
    return promised(value as T, options, (fulfil, fail) => {
      const immediate = Immediate._make(queues, fulfil, undefined, fail);
      return [immediate, () => immediate._clear()];
    });
  }

  async function* setInterval<T = void>(
    delay?: number,
    value?: T,
    options: TimerOptions = {},
  ): AsyncGenerator<T, void, undefined> {
    if (rejects(delay, options)) {
      yield* host.setInterval(delay, value, options) as AsyncIterable<T>;
      return;
    }
    const { signal, ref } = options;
    let waiting = 0;
    let wake = nothing;
    const wakeUp = (): void => {
      const woken = wake;
      wake = nothing;
      woken();
    };
    const tick = (): void => {
      waiting++;
      wakeUp();
    };
    let failure: { readonly reason: unknown } | undefined;
    const fail = (reason: unknown): void => {
      failure ??= { reason };
      wakeUp();
    };
    const timer = Timeout._make(queues, tick, delayMs(delay, rules), undefined, true, fail);
    if (ref === false) timer.unref();
    const listening = onAbort(signal, () => timer.close(), fail);
    try {
      for (;;) {
        for (; waiting > 0; waiting--) yield value as T;
        if (failure !== undefined) throw failure.reason;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      timer.close();
      listening?.[Symbol.dispose]();
    }
  }

  class Scheduler {
    constructor() {
      // Throws: there is but the one.
      Reflect.construct(host.scheduler.constructor, []);
    }

    wait(delay: number, options?: TimerOptions): Promise<void> {
      // Throws for another receiver.
      if (this !== scheduler) return host.scheduler.wait.call(this, delay, options as object);
      return setTimeout(delay, undefined, options);
    }

    yield(): Promise<void> {
      if (this !== scheduler) return host.scheduler.yield.call(this);
      return setImmediate();
    }
  }
  const scheduler = Object.create(Scheduler.prototype) as Scheduler;

  return {
    setTimeout: named('setTimeout', setTimeout),
    setImmediate: named('setImmediate', setImmediate),
    setInterval: named('setInterval', setInterval),
    scheduler,
  };
}
