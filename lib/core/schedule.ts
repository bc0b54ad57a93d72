/*
 * The arrows of the state diagram that lead to PENDING and to QUEUED, and what forbids them.
 */

import { Cpu } from './cpu.ts';
import { type CpuLink } from './cpu-link.ts';
import { coalesce } from './extras.ts';
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
import type { Kcont } from './kcont.ts';
import { stamp } from '../base/ordered-list.ts';
import {
  CLOSED,
  DEAD,
  GRACE,
  HALTING,
  INVOKING,
  LIMIT,
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
import { FAR } from '../time/timing-wheel.ts';

/** Longest delay, in ms. */
const LONGEST_MS: number = Number.MAX_SAFE_INTEGER;

/** Not an errno: more than one CPU has a say in it. */
export const REMOTE_REQUIRED = -1;

/** Not an errno of the proposal, which has EINVAL for it: the continuation was destroyed. */
export const DESTROYED = -2;

/**
 * Why a continuation cannot be scheduled, as an errno, or REMOTE_REQUIRED, or DESTROYED; 0: it can, on this CPU.
 *
 * Arguments that are wrong come first, for they are wrong in every state; then teardown, which is decided by the
 * state alone, whoever calls.
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

/** What its state and that of the shutdown forbid. An errno, or DESTROYED; 0: nothing. */
export function forbidden<A>(kc: Kcont<A>, cpu: Cpu | null, busy: number, phase: Phase): number {
  const bits = kc._bits;
  if ((bits & DEAD) !== 0) return DESTROYED;
  if (phase === GRACE && (bits & LIMIT) === 0) return EBUSY;
  if (phase === CLOSED) return (bits & RUNNING) === 0 ? ESHUTDOWN : EBUSY;
  if ((bits & busy) !== 0) return EBUSY;
  return cpu !== null && !kc._wq.perCpu ? ENOENT : 0;
}

/** Schedules a continuation of which whyNot has said REMOTE_REQUIRED. An errno. */
export function scheduleRemote<A>(
  kc: Kcont<A>,
  delayMs: number,
  cpu: Cpu | null,
  busy?: number,
): number {
  return (kc._wq._dispatcher.cpuLink as CpuLink).remoteScheduling.schedule(kc, delayMs, cpu, busy);
}

/** Withdraws what is queued, acknowledges a run in flight, and schedules anew. An errno, or DESTROYED. */
export function reset<A>(kc: Kcont<A>, delayMs: number, cpu: Cpu | null): number {
  const errno = whyNot(kc, delayMs, cpu, HALTING);
  if (errno === REMOTE_REQUIRED) return scheduleRemote(kc, delayMs, cpu, HALTING);
  if (errno !== 0) return errno;
  if ((kc._state & QUEUED) !== 0) kc._wq._dispatcher.withdraw(kc);
  kc._state = acked(kc._state);
  return kc._schedule(delayMs, cpu);
}

/** What `schedule` and `reset` do with an errno: false where somebody else has been faster; else throws. */
export function refuse<A>(
  kc: Kcont<A>,
  errno: number,
  delayMs: number,
  cpu: Cpu | null,
  caller: Caller,
): false {
  if (errno === EBUSY || errno === DESTROYED) return false;
  throw traceFrom(caller, refusal(kc, errno, delayMs, cpu));
}

/** Schedules a continuation for whom it is an error if it cannot be. */
export function scheduleOrThrow<A>(
  kc: Kcont<A>,
  delayMs: number = 0,
  cpu: Cpu | null = null,
): void {
  const errno = kc._schedule(delayMs, cpu);
  if (errno !== 0) throw refusal(kc, errno, delayMs, cpu);
}

/** The same, as `reset` does. */
export function resetOrThrow<A>(kc: Kcont<A>, delayMs: number = 0): void {
  const errno = reset(kc, delayMs, null);
  if (errno !== 0) throw refusal(kc, errno, delayMs, null);
}

/** The error that goes with an errno of `whyNot`. EBUSY is one only where the kernel closes. */
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
    return invalid(`delayMs of ${label(kc)}`, 'a finite number of ms from 0 to 2^53-1', delayMs);
  }
  if (errno === DESTROYED) return new KcontError('EINVAL', `${label(kc)} was destroyed`);
  if (cpuLink !== null && (cpu === null || isCpuOf(cpu, kc))) {
    return cpuLink.remoteScheduling.reason(kc);
  }
  return invalid(`cpu of ${label(kc)}`, 'null or a Cpu of the same kernel', cpu);
}

/** How a continuation is called in messages and reports. */
export function label<A>(kc: Kcont<A>): string {
  return (taskOf(kc)?._name ?? kc.name) || '(anonymous)';
}

/** Who waits for its result, if anybody does. */
export function taskOf<A>(kc: Kcont<A>): Task | undefined {
  return (kc._state & TASK) === 0 ? undefined : (kc._arg as Task);
}

/** IDLE, PENDING or ACKED: to QUEUED. */
export function makeRunnable<A>(kc: Kcont<A>): void {
  const wq = kc._wq;
  const dispatcher = wq._dispatcher;
  enqueue(kc);
  dispatcher.runq.addJob(wq._level, kc);
  dispatcher.request();
}

/**
 * The same, in the next pass: after the next poll phase, also if called during a pass. Where a
 * kernel closes too, for it serves to go on with what has begun.
 */
export function makeRunnableNext<A>(kc: Kcont<A>): void {
  enqueue(kc);
  const dispatcher = kc._wq._dispatcher;
  dispatcher.deferred.push(kc);
  dispatcher.request();
}

function enqueue<A>(kc: Kcont<A>): void {
  const wq = kc._wq;
  const dispatcher = wq._dispatcher;
  const state = kc._state;
  if ((state & PENDING) !== 0) dispatcher.wheel.remove(kc);
  else if ((state & UNREF) === 0) dispatcher.ref();
  kc._due = dispatcher.collector.jobTick();
  kc._state = scheduled(state, false);
  wq._load++;
}

/** IDLE, PENDING or ACKED: to PENDING. A later deadline of a PENDING one is only stored. */
export function startTimer<A>(kc: Kcont<A>, delayMs: number): void {
  startTimerAt(kc, delayMs, dueIn(kc, delayMs));
}

/**
 * Schedules with a delay that counts from a time that was read before, and may be over by now: what one
 * callback schedules is in the order of its readings, and none is rationed. An errno.
 */
export function scheduleFrom<A>(kc: Kcont<A>, fromMs: number, delayMs: number): number {
  const errno = whyNot(kc, delayMs, null);
  if (errno !== 0) return errno;
  const { sampler, wheel } = kc._wq._dispatcher;
  const due = Math.max(sampler.dueFrom(fromMs, delayMs), wheel.tick + 1 - wheel.base);
  startTimerAt(kc, delayMs, slacken(kc, due));
  return 0;
}

function startTimerAt<A>(kc: Kcont<A>, delayMs: number, due: number): void {
  const dispatcher = kc._wq._dispatcher;
  const { wheel } = dispatcher;
  const state = kc._state;
  stamp(kc);
  setDelay(kc, delayMs);
  if ((state & PENDING) === 0) {
    kc._state = scheduled(state, true);
    if ((state & UNREF) === 0) dispatcher.ref();
  } else {
    if (due > kc._due && due < FAR) {
      kc._due = due;
      if (wheel.deadlines !== null) wheel.deadlines.set(kc);
      return;
    }
    wheel.remove(kc);
  }
  wheel.setDue(kc, due);
  wheel.add(kc);
  if (wheel.deadlines !== null) wheel.deadlines.set(kc);
  if (due < dispatcher.armedTicks || due >= FAR) dispatcher.request();
}

/** Files the entry of a continuation that another CPU may have scheduled, for a time on this clock. */
export function fileTimer<A>(kc: Kcont<A>, atMs: number): void {
  const dispatcher = kc._wq._dispatcher;
  const { wheel } = dispatcher;
  stamp(kc);
  kc._state |= PENDING;
  const { sampler } = dispatcher;
  const due = slacken(kc, Math.max(sampler.dueFrom(atMs, 0), wheel.tick + 1 - wheel.base));
  wheel.setDue(kc, due);
  wheel.add(kc);
  if (wheel.deadlines !== null) wheel.deadlines.set(kc);
  if (due < dispatcher.armedTicks || due >= FAR) dispatcher.request();
}

/** At the old deadline of a filed entry: false: that was it; true: filed again, for a later one. */
export function reinsertTimer<A>(kc: Kcont<A>, atMs: number): boolean {
  const { sampler, wheel } = kc._wq._dispatcher;
  const due = slacken(kc, sampler.dueFrom(atMs, 0));
  if (due <= wheel.tick - wheel.base) return false;
  wheel.setDue(kc, due);
  wheel.reinsert(kc);
  if (wheel.deadlines !== null) wheel.deadlines.set(kc);
  return true;
}

/** PENDING: to PENDING, with the last delay from now. */
export function restartTimer<A>(kc: Kcont<A>): void {
  const { _sampler: sampler } = kc._wq;
  moveOutward(kc, slacken(kc, sampler.dueIn(kc, lastDelay(kc))));
  if (sampler.deadlines !== null) sampler.deadlines.set(kc);
}

/** PENDING: to PENDING, with the last delay from a given time. Others stay as they are. */
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

/** The tick of a deadline from now, from the wheel's base. */
function dueIn<A>(kc: Kcont<A>, delayMs: number): number {
  return slacken(kc, kc._wq._sampler.dueIn(kc, delayMs));
}

function slacken<A>(kc: Kcont<A>, due: number): number {
  const extras = kc._extras;
  return extras === null ? due : coalesce(due, extras.slackTicks);
}

/** What the last delay was, in ms. */
export function lastDelay<A>(kc: Kcont<A>): number {
  return kc._delay === FAR ? kc._needExtras().farDelayMs : kc._delay;
}

/** Keeps the field a small integer, whatever the delay. */
function setDelay<A>(kc: Kcont<A>, delayMs: number): void {
  const wholeMs = delayMs | 0;
  const delay = wholeMs === delayMs ? wholeMs : Math.ceil(delayMs);
  if (delay < FAR) kc._delay = delay;
  else {
    kc._delay = FAR;
    kc._needExtras().farDelayMs = delay;
  }
}

function isCpuOf<A>(cpu: unknown, kc: Kcont<A>): boolean {
  return isA(cpu, Cpu) && cpu.kernel === kc._wq.kernel;
}

function isDelay(delayMs: unknown): boolean {
  return typeof delayMs === 'number' && delayMs >= 0 && delayMs <= LONGEST_MS;
}
