/*
 * The transitions of the state diagram that lead to PENDING and QUEUED, and the checks before them.
 */

import { Cpu } from './cpu.ts';
import { type CpuLink } from './cpu-link.ts';
import { coalesce, type Extras, type Far } from './extras.ts';
import {
  EBUSY,
  EINVAL,
  ENOENT,
  ESHUTDOWN,
  KcontError,
  invalid,
  isA,
  traceFrom,
  type Caller,
} from '../base/errors.ts';
import type { Task } from './one-shot.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Kcont } from './kcont.ts';
import { stamp } from '../base/ordered-list.ts';
import {
  CLOSED,
  DEAD,
  GRACE,
  HALTING,
  INVOKING,
  LIMIT,
  NAMED,
  OPEN,
  PENDING,
  QUEUED,
  REMOTE,
  ANY_CPU,
  RUNNING,
  TASK,
  UNREF,
  type Phase,
  acked,
  scheduled,
} from './state.ts';
import { isHostsTime } from '../base/host-functions.ts';
import { FINITE_MS } from '../base/options-check.ts';
import { FAR, TICKS_PER_MS } from '../time/timing-wheel.ts';

/** Longest delay, in ms. */
const LONGEST_MS: number = Number.MAX_SAFE_INTEGER;

/** Not an errno: the state is shared between CPUs, or has to be, and `scheduleRemote` decides. */
export const REMOTE_REQUIRED = -1;

/** Not an errno: the continuation was destroyed. The proposal uses EINVAL for this. */
export const DESTROYED = -2;

/**
 * Returns why a continuation cannot be scheduled: an errno, REMOTE_REQUIRED or DESTROYED; 0: it can be, on
 * this CPU.
 *
 * Invalid arguments are checked first, because they are invalid in every state; then teardown, which
 * depends on the state alone. A CPU on a workqueue without a queue per CPU (ENOENT) is checked last.
 */
export function whyNot<A>(
  kc: Kcont<A>,
  delayMs: number,
  cpu: Cpu | null,
  busy: number = INVOKING | HALTING,
): number {
  if (
    cpu === null &&
    (kc._state & (busy | DEAD | REMOTE | ANY_CPU)) === 0 &&
    kc._wq._dispatcher.phase === OPEN &&
    isDelay(delayMs)
  ) {
    return 0;
  }
  if (!isDelay(delayMs) || (cpu !== null && !isCpuOf(cpu, kc))) return EINVAL;
  const { phase, cpuLink } = kc._wq._dispatcher;
  return cpuLink === null
    ? forbidden(kc, cpu, busy, phase)
    : cpuLink.remoteScheduling.whyNot(kc, cpu, busy);
}

/** Returns why its state and the shutdown phase forbid scheduling: an errno or DESTROYED; 0: allowed. */
export function forbidden<A>(kc: Kcont<A>, cpu: Cpu | null, busy: number, phase: Phase): number {
  const bits = kc._bits;
  if ((bits & DEAD) !== 0) return DESTROYED;
  if (phase === GRACE && (bits & LIMIT) === 0) return EBUSY;
  if (phase === CLOSED) return (bits & RUNNING) === 0 ? ESHUTDOWN : EBUSY;
  if ((bits & busy) !== 0) return EBUSY;
  return cpu !== null && !kc._wq.perCpu ? ENOENT : 0;
}

/** Schedules a continuation for which `whyNot` returned REMOTE_REQUIRED; returns an errno. */
export function scheduleRemote<A>(
  kc: Kcont<A>,
  delayMs: number,
  cpu: Cpu | null,
  busy?: number,
): number {
  return (kc._wq._dispatcher.cpuLink as CpuLink).remoteScheduling.schedule(kc, delayMs, cpu, busy);
}

/** Implements `Kcont.reset`; returns an errno or DESTROYED. */
export function reset<A>(kc: Kcont<A>, delayMs: number, cpu: Cpu | null): number {
  const errno = whyNot(kc, delayMs, cpu, HALTING);
  if (errno === REMOTE_REQUIRED) return scheduleRemote(kc, delayMs, cpu, HALTING);
  if (errno !== 0) return errno;
  if ((kc._state & QUEUED) !== 0) kc._wq._dispatcher.withdraw(kc);
  kc._state = acked(kc._state);
  return kc._schedule(delayMs, cpu);
}

/** Handles an errno of `schedule` and `reset`: false if it is busy or destroyed, otherwise throws. */
export function refuse<A>(
  kc: Kcont<A>,
  errno: number,
  delayMs: number,
  cpu: Cpu | null,
  caller: Caller,
): false {
  if (errno === EBUSY || errno === DESTROYED) return refused(kc, caller);
  throw traceFrom(caller, refusal(kc, errno, delayMs, cpu));
}

/** Returns false, and tells the observer. */
export function refused<A>(kc: Kcont<A>, by: Caller): false {
  kc._wq._dispatcher.observer?.refused(kc, by);
  return false;
}

/** Schedules a continuation; throws if it cannot be scheduled for any reason. */
export function scheduleOrThrow<A>(
  kc: Kcont<A>,
  delayMs: number = 0,
  cpu: Cpu | null = null,
): void {
  const errno = kc._schedule(delayMs, cpu);
  if (errno !== 0) throw refusal(kc, errno, delayMs, cpu);
}

/** Resets a continuation; throws if it cannot be scheduled for any reason. */
export function resetOrThrow<A>(kc: Kcont<A>, delayMs: number = 0): void {
  const errno = reset(kc, delayMs, null);
  if (errno !== 0) throw refusal(kc, errno, delayMs, null);
}

/**
 * Creates the error for an errno of `whyNot`. EBUSY has to come from a kernel that closes, not from a busy
 * continuation: the callers of `scheduleOrThrow` never schedule a busy one.
 */
export function refusal<A>(
  kc: Kcont<A>,
  errno: number,
  delayMs: number,
  cpu: Cpu | null,
): KcontError {
  if (errno === ENOENT) {
    const why = `workqueue ${kc.wq.name} has no queue per CPU`;
    return new KcontError('ENOENT', `${label(kc)} cannot be scheduled on a CPU: ${why}`);
  }
  const { cpuLink } = kc._wq._dispatcher;
  if (errno === ESHUTDOWN || errno === EBUSY) {
    const what = `${label(kc)} cannot be scheduled: the kernel is closed`;
    return cpuLink?.remoteScheduling.stopped(kc) ?? new KcontError('ESHUTDOWN', what);
  }
  if (!isDelay(delayMs)) {
    return invalid(`delayMs of ${label(kc)}`, FINITE_MS.expected, delayMs);
  }
  if (errno === DESTROYED) return new KcontError('EINVAL', `${label(kc)} was destroyed`);
  if (cpuLink !== null && (cpu === null || isCpuOf(cpu, kc))) {
    return cpuLink.remoteScheduling.reason(kc);
  }
  return invalid(`cpu of ${label(kc)}`, 'null or a Cpu of the same kernel', cpu);
}

/** Returns the name of a continuation in messages and reports. */
export function label<A>(kc: Kcont<A>): string {
  return kc.name || '(anonymous)';
}

/** Returns the task that waits for its result, if any. */
export function taskOf<A>(kc: Kcont<A>): Task | undefined {
  return (kc._state & TASK) === 0 ? undefined : (kc._arg as Task);
}

/** Returns the name that its argument has for it, if any. */
export function nameOfArg<A>(kc: Kcont<A>): string | undefined {
  return (kc._state & (TASK | NAMED)) === 0 ? undefined : (kc._arg as Task)._name;
}

/** The state of a continuation that is to be scheduled without further checks has none of these bits. */
const NOT_PLAIN: number = PENDING | INVOKING | DEAD | HALTING | UNREF | REMOTE | ANY_CPU;

/**
 * Makes a continuation runnable if that takes nothing but to put it into the run queue. This is how a burst
 * of jobs is scheduled. False: nothing has changed.
 */
function makeRunnableAtOnce<A>(kc: Kcont<A>): boolean {
  const wq = kc._wq;
  const dispatcher = wq._dispatcher;
  const state = kc._state;
  if (!dispatcher.takesJobs || (state & NOT_PLAIN) !== 0 || kc._extras !== null) return false;
  if (!isHostsTime()) return false;
  dispatcher.ref();
  addJob(kc, state);
  return true;
}

/**
 * Starts the timer of an idle continuation if that takes nothing but to compute its deadline and put it into the
 * wheel. This is how most timers are scheduled. False: nothing has changed.
 */
function startTimerAtOnce<A>(kc: Kcont<A>, delayMs: number): boolean {
  const state = kc._state;
  if ((state & NOT_PLAIN) !== 0 || kc._extras !== null || typeof delayMs !== 'number') return false;
  const ticks = delayMs * TICKS_PER_MS;
  const whole = ticks | 0;
  if (whole !== ticks || whole <= 0 || whole === FAR) return false;
  const wq = kc._wq;
  const dispatcher = wq._dispatcher;
  if (!dispatcher.isPlain) return false;
  const due = wq._sampler.dueInTicks(kc, whole);
  kc._delay = whole;
  kc._state = scheduled(state, true);
  stamp(kc);
  dispatcher.ref();
  addToWheel(dispatcher, kc, due);
  return true;
}

/** Schedules a continuation if a short way will do. False: nothing has changed. */
export function scheduleAtOnce<A>(kc: Kcont<A>, delayMs: number): boolean {
  return delayMs === 0 ? makeRunnableAtOnce(kc) : startTimerAtOnce(kc, delayMs);
}

/** Transition from IDLE, PENDING or ACKED to QUEUED. */
export function makeRunnable<A>(kc: Kcont<A>): void {
  const dispatcher = kc._wq._dispatcher;
  const before = leaveWheel(kc);
  addJob(kc, before);
  dispatcher.request();
  if (dispatcher.observer !== null) dispatcher.observer.scheduled(kc, before);
}

/**
 * Makes a continuation runnable in the next pass, after the next poll phase, even if called during a
 * pass. Works in a closing kernel too, because it continues work that has begun.
 */
export function makeRunnableNext<A>(kc: Kcont<A>): void {
  const dispatcher = kc._wq._dispatcher;
  const before = leaveWheel(kc);
  becomeJob(kc, before);
  dispatcher.deferred.push(kc);
  dispatcher.request();
  if (dispatcher.observer !== null) dispatcher.observer.scheduled(kc, before);
}

/** Prepares a continuation to become a job; returns its state. */
function leaveWheel<A>(kc: Kcont<A>): number {
  const dispatcher = kc._wq._dispatcher;
  const state = kc._state;
  if ((state & PENDING) !== 0) dispatcher.wheel.remove(kc);
  else if ((state & UNREF) === 0) dispatcher.ref();
  return state;
}

function addJob<A>(kc: Kcont<A>, state: number): void {
  becomeJob(kc, state);
  const wq = kc._wq;
  wq._dispatcher.runq.addJob(wq._level, kc);
}

function becomeJob<A>(kc: Kcont<A>, state: number): void {
  const wq = kc._wq;
  kc._due = wq._dispatcher.collector.jobTick();
  kc._state = scheduled(state, false);
  wq._queued++;
}

/** Transition from IDLE, PENDING or ACKED to PENDING. If PENDING, a later deadline is only stored. */
export function startTimer<A>(kc: Kcont<A>, delayMs: number): void {
  const { _sampler: sampler } = kc._wq;
  const ticks = delayMs * TICKS_PER_MS;
  const whole = ticks | 0;
  if (whole === ticks && whole < FAR) {
    const due = slacken(kc, sampler.dueInTicks(kc, whole));
    kc._delay = whole;
    startTimerAt(kc, due);
  } else {
    const due = slacken(kc, sampler.dueIn(kc, delayMs));
    setDelay(kc, ticks);
    startTimerAt(kc, due);
  }
}

/**
 * Schedules with a delay that counts from an earlier reading of the clock, and may already have elapsed.
 * The caller reads the clock once for each timer, so that the timers of one callback keep their order.
 * Returns an errno.
 */
export function scheduleFrom<A>(kc: Kcont<A>, fromMs: number, delayMs: number): number {
  const errno = whyNot(kc, delayMs, null);
  if (errno !== 0) return errno;
  const { sampler, wheel } = kc._wq._dispatcher;
  const due = Math.max(sampler.dueFrom(fromMs, delayMs), wheel.tick + 1 - wheel.base);
  setDelay(kc, delayMs * TICKS_PER_MS);
  startTimerAt(kc, slacken(kc, due));
  return 0;
}

function startTimerAt<A>(kc: Kcont<A>, due: number): void {
  const dispatcher = kc._wq._dispatcher;
  const { wheel } = dispatcher;
  const state = kc._state;
  stamp(kc);
  if ((state & PENDING) === 0) {
    kc._state = scheduled(state, true);
    if ((state & UNREF) === 0) dispatcher.ref();
    addToWheel(dispatcher, kc, due);
  } else if (due < FAR ? due > kc._due : due + wheel.base >= wheel.dueTick(kc)) {
    wheel.setDue(kc, due);
    if (wheel.deadlines !== null) wheel.deadlines.set(kc);
  } else {
    wheel.remove(kc);
    addToWheel(dispatcher, kc, due);
  }
  if (dispatcher.observer !== null) dispatcher.observer.scheduled(kc, state);
}

/** Puts a timer into the wheel, and tells the host if it is due before all others. */
function addToWheel<A>(dispatcher: Dispatcher, kc: Kcont<A>, due: number): void {
  const { wheel } = dispatcher;
  wheel.setDue(kc, due);
  wheel.add(kc);
  // Reading the clock may have found that fakes have been installed.
  if (wheel.deadlines !== null) wheel.deadlines.set(kc);
  if (due < dispatcher.armedTicks || due >= FAR) dispatcher.request();
}

/**
 * Inserts the timer of a continuation whose state is shared between CPUs. `atMs` is a time on the
 * clock of this CPU.
 */
export function fileTimer<A>(kc: Kcont<A>, atMs: number): void {
  const dispatcher = kc._wq._dispatcher;
  const { wheel } = dispatcher;
  stamp(kc);
  kc._state |= PENDING;
  const { sampler } = dispatcher;
  const due = slacken(kc, Math.max(sampler.dueFrom(atMs, 0), wheel.tick + 1 - wheel.base));
  addToWheel(dispatcher, kc, due);
}

/** Called at the old deadline of a timer. False: it is due; true: reinserted with a later deadline. */
export function reinsertTimer<A>(kc: Kcont<A>, atMs: number): boolean {
  const { sampler, wheel } = kc._wq._dispatcher;
  const due = slacken(kc, sampler.dueFrom(atMs, 0));
  if (due <= wheel.tick - wheel.base) return false;
  wheel.setDue(kc, due);
  wheel.reinsert(kc);
  if (wheel.deadlines !== null) wheel.deadlines.set(kc);
  return true;
}

/** Restarts a PENDING timer: its last delay counts from now. */
export function restartTimer<A>(kc: Kcont<A>): void {
  const { _sampler: sampler } = kc._wq;
  const ticks = kc._delay;
  if (ticks === FAR) restartFar(kc);
  else moveOutward(kc, slacken(kc, sampler.dueInTicks(kc, ticks)));
  if (sampler.deadlines !== null) sampler.deadlines.set(kc);
}

/**
 * Restarts a PENDING timer with a delay of more than three days. Its new deadline is then more than three
 * days away too. Without slack, only small integers are passed to functions here and returned by them,
 * because V8 allocates an object for any other number.
 */
function restartFar<A>(kc: Kcont<A>): void {
  const { slackTicks, far } = kc._extras as Extras & { far: Far };
  const { wheel, sampler } = kc._wq._dispatcher;
  const due = sampler.dueInTicks(kc, 0) + far.delayTicks;
  if (slackTicks > 0) moveOutward(kc, coalesce(due, slackTicks));
  else {
    kc._due = FAR;
    far.tick = wheel.base + due;
  }
}

/** Restarts a timer if it is PENDING: its last delay counts from a given time. */
export function restartTimerFrom<A>(kc: Kcont<A>, nowMs: number): void {
  if ((kc._state & PENDING) === 0) return;
  const { _sampler: sampler } = kc._wq;
  moveOutward(kc, slacken(kc, sampler.dueFrom(nowMs, lastDelay(kc))));
  if (sampler.deadlines !== null) sampler.deadlines.set(kc);
}

function moveOutward<A>(kc: Kcont<A>, due: number): void {
  if (due <= kc._due) return;
  if (due < FAR) kc._due = due;
  else kc._wq._dispatcher.wheel.setDue(kc, due);
}

function slacken<A>(kc: Kcont<A>, due: number): number {
  const extras = kc._extras;
  return extras === null ? due : coalesce(due, extras.slackTicks);
}

/** Returns the last delay, in ms. */
export function lastDelay<A>(kc: Kcont<A>): number {
  const ticks = kc._delay === FAR ? kc._needFar().delayTicks : kc._delay;
  return ticks / TICKS_PER_MS;
}

/** Stores a delay of so many ticks, rounded up, so that the field stays a small integer. */
function setDelay<A>(kc: Kcont<A>, ticks: number): void {
  const delay = Math.ceil(ticks);
  if (delay < FAR) kc._delay = delay;
  else {
    kc._delay = FAR;
    kc._needFar().delayTicks = delay;
  }
}

function isCpuOf<A>(cpu: unknown, kc: Kcont<A>): boolean {
  return isA(cpu, Cpu) && cpu.kernel === kc._wq.kernel;
}

function isDelay(delayMs: unknown): boolean {
  return typeof delayMs === 'number' && delayMs >= 0 && delayMs <= LONGEST_MS;
}
