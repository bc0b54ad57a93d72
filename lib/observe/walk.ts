/*
 * Finds everything that a kernel has in hand on this thread: running, queued, pending, and what other CPUs
 * have of the continuations that this CPU knows.
 */

import { startMark } from '../base/ordered-list.ts';
import type { Dispatcher } from '../core/dispatcher.ts';
import { Kcont } from '../core/kcont.ts';
import {
  ASIDE_QUEUE,
  LIMIT_QUEUE,
  LOCK_QUEUE,
  RUN_QUEUE,
  isSetAside,
  visitQueued,
  visitRunnable,
  visitWaiters,
  type Place,
} from '../core/queued.ts';
import { PENDING, QUEUED, RUNNING, SCHEDULED } from '../core/state.ts';
import { contended, type Turnstile, type Waiter } from '../locks/turnstile.ts';
import { commonMs, nextTurn } from '../time/host-clock.ts';
import type { WheelWalk } from '../time/wheel-walk.ts';
import {
  PENDING_ROLE,
  RUNNABLE,
  RUNNING_ROLE,
  WAITS_FOR_CPU,
  WAITS_FOR_LIMIT,
  WAITS_FOR_LOCK,
  WAITS_FOR_RUN,
  type Role,
} from './list-entry.ts';
import type { KernelObserver } from './kernel-observer.ts';
import { numberOf } from './numbers.ts';

/** How long a slice may take before the event loop goes on, in ms. */
const SLICE_MS = 2;
/** How far apart two readings of the clock should be, in ms, and in parts of the work. */
const LOOK_MS = 0.1;
const LOOK = 64;

const ROLES: Readonly<Record<Place, Role>> = {
  [RUN_QUEUE]: RUNNABLE,
  [LIMIT_QUEUE]: WAITS_FOR_LIMIT,
  [LOCK_QUEUE]: WAITS_FOR_LOCK,
  [ASIDE_QUEUE]: WAITS_FOR_RUN,
};

/**
 * The runs in flight on this CPU, the one on the stack last.
 *
 * @internal
 */
export function* running(dispatcher: Dispatcher): Generator<Kcont<unknown>, void, undefined> {
  for (const { kc } of dispatcher.asyncRuns) yield kc;
  const { current } = dispatcher;
  // After it has settled, it is still the current one until the next is entered.
  if (current !== undefined && (current._state & RUNNING) !== 0) yield current;
}

/** The same, for 100,000 of them. */
function eachRunning(
  { asyncRuns, current }: Dispatcher,
  visit: (kc: Kcont<unknown>) => void,
): void {
  asyncRuns.forEach(({ kc }) => visit(kc));
  if (current !== undefined && (current._state & RUNNING) !== 0) visit(current);
}

/**
 * Calls a function for each continuation in hand, running ones first, PENDING ones last.
 *
 * @internal
 */
export function walk(
  dispatcher: Dispatcher,
  visit: (kc: Kcont<unknown>, role: Role) => void,
): void {
  walkActive(dispatcher, visit);
  for (const kc of dispatcher.wheel.all()) visit(kc, PENDING_ROLE);
}

/**
 * Does work in slices, between which the event loop goes on. What a part of the work takes differs a hundredfold: 2 us
 * for an entry, 20 before its code is compiled, 100 in debug mode. So the clock is read after as many parts as took
 * about a tenth of a ms before.
 *
 * @internal
 */
export class Slices {
  #lookedMs = commonMs();
  #untilMs = this.#lookedMs + SLICE_MS;
  /** After how many parts the clock is read, and how many of them are left. */
  #parts = 1;
  #left = 1;

  /** Whether the slice is over. */
  get isOver(): boolean {
    return commonMs() >= this.#untilMs;
  }

  /** The same, to be called after each part of the work. */
  get isOverSoon(): boolean {
    if (--this.#left > 0) return false;
    const nowMs = commonMs();
    const tookMs = nowMs - this.#lookedMs;
    const fitting = Math.floor((this.#parts * LOOK_MS) / tookMs);
    this.#parts = Math.max(1, Math.min(fitting, this.#parts * 2, LOOK));
    this.#left = this.#parts;
    this.#lookedMs = nowMs;
    return nowMs >= this.#untilMs;
  }

  /** Waits for the next turn of the event loop. */
  async next(): Promise<void> {
    await nextTurn();
    this.#lookedMs = commonMs();
    this.#untilMs = this.#lookedMs + SLICE_MS;
  }
}

/** Notes which continuations were found: a bit for each, in words by their numbers divided by 32. */
class Found {
  readonly #words = new Map<number, number>();

  /** Whether it was not found before. */
  add(kc: Kcont<unknown>): boolean {
    const number = numberOf(kc);
    const word = this.#words.get(number >>> 5) ?? 0;
    const bit = 1 << (number & 31);
    this.#words.set(number >>> 5, word | bit);
    return (word & bit) === 0;
  }
}

/**
 * Those who are PENDING in the wheel of a CPU, in no particular order, while it changes: each that is so from the
 * beginning to the end once, another one at most once.
 *
 * @internal
 */
export class PendingWalk {
  readonly #walk: WheelWalk<Kcont<unknown>>;
  readonly #found = new Found();

  constructor({ wheel }: Dispatcher) {
    this.#walk = wheel.walk();
  }

  /** Looks at one more. Null: it is not PENDING any more, or was found before; undefined: there are no more. */
  next(): Kcont<unknown> | null | undefined {
    const kc = this.#walk.next();
    if (kc === undefined) return undefined;
    return (kc._state & PENDING) !== 0 && this.#found.add(kc) ? kc : null;
  }

  /** Ends it before it has found all. */
  end(): void {
    this.#walk.end();
  }
}

/** How many entries of a list are visited in a step. */
const STEP = 4096;

/**
 * The same as {@link walkActive} and {@link visitCode}, in steps of about a ms, between which everything may change: each
 * that stays where it is, is visited once. Only what is runnable is visited in one step, because it does not stay.
 *
 * @param visitWaiting - called for code that awaits a lock
 *
 * @internal
 */
export function* walkActiveInSteps(
  observer: KernelObserver,
  visit: (kc: Kcont<unknown>, role: Role) => void,
  visitWaiting: (waiter: Waiter) => void,
): Generator<void, void, undefined> {
  const { dispatcher } = observer;
  yield* walkRunsInSteps(observer, visit);
  const found = new Found();
  const visitOnce = (kc: Kcont<unknown>, place: Place): void => {
    if (found.add(kc)) visit(kc, roleAt(kc, place));
  };
  visitRunnable(dispatcher, (kc) => visitOnce(kc, RUN_QUEUE));
  for (const { _waiting: waiting } of dispatcher.queues) {
    const mark = startMark();
    while (waiting.visitAfter(mark, STEP, (kc) => visitOnce(kc, LIMIT_QUEUE))) yield;
  }
  const turnstiles: Turnstile[] = [];
  contended.forEach((turnstile) => turnstiles.push(turnstile));
  let looked = 0;
  for (const { queues } of turnstiles) {
    for (const waiters of queues) {
      const mark = startMark();
      const visitWaiter = (waiter: Waiter): void => {
        if (!(waiter instanceof Kcont)) visitWaiting(waiter);
        else if (waiter._wq._dispatcher === dispatcher) visitOnce(waiter, LOCK_QUEUE);
      };
      while (waiters.visitAfter(mark, STEP, visitWaiter)) yield;
    }
    if (++looked % LOOK === 0) yield;
  }
  const { cpuLink } = dispatcher;
  if (cpuLink !== null) for (const kc of cpuLink.known()) visitShared(kc, visit);
}

/**
 * The runs in flight on this CPU, and those of them that are scheduled again, in steps between which they may change.
 *
 * @internal
 */
export function* walkRunsInSteps(
  observer: KernelObserver,
  visit: (kc: Kcont<unknown>, role: Role) => void,
): Generator<void, void, undefined> {
  const { dispatcher, runs } = observer;
  const { current } = dispatcher;
  const visitRun = (kc: Kcont<unknown>): void => {
    visit(kc, RUNNING_ROLE);
    if (isSetAside(kc)) visit(kc, WAITS_FOR_RUN);
  };
  const isRunning = current !== undefined && (current._state & RUNNING) !== 0;
  let active = 0;
  for (const { _active } of dispatcher.queues) active += _active;
  // The observer's table can be gone through while it changes. It has no runs that are older than the observer.
  if (active === runs.size) {
    let looked = 0;
    for (const kc of runs.keys()) {
      visitRun(kc);
      if (++looked % STEP === 0) yield;
    }
  } else dispatcher.asyncRuns.forEach(({ kc }) => visitRun(kc));
  if (isRunning) visit(current, RUNNING_ROLE);
}

function roleAt(kc: Kcont<unknown>, place: Place): Role {
  // In the run queue or not, it cannot be entered before its run has settled.
  return (kc._state & RUNNING) === 0 ? ROLES[place] : WAITS_FOR_RUN;
}

/**
 * The same, without the timers in the wheel of this CPU.
 *
 * @internal
 */
export function walkActive(
  dispatcher: Dispatcher,
  visit: (kc: Kcont<unknown>, role: Role) => void,
): void {
  eachRunning(dispatcher, (kc) => visit(kc, RUNNING_ROLE));
  visitQueued(dispatcher, (kc, place) => {
    visit(kc, roleAt(kc, place));
  });
  const { cpuLink } = dispatcher;
  if (cpuLink !== null) for (const kc of cpuLink.known()) visitShared(kc, visit);
}

/** A continuation whose state is shared between CPUs: what is not in a list of this one. */
function visitShared(kc: Kcont<unknown>, visit: (kc: Kcont<unknown>, role: Role) => void): void {
  const bits = kc._bits;
  const here = kc._state;
  if ((bits & RUNNING) !== 0 && (here & RUNNING) === 0) visit(kc, RUNNING_ROLE);
  if ((here & SCHEDULED) !== 0 && kc._next !== kc) return;
  if ((bits & QUEUED) !== 0) {
    if ((bits & RUNNING) !== 0) visit(kc, WAITS_FOR_RUN);
    else visit(kc, kc._remote?.index === undefined ? WAITS_FOR_CPU : RUNNABLE);
  } else if ((bits & PENDING) !== 0) visit(kc, PENDING_ROLE);
}

/**
 * Whether a continuation still has the role in which it was found.
 *
 * @internal
 */
export function stillHas(kc: Kcont<unknown>, { state }: Role): boolean {
  const bit = state === 'pending' ? PENDING : state === 'running' ? RUNNING : QUEUED;
  return (kc._bits & bit) !== 0;
}

/**
 * Calls a function for each piece of code that awaits a lock of this thread.
 *
 * @internal
 */
export function visitCode(visit: (waiter: Waiter) => void): void {
  visitWaiters((waiter) => {
    if (!(waiter instanceof Kcont)) visit(waiter);
  });
}
