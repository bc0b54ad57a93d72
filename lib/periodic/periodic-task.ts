/*
 * A continuation that schedules itself again.
 *
 *        +------------------- file: the next time ------------------+
 *        v                                                          |
 *     PENDING --- expires ---> QUEUED ---> RUNNING --- settles -----+
 *
 * The next time is chosen when the run has settled, so a run never overlaps the one before. What happens to the
 * times that have passed meanwhile is decided in one place:
 *
 *   skip    they are left out; the next run is at the next time
 *   merge   all of them together get one run, immediately
 *   queue   each has its run, one after the other
 *
 * The timer of a task by the wall clock (aligned, `at`, `cron`) is set again when that clock was set. When the timer
 * expires, the wall clock is read once more: if it is too early by this clock, the timer is set again. The rest of
 * the wait is then longer than the rounding of the two clocks, or the task would be due: so the kernel's clock
 * advances before the next reading.
 *
 * A function that throws is reported like that of any continuation, and its task goes on. One that never settles
 * stops its own task and nothing else.
 */

import { join, leave } from '../base/abort-listeners.ts';
import { checkFunction, functionName, invalid, type Caller, traceFrom } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { FLAG, SIGNAL, TEXT, kindOf, type Kind } from '../base/options-check.ts';
import { reportLater, whenSettled } from '../core/invoke.ts';
import type { Kcont } from '../core/kcont.ts';
import { wq as processWorkqueues } from '../core/kernel.ts';
import { makeOwn } from '../core/own-kcont.ts';
import { REMOTE_REQUIRED, refusal, scheduleFrom } from '../core/schedule.ts';
import { NAMED, UNREF } from '../core/state.ts';
import { Workqueue } from '../core/workqueue.ts';
import type { Lock } from '../locks/lock.ts';
import { LOCK } from '../locks/lock-check.ts';
import { dateAt, msOfDate } from '../time/wall-clock.ts';
import { FixedDelay, dust, type Timetable } from './timetable.ts';
import { BACK_MS, WallClock, wallClockOf } from './wall-clock.ts';

/**
 * A function that is called at certain times. It gets its task.
 *
 * @public
 */
export type PeriodicFunction = (task: PeriodicTask) => unknown;

/**
 * Optional settings that all tasks have.
 *
 * @public
 */
export interface TaskOptions {
  /** The workqueue of the runs. Default: `prihigh` of the process-wide kernel. */
  wq?: Workqueue;
  /** Held during each run. Default null: no lock. */
  lock?: Lock | null;
  /** Shown in reports; by default the function's name. */
  name?: string;
  /** Whether it keeps the process alive while it waits for its next time. Default true. */
  ref?: boolean;
  /** Stops the task permanently when aborted. */
  signal?: AbortSignal;
  /** The time of day. Must be of the workqueue's kernel. Default: the kernel's own. */
  wallClock?: WallClock;
}

/**
 * The checks of these settings.
 *
 * @internal
 */
export const TASK_KINDS: { readonly [N in keyof TaskOptions]-?: Kind } = {
  wq: kindOf('a Workqueue', (value) => value instanceof Workqueue),
  lock: LOCK,
  name: TEXT,
  ref: FLAG,
  signal: SIGNAL,
  wallClock: kindOf('a WallClock of the same kernel', (value) => value instanceof WallClock),
};

/**
 * What a task does about times that have passed. Most tasks share one.
 *
 * @internal
 */
export interface TaskPolicy {
  readonly overrun: 'skip' | 'merge' | 'queue';
  /** With `'skip'`: how late a run may begin because the run before it took long. */
  readonly graceMs: number;
  /** With `'skip'`: how late a run may begin for any other reason. */
  readonly latestMs: number;
  readonly jitterMs: number;
  readonly random: () => number;
  /** Whether it ends after a run, whatever asked for that. */
  readonly once: boolean;
}

/**
 * The handle of a task, created by {@link every}, {@link at} and {@link cron}.
 *
 * @remarks
 * Its runs never overlap. While its function is running, the next time has not been chosen yet.
 *
 * @public
 */
export class PeriodicTask {
  static readonly #line: (task: PeriodicTask) => string =
    /* @__PURE__ */ defineInspect<PeriodicTask>(
      this,
      ({ name, state, runs, nextDate }) => {
        const next = nextDate === null ? '' : `, next at ${nextDate.toISOString()}`;
        return `PeriodicTask ${name || '(anonymous)'} { ${state}, ${runs} runs${next} }`;
      },
      ({ name, state, runs, nextDate }) => ({ name, state, runs, nextDate }),
    );
  readonly #kc: Kcont<PeriodicTask>;
  readonly #func: PeriodicFunction;
  readonly #name: string | undefined;
  readonly #times: Timetable | FixedDelay;
  readonly #policy: TaskPolicy;
  /** The clock of the times; null: the kernel's monotonic clock. */
  readonly #wall: WallClock | null;
  /** The clock of the dates that are shown; undefined: the kernel's own, which has not been needed yet. */
  #dates: WallClock | undefined;
  readonly #signal: AbortSignal | undefined;
  /** Called when a run has settled; made by the first run. */
  #settled: (() => void) | undefined = undefined;
  /** The time of the next run, and during a run that of this one; Infinity: there is none. */
  #dueMs = NaN;
  // Of the numbers below most tasks need none: as small integers or undefined, they need no memory of their own.
  /** By how much the run is delayed. */
  #jitterMs = 0;
  /** With `'merge'`: when the last run began, or it was started, on the clock of the times. */
  #beganMs: number | undefined = undefined;
  /** During a run: the first time that counts after it; undefined: the one after `#dueMs`. */
  #nextMs: number | undefined = undefined;
  /** By the wall clock: the last time that was run, unless the clock was found to be wrong then. */
  #ranMs: number | undefined = undefined;
  /** Whether `runNow` asked for the next run. */
  #isNow = false;
  #isStopped = true;
  #runs = 0;
  #skipped = 0;

  /** @internal */
  constructor(
    func: PeriodicFunction,
    times: Timetable | FixedDelay,
    policy: TaskPolicy,
    isByWall: boolean,
    options: TaskOptions,
  ) {
    const { wq = processWorkqueues.prihigh, lock = null, ref = true, signal, wallClock } = options;
    const bits = ref ? NAMED : NAMED | UNREF;
    this.#func = func;
    this.#name = options.name;
    this.#times = times;
    this.#policy = policy;
    this.#wall = isByWall ? (wallClock ?? wallClockOf(wq.kernel)) : null;
    this.#dates = wallClock;
    this.#signal = signal;
    this.#kc = makeOwn<PeriodicTask>(bits, wq, lock, run, this);
    try {
      if (signal?.aborted === true) this.#kc.destroy();
      else {
        this.#isStopped = false;
        const nowMs = this.#begin(false);
        if (this.#hasEnded) {
          this[Symbol.dispose]();
          return;
        }
        const errno = this.#schedule(nowMs);
        if (errno !== 0) throw refusal(this.#kc, errno, 0, null);
        this.#wall?._add(this);
        if (signal !== undefined) join(signal, this);
      }
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Its name in reports. */
  get name(): string {
    return this.#kc.name;
  }

  /**
   * The given name, or that of its function, which is read only for a report.
   * @internal
   */
  get _name(): string {
    return this.#name ?? functionName(this.#func);
  }

  /**
   * `'waiting'` for its next time; `'queued'`: its time has come; `'running'`; `'stopped'`; `'ended'`: it
   * has no further time.
   */
  get state(): 'waiting' | 'queued' | 'running' | 'stopped' | 'ended' {
    if (this.#kc.running) return 'running';
    if (this.#hasEnded) return 'ended';
    if (this.#isStopped || !this.#kc.busy) return 'stopped';
    return this.#kc.pending ? 'waiting' : 'queued';
  }

  /** How often its function has been called. */
  get runs(): number {
    return this.#runs;
  }

  /** How many times have passed without a run of their own. For `cron`, at most 1,000 are counted at once. */
  get skipped(): number {
    return this.#skipped;
  }

  /**
   * The time for which the current or last run was due, without jitter; before the first run, and while it is
   * waiting, that of the next run. On the clock of `kernel.now()`; for `at`, `cron` and aligned tasks in ms since
   * 1970. Infinity: there is no further time.
   */
  get dueMs(): number {
    return this.#dueMs;
  }

  /**
   * The date of the next run, with its jitter; null while its function is running, if there is none, and if it is
   * later than a Date can be.
   */
  get nextDate(): Date | null {
    if (!this.#kc.pending) return null;
    const wall = (this.#dates ??= this.#wall ?? wallClockOf(this.#kc.wq.kernel));
    const date = dateAt(wall.now + this.#dueMs + this.#jitterMs - this.#now());
    return Number.isNaN(msOfDate(date)) ? null : date;
  }

  /**
   * Stops it: no run begins after it returns. {@link PeriodicTask.start} continues it.
   *
   * @returns false: its function is not running and will not run; true: a run is in flight
   */
  stop(): boolean {
    this.#isStopped = true;
    this.#isNow = false;
    this.#wall?._delete(this);
    this.#kc.stop();
    return this.#kc.running;
  }

  /**
   * Continues a task that was stopped, from now on. Times that passed meanwhile are not run. The times of `every`
   * begin again, as when it was created; if a run is in flight, they stay as they were.
   *
   * @returns true: it continues; false: it has not been stopped, has no further time, was disposed, or its kernel is
   * closing
   */
  start(): boolean {
    if (!this.#isStopped || this.#kc.destroyed) return false;
    this.#isStopped = false;
    return this.#guard(() => {
      if (!this.#kc.running) return this.#file(this.#begin(true));
      // A run in flight files the next time when it settles.
      this.#beginAfterRun();
      this.#wall?._add(this);
      return true;
    });
  }

  /**
   * Runs it now, as soon as its priority allows, unless a run is in flight. If its time has come, this is the run
   * of that time; otherwise it is one more. A task of {@link at} ends after it.
   *
   * @returns true: it will run; false: it is running, stopped, or has ended
   */
  runNow(): boolean {
    if (this.#isStopped || this.#hasEnded || this.#kc.running) return false;
    this.#isNow = true;
    return this.#kc._schedule(0, null) === 0 || this.#kc.invoking;
  }

  /**
   * Stops it and waits until it is not running.
   *
   * @returns a promise of true: it waited for a run; or false: it was not running. Rejected with KcontError
   * EDEADLK when called from its own function before the first `await`
   */
  halt(): Promise<boolean> {
    this.stop();
    return this.#kc.halt();
  }

  /** Makes it keep the process alive while it waits; this is the default. */
  ref(): this {
    this.#kc.ref();
    return this;
  }

  /** Lets the process exit while it waits. */
  unref(): this {
    this.#kc.unref();
    return this;
  }

  /** Whether it keeps the process alive while it waits. */
  hasRef(): boolean {
    return this.#kc.hasRef();
  }

  /** Stops it permanently. */
  [Symbol.dispose](): void {
    this.stop();
    this.#kc.destroy();
    if (this.#signal !== undefined) leave(this.#signal, this);
  }

  /**
   * Called when its signal is aborted.
   * @internal
   */
  _abort(): void {
    this[Symbol.dispose]();
  }

  /** Stops it permanently, and waits until it is not running. Rejects as `halt` does. */
  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose]();
    await this.#kc.halt();
  }

  /**
   * Called when its continuation runs.
   * @internal
   */
  _run(): unknown {
    const wall = this.#wall;
    const nowMs = wall === null ? this.#now() : this.#guard(() => wall.now);
    const isNow = this.#isNow;
    if (!isNow && this.#isEarly(nowMs, this.#dueMs + this.#jitterMs)) {
      // The wall clock was set back, or is slower than the monotonic one.
      whenSettled(this.#kc, () => void this.#guard(() => this.#file(this.#now())));
      return undefined;
    }
    this.#isNow = false;
    // A run before its time is an additional one: the time keeps its own run.
    const isExtra = isNow && this.#isEarly(nowMs, this.#dueMs);
    this.#nextMs = isExtra ? this.#dueMs : undefined;
    whenSettled(this.#kc, (this.#settled ??= () => this.#guard(() => this.#fileNext())));
    if (!isNow && !this.#isOnTime(nowMs)) return undefined;
    if (wall !== null && !isExtra) this.#ranMs = this.#dueMs;
    this.#beginsAt(nowMs);
    this.#runs++;
    return this.#func.call(undefined, this);
  }

  /**
   * Called when the wall clock was set.
   * @internal
   */
  _moved(wasWrong: boolean): void {
    // A date of its own stays, and the times of a run that is in flight are chosen when it has settled.
    const isAnew = wasWrong && !this.#policy.once;
    if (isAnew) this.#ranMs = undefined;
    if (this.#kc.running && !isAnew) return;
    try {
      this.#guard(() => {
        if (this.#kc.running) this.#beginAfterRun();
        else this.#file(isAnew ? this.#begin(true) : this.#now());
      });
    } catch (error) {
      // The timers of the other tasks are set all the same.
      reportLater(this.#kc, error);
    }
  }

  /** A user's `nextRun`, `random` or wall clock may throw: then the task has no next time, and is over. */
  #guard<T>(choose: () => T): T {
    try {
      return choose();
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  get #hasEnded(): boolean {
    return this.#dueMs === Infinity;
  }

  #now(): number {
    return this.#wall === null ? this.#kc.wq.kernel.now() : this.#wall.now;
  }

  /**
   * Whether it is too early for a time, by more than the rounding of sums of the two clocks. A shorter delay may be
   * lost when it is added to the kernel's time; its timer would then expire at the same instant forever.
   */
  #isEarly(nowMs: number, timeMs: number): boolean {
    if (!(nowMs < timeMs)) return false;
    return timeMs - nowMs > dust(timeMs) + dust(this.#kc.wq.kernel.now());
  }

  /** Chooses the first time; returns the present one. */
  #begin(isAgain: boolean): number {
    const nowMs = this.#now();
    this.#beginsAt(nowMs);
    this.#due(this.#first(this.#times, nowMs, isAgain));
    return nowMs;
  }

  /**
   * The first time that has not been run. If the clock was set back a little while the task was stopped, the task has
   * not been told.
   */
  #first(times: Timetable | FixedDelay, nowMs: number, isAgain: boolean): number {
    const firstMs = times.begin(nowMs, isAgain);
    const ranMs = this.#ranMs;
    if (ranMs === undefined || firstMs > ranMs || ranMs - nowMs > BACK_MS) return firstMs;
    return (times as Timetable).after(ranMs);
  }

  /** The same during a run: the times after it begin now. Those of a monotonic clock are kept. */
  #beginAfterRun(): void {
    const nowMs = this.#now();
    const times = this.#times;
    this.#beginsAt(nowMs);
    if (this.#policy.once || times instanceof FixedDelay) return;
    if (this.#wall === null) this.#nextMs = Math.max(this.#after(times), times.from(nowMs));
    else this.#nextMs = this.#first(times, nowMs, true);
  }

  #beginsAt(nowMs: number): void {
    if (this.#policy.overrun === 'merge') this.#beganMs = nowMs;
  }

  #due(dueMs: number): void {
    const { jitterMs, random } = this.#policy;
    this.#dueMs = dueMs;
    if (jitterMs > 0) this.#jitterMs = draw(random) * jitterMs;
  }

  /** Whether the time that has come, or a later one that has come too, is run; the others are skipped. */
  #isOnTime(nowMs: number): boolean {
    const { overrun, latestMs, jitterMs } = this.#policy;
    const times = this.#times;
    const fromMs = nowMs - latestMs - jitterMs;
    if (overrun !== 'skip' || times instanceof FixedDelay || !(this.#dueMs < fromMs)) return true;
    const nextMs = times.from(fromMs);
    if (nextMs > nowMs) {
      this.#skipped++;
      return false;
    }
    this.#skipped += times.count(this.#dueMs, nextMs);
    this.#dueMs = nextMs;
    return true;
  }

  /** The first time that counts after a run. */
  #after(timetable: Timetable): number {
    return this.#nextMs ?? timetable.after(this.#dueMs);
  }

  /** A run has settled: chooses the next time. */
  #fileNext(): void {
    const times = this.#times;
    const { overrun, graceMs, jitterMs, once } = this.#policy;
    if (this.#isStopped && !once) return;
    const nowMs = this.#now();
    if (once) this.#due(Infinity);
    else if (times instanceof FixedDelay) this.#due(times.afterRun(nowMs));
    else {
      const nextMs = this.#after(times);
      let fromMs = -Infinity;
      if (overrun === 'merge') fromMs = afterMs(times, this.#beganMs as number);
      if (overrun === 'skip') fromMs = nowMs - graceMs - jitterMs;
      const laterMs = nextMs < fromMs ? times.from(fromMs) : nextMs;
      if (laterMs !== nextMs) this.#skipped += times.count(nextMs, laterMs);
      this.#due(laterMs);
    }
    this.#file(nowMs);
  }

  /** Starts the timer. False: there is no further time, or the kernel is closing. */
  #file(nowMs: number): boolean {
    if (this.#hasEnded) {
      this[Symbol.dispose]();
      return false;
    }
    if (this.#schedule(nowMs) !== 0) return false;
    this.#wall?._add(this);
    return true;
  }

  /** Schedules the run of its time; returns an errno. The clock of the kernel is read once, by the caller. */
  #schedule(nowMs: number): number {
    const waitMs = this.#isNow ? 0 : Math.max(this.#dueMs + this.#jitterMs - nowMs, 0);
    const delayMs = Math.min(waitMs, Number.MAX_SAFE_INTEGER);
    if (delayMs > 0 && this.#wall === null) {
      const errno = scheduleFrom(this.#kc, nowMs, delayMs);
      if (errno !== REMOTE_REQUIRED) return errno;
    }
    return this.#kc._schedule(delayMs, null);
  }

  /** @internal */
  toString(): string {
    return PeriodicTask.#line(this);
  }
}

function run(task: PeriodicTask): unknown {
  return task._run();
}

/** The first time of a timetable after any time. */
function afterMs(timetable: Timetable, atMs: number): number {
  const timeMs = timetable.from(atMs);
  return timeMs > atMs ? timeMs : timetable.after(timeMs);
}

/** A random number from the user's function, which may return anything. */
function draw(random: () => number): number {
  const drawn: unknown = random();
  if (typeof drawn === 'number' && drawn >= 0 && drawn < 1) return drawn;
  throw invalid('the result of random', 'a number >= 0 and < 1', drawn);
}

/**
 * Creates a task.
 *
 * @param isByWall - whether its times are those of the wall clock
 *
 * @internal
 */
export function makeTask(
  func: PeriodicFunction,
  options: TaskOptions,
  caller: Caller,
  times: Timetable | FixedDelay,
  policy: TaskPolicy,
  isByWall: boolean,
): PeriodicTask {
  try {
    checkFunction(func);
    const { wq = processWorkqueues.prihigh, wallClock } = options;
    if (wallClock !== undefined && wallClock.kernel !== wq.kernel) {
      throw invalid('wallClock', TASK_KINDS.wallClock.expected, wallClock);
    }
    return new PeriodicTask(func, times, policy, isByWall, options);
  } catch (error) {
    throw traceFrom(caller, error);
  }
}
