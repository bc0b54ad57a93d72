/*
 * timers/promises over the timers of a kernel.
 *
 * Calls with invalid arguments or with a signal that is already aborted are passed to Node's own
 * function, which rejects with its own error.
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
 * Options of the functions that return promises.
 *
 * @public
 */
export interface TimerOptions {
  /** Whether the timer keeps the process alive. Default true. */
  ref?: boolean | undefined;
  /** When aborted, the timer is cleared and its promise rejected with an AbortError. */
  signal?: AbortSignal | undefined;
}

/**
 * `scheduler` of `node:timers/promises`.
 *
 * @public
 */
export interface Scheduler {
  /** Waits for `delay` ms, like `setTimeout` without a value. */
  wait(delay: number, options?: TimerOptions): Promise<void>;
  /** Yields to the event loop, like `setImmediate` without a value. */
  yield(): Promise<void>;
}

/**
 * The functions of `node:timers/promises`.
 *
 * @remarks
 * Their promises are rejected with KcontError ESHUTDOWN when the kernel is closed. During the grace
 * period of `Kernel.close` they work until the last run in flight has settled.
 *
 * @public
 */
export interface TimersPromises {
  /** Returns a promise that is fulfilled with a value after a delay, 1 ms by default. */
  setTimeout<T = void>(delay?: number, value?: T, options?: TimerOptions): Promise<T>;
  /** Returns a promise that is fulfilled with a value after the callbacks of I/O that has arrived. */
  setImmediate<T = void>(value?: T, options?: TimerOptions): Promise<T>;
  /** Yields a value every `delay` ms, 1 by default. Values that are not consumed in time are queued. */
  setInterval<T = void>(
    delay?: number,
    value?: T,
    options?: TimerOptions,
  ): AsyncGenerator<T, void, undefined>;
  /** The part of the Scheduling APIs that Node implements. */
  readonly scheduler: Scheduler;
}

/** Copies Node's AbortError, whose class is not exported. */
class AbortError extends Error {
  readonly code = 'ABORT_ERR';

  constructor(signal: AbortSignal) {
    super('The operation was aborted', { cause: signal.reason });
    this.name = 'AbortError';
  }
}

/** Tells whether Node's own function would reject at once. */
function rejects(delay: unknown, options: TimerOptions): boolean {
  if (delay !== undefined && typeof delay !== 'number') return true;
  if (typeof options !== 'object' || options === null || Array.isArray(options)) return true;
  const { ref, signal } = options;
  if (ref !== undefined && typeof ref !== 'boolean') return true;
  if (signal === undefined) return false;
  return typeof signal !== 'object' || signal === null || !('aborted' in signal) || signal.aborted;
}

/** Calls `clear` and `reject` when the signal is aborted, until the result is disposed. */
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
 * Creates a promise that a timer settles. The timer is cleared when the signal is aborted.
 *
 * @param make - creates a timer that calls one of the two arguments; returns it and a function that
 * clears it
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
 * Creates the functions of a kernel.
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
      // Node's constructor throws its own error, because the class cannot be constructed.
      Reflect.construct(host.scheduler.constructor, []);
    }

    wait(delay: number, options?: TimerOptions): Promise<void> {
      // Node's method throws its own error for a receiver that is not the scheduler.
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
