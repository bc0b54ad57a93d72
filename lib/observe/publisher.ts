/*
 * Publishes what happens on a kernel on channels of node:diagnostics_channel.
 *
 *   scheduled, expired, stopped, failed --> queue --+
 *   entered, settled ----------------------> queue --+--> subscribers
 *
 * A subscriber may call everything. But some of these things happen while the library has half changed its
 * lists, or the state of a timer or a rate limit that is built on a continuation. So messages are queued, and
 * published, in order, where any function of a user might be called: when a function is about to be entered,
 * and when one has settled. What is left is published in the next microtask. What subscribers cause is
 * published by the next of these, at the latest in the next iteration of the event loop: two subscribers that
 * cause each other's messages neither exhaust the stack nor block the loop.
 *
 * The messages of a run are not queued: its function is called in the contexts that are bound to `start`.
 *
 * While nobody subscribes, each event costs the check of one channel.
 */

import { channel, tracingChannel, type Channel } from 'node:diagnostics_channel';
import { microtask, real } from '../base/host-functions.ts';
import type { Dispatcher } from '../core/dispatcher.ts';
import type { Kcont, KcontFunction } from '../core/kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import { PENDING, REMOTE, TASK } from '../core/state.ts';
import { TICKS_PER_MS } from '../time/timing-wheel.ts';
import {
  Entered,
  Failed,
  Message,
  Run,
  Scheduled,
  Settled,
  type StallMessage,
} from './messages.ts';
import { ask, propagation, type TraceCarrier } from './propagator.ts';
import type { Stall } from './stall.ts';

// Node keeps channels weakly; these live as long as this module.
const schedule = channel('kcont:schedule');
const expire = channel('kcont:expire');
const enter = channel('kcont:enter');
const settle = channel('kcont:settle');
const stop = channel('kcont:stop');
const error = channel('kcont:error');
const stall = channel('kcont:stall');
const { start, end, asyncStart, asyncEnd, error: runError } = tracingChannel('kcont:run');

/** Whether somebody has subscribed to a channel of `kcont:run`. */
function isTraced(): boolean {
  return (
    start.hasSubscribers ||
    end.hasSubscribers ||
    asyncStart.hasSubscribers ||
    asyncEnd.hasSubscribers ||
    runError.hasSubscribers
  );
}

/**
 * Publishes a stall.
 *
 * @internal
 */
export function publishStall(kernel: Kernel, found: Stall): void {
  if (stall.hasSubscribers) stall.publish({ kernel, stall: found } satisfies StallMessage);
}

/** A job that other CPUs know: an entry of it is on several, and only its caller schedules it. */
const SHARED_JOB: number = REMOTE | TASK;

/**
 * Publishes what happens on one kernel.
 *
 * @internal
 */
export class Publisher {
  readonly #dispatcher: Dispatcher;
  readonly #channels: Channel[] = [];
  readonly #messages: Message[] = [];
  #isFlushing = false;
  readonly #flush: () => void;
  /** The contexts in which continuations were scheduled. */
  readonly #contexts = new WeakMap<Kcont<unknown>, unknown>();
  /** The runs that are traced: those whose function has not returned, and those that have not settled. */
  readonly #runs = new Map<Kcont<unknown>, Run>();
  readonly #asyncRuns = new Map<Kcont<unknown>, Run>();
  /** Those that have failed and have not settled. */
  readonly #failures = new Set<Kcont<unknown>>();
  /** What has just been thrown, and is about to be reported to the host. */
  #thrown: unknown = undefined;

  constructor(dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher;
    this.#flush = () => this.#publishAll();
  }

  /** `before`: its state bits before. */
  scheduled(kc: Kcont<unknown>, before: number): void {
    if ((kc._state & SHARED_JOB) === SHARED_JOB) return;
    const context = this.#capture();
    if (context !== undefined) this.#contexts.set(kc, context);
    else if (propagation.current !== null) this.#contexts.delete(kc);
    if (schedule.hasSubscribers) this.#addScheduled(kc, (before & PENDING) !== 0, context);
  }

  /** A job is sent to other CPUs. Returns its trace context, to be sent with it. */
  sent(kc: Kcont<unknown>): TraceCarrier | undefined {
    const context = this.#capture();
    if (schedule.hasSubscribers) this.#addScheduled(kc, false, context);
    const { current } = propagation;
    if (current === null || context === undefined) return undefined;
    return ask(this.#dispatcher, () => current.inject(context));
  }

  #capture(): unknown {
    const { current } = propagation;
    return current === null ? undefined : ask(this.#dispatcher, current.capture);
  }

  #addScheduled(kc: Kcont<unknown>, moved: boolean, context: unknown): void {
    const { deadline } = kc;
    const deadlineMs = Number.isNaN(deadline) ? null : deadline;
    this.#add(schedule, new Scheduled(kc, deadlineMs, moved, context));
  }

  expired(kc: Kcont<unknown>): void {
    if (expire.hasSubscribers) this.#add(expire, new Message(kc));
  }

  stopped(kc: Kcont<unknown>): void {
    if (propagation.current !== null) this.#contexts.delete(kc);
    if (!stop.hasSubscribers || (kc._state & SHARED_JOB) === SHARED_JOB) return;
    this.#add(stop, new Message(kc));
  }

  /** `waited`: for how many ticks it has been due; null: unknown. Returns the function to be called. */
  entered(
    kc: Kcont<unknown>,
    waited: number | null,
    func: KcontFunction<unknown>,
  ): KcontFunction<unknown> {
    if (this.#failures.size > 0) this.#failures.delete(kc);
    if (enter.hasSubscribers) {
      this.#publish(enter, new Entered(kc, msOf(waited)));
    } else if (this.#messages.length > 0) this.#publishAll();
    const { current } = propagation;
    if (isTraced()) return this.#traced(kc, new Run(kc, msOf(waited), this.#contextOf(kc)), func);
    if (current !== null) {
      const context = this.#contextOf(kc);
      if (context !== undefined) return (arg) => this.#call(context, func, arg, kc);
    }
    return error.hasSubscribers ? this.#noting(func) : func;
  }

  /** Takes the context in which a continuation was scheduled, or that another thread has sent. */
  #contextOf(kc: Kcont<unknown>): unknown {
    const { current } = propagation;
    if (current === null) return undefined;
    const carrier = kc._remote?.carrier;
    if (carrier !== undefined) return ask(this.#dispatcher, () => current.extract(carrier));
    const context = this.#contexts.get(kc);
    this.#contexts.delete(kc);
    return context;
  }

  /** Calls a function in a context, whatever the propagator does. */
  #call(context: unknown, func: KcontFunction<unknown>, arg: unknown, kc: Kcont<unknown>): unknown {
    const { current } = propagation;
    if (current === null || context === undefined) return func(arg, kc);
    let hasRun = false;
    let result: unknown;
    let failure: { readonly thrown: unknown } | undefined;
    const call = (): unknown => {
      if (hasRun) return result;
      hasRun = true;
      try {
        return (result = func(arg, kc));
      } catch (thrown) {
        failure = { thrown };
        throw thrown;
      }
    };
    try {
      current.run(context, call);
    } catch (thrown) {
      if (failure?.thrown !== thrown) this.#dispatcher.clock._raise(thrown);
    }
    if (!hasRun) return func(arg, kc);
    if (failure !== undefined) throw failure.thrown;
    return result;
  }

  /** Returns a function that publishes the start of a run. The hooks publish the rest. */
  #traced(kc: Kcont<unknown>, run: Run, func: KcontFunction<unknown>): KcontFunction<unknown> {
    this.#runs.set(kc, run);
    const noting = this.#noting(func);
    return (arg) => start.runStores(run, () => this.#call(run.context, noting, arg, kc));
  }

  /** Returns a function that notes what is thrown: the host gets it, and not the observer. */
  #noting(func: KcontFunction<unknown>): KcontFunction<unknown> {
    return (arg, kc) => {
      try {
        return func(arg, kc);
      } catch (thrown) {
        this.#thrown = thrown;
        throw thrown;
      }
    };
  }

  /** Its error is undefined if the host gets it. */
  failed(kc: Kcont<unknown>, given: unknown): void {
    const cause = given ?? this.#thrown;
    this.#thrown = undefined;
    this.#failures.add(kc);
    const run = this.#runs.get(kc) ?? this.#asyncRuns.get(kc);
    if (run !== undefined) run.error = cause;
    if (error.hasSubscribers) this.#add(error, new Failed(kc, cause));
  }

  /** Its function has returned a promise. */
  suspended(kc: Kcont<unknown>): void {
    const run = this.#runs.get(kc);
    if (run === undefined) return;
    this.#runs.delete(kc);
    this.#asyncRuns.set(kc, run);
    run.isAsync = true;
    end.publish(run);
  }

  /** `ran`: for how many ticks it has run; null: unknown. */
  settled(kc: Kcont<unknown>, enteredTick: number | null): void {
    const failed = this.#failures.size > 0 && this.#failures.delete(kc);
    if (settle.hasSubscribers) {
      const ran = enteredTick === null ? null : this.#dispatcher.presentTick() - enteredTick;
      if (this.#runs.size > 0 || this.#asyncRuns.size > 0) this.#endRun(kc, failed);
      this.#publish(settle, new Settled(kc, msOf(ran), failed));
      return;
    }
    if (this.#runs.size > 0 || this.#asyncRuns.size > 0) this.#endRun(kc, failed);
    if (this.#messages.length > 0) this.#publishAll();
  }

  #endRun(kc: Kcont<unknown>, failed: boolean): void {
    const run = this.#runs.get(kc) ?? this.#asyncRuns.get(kc);
    if (run === undefined) return;
    if (failed) runError.publish(run);
    if (this.#runs.delete(kc)) {
      end.publish(run);
      return;
    }
    this.#asyncRuns.delete(kc);
    asyncStart.publish(run);
    asyncEnd.publish(run);
  }

  #queue(to: Channel, message: Message): void {
    this.#channels.push(to);
    this.#messages.push(message);
  }

  /** Queues a message that may not be published yet. */
  #add(to: Channel, message: Message): void {
    if (this.#messages.length === 0 && !this.#isFlushing) microtask(this.#flush);
    this.#queue(to, message);
  }

  /** Publishes a message, after those that are queued. */
  #publish(to: Channel, message: Message): void {
    if (this.#messages.length > 0 || this.#isFlushing) {
      this.#queue(to, message);
      this.#publishAll();
      return;
    }
    // Most often nothing is queued.
    this.#isFlushing = true;
    to.publish(message);
    this.#isFlushing = false;
    if (this.#messages.length > 0) real.setImmediate(this.#flush);
  }

  /** Publishes what is queued now; what subscribers cause meanwhile is left for the next time. */
  #publishAll(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    const channels = this.#channels.splice(0);
    const messages = this.#messages.splice(0);
    for (const [index, message] of messages.entries()) channels[index]?.publish(message);
    this.#isFlushing = false;
    if (this.#messages.length > 0) real.setImmediate(this.#flush);
  }
}

function msOf(ticks: number | null): number | null {
  return ticks === null ? null : Math.max(0, ticks) / TICKS_PER_MS;
}
