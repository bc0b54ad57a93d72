/*
 * Dispatch: takes continuations from the run queue, highest priority first, and enters them or sets them
 * aside (see the picture in dispatcher.ts).
 *
 * Most continuations are plain: none of their runs is in flight, they have no lock, no limit, no handler
 * of errors and no shares to consider, and keep the process alive. The loop checks this by one mask and four fields, and
 * V8 inlines all the rest, up to the call of the function. In a burst of 1,000, each takes about 2.6 times as
 * long as in a dispatcher of lists and bits that does nothing else (bench run-soon). To this end:
 *
 *   - `enterPlain` and `enter` are two functions: together they would be too large to be inlined
 *   - what is counted per function is counted in variables of the loop, and stored when it ends: the
 *     functions until the next look at the clock, and the references to the process that are given back
 *   - an entry that is taken from the run queue gets only one of its links reset (see `takeFirst`)
 */

import type { Budget } from './budget.ts';
import { ADMITTED, ASIDE, STALE, remoteOf } from './cpu-link.ts';
import type { Dispatcher } from './dispatcher.ts';
import { reachedPlaceholder } from './inheritance.ts';
import { reachedLimit } from './inherited-limit.ts';
import { enter, enterPlain, settle, type AtTop } from './invoke.ts';
import type { Kcont } from './kcont.ts';
import { stamp } from '../base/ordered-list.ts';
import { release } from '../locks/lock-check.ts';
import { NONE } from '../locks/turnstile.ts';
import { LIMIT, PLACEHOLDER, REMOTE, RUNNING, UNREF, WAITED } from './state.ts';

/** A plain continuation has none of these bits. */
const NOT_PLAIN: number = RUNNING | REMOTE | UNREF | PLACEHOLDER;

/** Whether a continuation without the bits of NOT_PLAIN is plain. */
function isPlain({ _lock: lock, _details: details, _wq: wq }: Kcont<unknown>): boolean {
  return (
    lock === null &&
    (details === null || details.extras === null) &&
    wq._available !== 0 &&
    wq._isPlain
  );
}

/**
 * Dispatches until nothing is runnable, the budget is spent, or a continuation goes on in the pass itself
 * (`atTop`).
 */
export function dispatchAll(dispatcher: Dispatcher, budget: Budget): void {
  const { runq } = dispatcher;
  if (runq.empty) return;
  budget.begin();
  // An observer is told of each function, which `enterPlain` does not do: then none is plain.
  const notPlain = dispatcher.observer === null ? NOT_PLAIN : -1;
  let { left } = budget;
  let plain = 0;
  try {
    for (let kc = runq.shift(); kc !== undefined; kc = runq.shift()) {
      left--;
      const state = kc._state;
      if ((state & notPlain) === 0 && isPlain(kc)) {
        plain++;
        if (enterPlain(dispatcher, kc, state)) return;
      } else if (dispatch(dispatcher, kc)) {
        if (dispatcher.atTop !== null) return;
      } else {
        budget.left = left;
        budget.giveBack();
        ({ left } = budget);
      }
      if (left > 0) continue;
      budget.left = left;
      // If the queue is empty, the clock need not be read.
      if (!runq.empty && budget.isSpent()) return;
      ({ left } = budget);
    }
  } finally {
    budget.left = left;
    dispatcher.refs.count -= plain;
  }
}

/**
 * Enters a continuation that was taken from the run queue, or sets it aside. Returns whether it was entered.
 */
export function dispatch(dispatcher: Dispatcher, kc: Kcont<unknown>): boolean {
  // The run queue has left this link as it was.
  kc._prev = kc;
  const wq = kc._wq;
  if ((kc._state & PLACEHOLDER) !== 0) {
    const due = reachedPlaceholder(kc);
    if (due !== null) return dispatch(dispatcher, due);
    if (wq._lane !== null) dispatcher.meter.setAside(wq._lane);
    return false;
  }
  const remote = (kc._state & REMOTE) === 0 ? null : remoteOf(kc);
  const admission = remote === null ? ADMITTED : remote.admit();
  const lock = kc._lock;
  if ((kc._state & RUNNING) !== 0 || admission === ASIDE) {
    // It is resumed when its run settles, or by the CPU that it waits for.
    setAside(kc);
    lock?._leave(kc);
  } else if (admission === STALE) dispatcher.withdraw(kc);
  else if (wq._available === 0 && (kc._state & LIMIT) === 0) {
    setAside(kc);
    lock?._leave(kc);
    // Unless it has been moved because what it inherits has changed.
    if (kc._next === kc) {
      wq._await(kc);
      if (dispatcher.runq.inherited.size > 0) reachedLimit(kc);
    }
  } else if (lock !== null && !lock._takeFor(kc)) {
    const { backlogTick } = dispatcher;
    const since = backlogTick < Infinity ? backlogTick : NONE;
    // The `_due` of a job may be before its `schedule` call; its patience counts from now.
    if (since === NONE && (kc._state & WAITED) === 0) kc._due = dispatcher.sampler.tick();
    setAside(kc);
    lock._wait(kc, since);
    if (dispatcher.observer !== null) dispatcher.observer.waits(kc);
    wq._wake();
  } else if (remote === null || remote.enter()) {
    if (wq._lane === null) enter(dispatcher, kc);
    else dispatcher.meter.enter(dispatcher, kc, wq._lane);
    return true;
  } else {
    release(lock);
    dispatcher.withdraw(kc);
  }
  if (wq._lane !== null) dispatcher.meter.setAside(wq._lane);
  return false;
}

/** Runs what continues in the pass itself. Returns whether there was anything, and the pass goes on. */
export function goOnAtTop(dispatcher: Dispatcher): boolean {
  const kc = dispatcher.atTop;
  if (kc === null) return false;
  dispatcher.atTop = null;
  try {
    (kc._arg as AtTop).run();
  } finally {
    settleAtTop(dispatcher, kc);
  }
  return !dispatcher.resumes;
}

/** Settles what has gone on in the pass itself. A function that is resumed goes on in a microtask. */
export function settleAtTop(dispatcher: Dispatcher, kc: Kcont<unknown>): void {
  settle(dispatcher, kc);
  if (!dispatcher.resumes) dispatcher.meter.end();
}

function setAside(kc: Kcont<unknown>): void {
  if ((kc._state & WAITED) !== 0) return;
  kc._state |= WAITED;
  stamp(kc);
}
