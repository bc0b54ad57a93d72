/**
 * Functions that run at a fixed rate, after a fixed delay, at a date, or by a cron expression.
 *
 * @packageDocumentation
 */

import { invalid, traceFrom } from '../base/errors.ts';
import {
  FINITE_MS,
  FLAG,
  FUNCTION,
  TEXT,
  check,
  isObject,
  kindOf,
  numberOf,
  oneOf,
  optionsOf,
  readOptions,
  type Kind,
} from '../base/options-check.ts';
import { LAST_MS, isDateMs, msOfDate } from '../time/wall-clock.ts';
import {
  TASK_KINDS,
  makeTask,
  type PeriodicFunction,
  type PeriodicTask,
  type TaskOptions,
  type TaskPolicy,
} from './periodic-task.ts';
import { Dates, FixedDelay, FixedRate, Once, recurrenceOf, type Recurrence } from './timetable.ts';

export type { PeriodicFunction, PeriodicTask, TaskOptions } from './periodic-task.ts';
export type { Recurrence } from './timetable.ts';
export { VirtualWallClock, WallClock } from './wall-clock.ts';

/**
 * Optional settings of {@link every}.
 *
 * @public
 */
export interface EveryOptions extends TaskOptions {
  /**
   * `'rate'`: the period is the time from the beginning of a run to that of the next one. `'delay'`: it is the
   * time from the end of a run to the beginning of the next one. Default `'rate'`.
   */
  fixed?: 'rate' | 'delay';
  /**
   * With a fixed rate, what happens to times that pass during a run, or before a run that is late. `'skip'`: they
   * are left out. `'merge'`: all of them together get one run, immediately. `'queue'`: each has its run. A run that is
   * late because something else blocked the loop is not left out. Default `'skip'`.
   */
  overrun?: 'skip' | 'queue' | 'merge';
  /** Each run is delayed by a random time of up to so many ms, 0 or more. The times stay the same. Default 0. */
  jitterMs?: number;
  /**
   * Whether the times are multiples of the period on the wall clock, counted from 1970, UTC: each full minute
   * for a period of 60,000. Only with a fixed rate. Default false.
   */
  align?: boolean;
  /** When the first run is, in ms from now, 0 or more. Not with `align`. Default: the period. */
  initialDelayMs?: number;
  /** Returns a random number from 0 to 1, exclusive, for the jitter. Default: `Math.random`. */
  random?: () => number;
}

/**
 * Optional settings of {@link at}.
 *
 * @public
 */
export interface AtOptions extends TaskOptions {
  /**
   * What happens if the date has passed when its run could begin. `'once'`: it is run at once. `'skip'`: the same, but
   * it is not run if it passed more than `graceMs` ago. Default `'once'`.
   */
  missed?: 'skip' | 'once';
  /** With `missed: 'skip'`: how late a run may begin, in ms, 0 or more. Default 1000. */
  graceMs?: number;
}

/**
 * Optional settings of {@link cron}.
 *
 * @public
 */
export interface CronOptions extends TaskOptions {
  /** An IANA time zone, such as `'Europe/Berlin'`, for a cron expression. Default: that of the host. */
  timeZone?: string;
  /**
   * What happens to dates that pass before a run can begin, because the machine was suspended, the clock was set,
   * the loop was blocked, or a run took long. `'skip'`: those that passed more than `graceMs` ago are left out.
   * `'once'`: all of them together get one run, immediately. `'all'`: each has its run, one after the other. Default
   * `'skip'`.
   */
  missed?: 'skip' | 'once' | 'all';
  /** With `missed: 'skip'`: how late a run may begin, in ms, 0 or more. Default 1000. */
  graceMs?: number;
  /** Each run is delayed by a random time of up to so many ms, 0 or more. The dates stay the same. Default 0. */
  jitterMs?: number;
  /** Returns a random number from 0 to 1, exclusive, for the jitter. Default: `Math.random`. */
  random?: () => number;
}

const PERIOD: Kind = numberOf('a number of ms > 0, up to 8.64e15', Number.MIN_VALUE, LAST_MS);
const DATE: Kind = kindOf('a Date, or ms since 1970, up to 8.64e15', (value) =>
  isDateMs(typeof value === 'number' ? value : msOfDate(value)),
);
const RECURRENCE: Kind = kindOf(
  'a cron expression, or an object with a method nextRun',
  (value) =>
    typeof value === 'string' ||
    (isObject(value) && typeof (value as Partial<Recurrence>).nextRun === 'function'),
);

const EVERY = optionsOf<EveryOptions>(
  'every',
  {
    fixed: oneOf("'rate' or 'delay'", 'rate', 'delay'),
    overrun: oneOf("'skip', 'queue' or 'merge'", 'skip', 'queue', 'merge'),
    jitterMs: FINITE_MS,
    align: FLAG,
    initialDelayMs: FINITE_MS,
    random: FUNCTION,
    ...TASK_KINDS,
  },
  () => ({
    fixed: undefined,
    overrun: undefined,
    jitterMs: undefined,
    align: undefined,
    initialDelayMs: undefined,
    random: undefined,
    wq: undefined,
    lock: undefined,
    name: undefined,
    ref: undefined,
    signal: undefined,
    wallClock: undefined,
  }),
);
const AT = optionsOf<AtOptions>('at', {
  missed: oneOf("'skip' or 'once'", 'skip', 'once'),
  graceMs: FINITE_MS,
  ...TASK_KINDS,
});
const CRON = optionsOf<CronOptions>('cron', {
  timeZone: TEXT,
  missed: oneOf("'skip', 'once' or 'all'", 'skip', 'once', 'all'),
  graceMs: FINITE_MS,
  jitterMs: FINITE_MS,
  random: FUNCTION,
  ...TASK_KINDS,
});

/** How late a run may begin by default, with `missed: 'skip'`. */
const GRACE_MS = 1000;

/** Refuses an option that another one excludes. */
function exclude(name: string, expected: string, value: unknown): void {
  if (value !== undefined && value !== false) throw invalid(name, expected, value);
}

/**
 * Calls a function periodically.
 *
 * @remarks
 * With a fixed rate the times are multiples of the period after the first one, so they do not drift. Runs never
 * overlap. The function is not entered before its time on the monotonic clock. Its errors are reported as those of
 * a continuation, and do not end the task.
 *
 * @param periodMs - the period, in ms: more than 0, up to 8.64e15, the range of a Date; fractions count
 * @param func - called with the task; may be asynchronous on `prihigh` … `prilow`
 * @param options - optional settings
 * @returns the task. Unless the signal is aborted, it now waits for its first time
 * @throws KcontError EINVAL for an invalid argument or option, or a combination that is not supported; ESHUTDOWN
 * if the kernel is closed
 *
 * @example
 * ```ts
 * const flushing = every(5000, () => cache.flush(), { overrun: 'merge', jitterMs: 500 });
 * process.once('SIGTERM', () => flushing.stop());
 * ```
 *
 * @public
 */
export function every(
  periodMs: number,
  func: PeriodicFunction,
  options?: EveryOptions,
): PeriodicTask {
  const given = readEvery(periodMs, options);
  const { align = false, initialDelayMs = periodMs } = given;
  if (given.fixed === 'delay') {
    const delays = new FixedDelay(periodMs, initialDelayMs);
    return makeTask(func, given, every, delays, everyPolicy(given), false);
  }
  const times = new FixedRate(periodMs, align ? null : initialDelayMs);
  return makeTask(func, given, every, times, everyPolicy(given), align);
}

/** What most tasks do about times that have passed. */
const SKIP: TaskPolicy = {
  overrun: 'skip',
  graceMs: 0,
  latestMs: Infinity,
  jitterMs: 0,
  random: Math.random,
  once: false,
};

function everyPolicy({ overrun = 'skip', jitterMs = 0, random }: EveryOptions): TaskPolicy {
  if (overrun === 'skip' && jitterMs === 0) return SKIP;
  return { ...SKIP, overrun, jitterMs, random: random ?? Math.random };
}

function readEvery(periodMs: number, options: EveryOptions | undefined): EveryOptions {
  try {
    check('periodMs', PERIOD, periodMs);
    const given = readOptions(options, EVERY);
    const { fixed, overrun, align, initialDelayMs } = given;
    if (fixed === 'delay') {
      exclude('overrun', 'omitted with a fixed delay', overrun);
      exclude('align', 'omitted with a fixed delay', align);
    }
    if (align === true) exclude('initialDelayMs', 'omitted with align', initialDelayMs);
    return given;
  } catch (error) {
    throw traceFrom(every, error);
  }
}

/**
 * Calls a function at a date, by the wall clock.
 *
 * @remarks
 * If the clock is set, or the machine is suspended, the date counts and not the delay. A date that has passed is
 * run at once; with `missed: 'skip'`, it is not run if it passed more than `graceMs` ago.
 *
 * @param date - a Date, or ms since 1970, UTC, within the range of a Date
 * @param func - called with the task; may be asynchronous on `prihigh` … `prilow`
 * @param options - optional settings
 * @returns the task, which ends after its run
 * @throws KcontError EINVAL for an invalid argument or option, ESHUTDOWN if the kernel is closed
 *
 * @public
 */
export function at(date: Date | number, func: PeriodicFunction, options?: AtOptions): PeriodicTask {
  let given: AtOptions;
  try {
    check('date', DATE, date);
    given = readOptions(options, AT);
  } catch (error) {
    throw traceFrom(at, error);
  }
  const ms = typeof date === 'number' ? date : msOfDate(date);
  const { missed = 'once', graceMs: latestMs = GRACE_MS } = given;
  const overrun = missed === 'skip' ? 'skip' : 'queue';
  return makeTask(func, given, at, new Once(ms), { ...SKIP, overrun, latestMs, once: true }, true);
}

/**
 * Calls a function at the dates of a cron expression.
 *
 * @remarks
 * Expressions and time zones are read by croner, a peer dependency that has to be installed: see its documentation
 * for the syntax and for changes of daylight saving time. Runs follow the wall clock, also after it was set or the
 * machine was suspended. A date that has been run is not run again if the clock is set back by up to three hours.
 *
 * @param expression - a cron expression, or an object with a method `nextRun`, such as a paused `Cron` of croner
 * @param func - called with the task; may be asynchronous on `prihigh` … `prilow`
 * @param options - optional settings
 * @returns the task
 * @throws KcontError EINVAL for an invalid argument, option or expression, ENOTSUP if croner is not installed,
 * ESHUTDOWN if the kernel is closed
 *
 * @example
 * ```ts
 * cron('30 2 * * *', () => backUp(), { timeZone: 'Europe/Berlin', missed: 'once' });
 * ```
 *
 * @public
 */
export function cron(
  expression: string | Recurrence,
  func: PeriodicFunction,
  options?: CronOptions,
): PeriodicTask {
  let given: CronOptions;
  let dates: Dates;
  try {
    check('expression', RECURRENCE, expression);
    given = readOptions(options, CRON);
    const { timeZone } = given;
    if (typeof expression !== 'string') {
      exclude('timeZone', 'omitted with an object that has dates', timeZone);
      dates = new Dates(expression);
    } else dates = new Dates(recurrenceOf(expression, timeZone));
  } catch (error) {
    throw traceFrom(cron, error);
  }
  const { missed = 'skip', graceMs = GRACE_MS, jitterMs = 0, random = Math.random } = given;
  const overrun = OVERRUNS[missed];
  const policy = { ...SKIP, overrun, graceMs, latestMs: graceMs, jitterMs, random };
  return makeTask(func, given, cron, dates, policy, true);
}

const OVERRUNS = { skip: 'skip', once: 'merge', all: 'queue' } as const;
