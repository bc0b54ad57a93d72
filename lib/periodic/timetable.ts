/*
 * Timetables: lists of times, in order. Most times are computed only when they are needed.
 */

import { createRequire } from 'node:module';
import { KcontError, causedBy, invalid, show } from '../base/errors.ts';
import { dateAt, msOfDate } from '../time/wall-clock.ts';

/**
 * A list of times, in ms.
 *
 * @internal
 */
export interface Timetable {
  /**
   * Begins the times anew: returns the time with which a task begins at `nowMs`; Infinity: there is none.
   *
   * @param isAgain - whether the task was stopped before
   */
  begin(nowMs: number, isAgain: boolean): number;
  /** The first time that is not before `atMs`; Infinity: there is none. */
  from(atMs: number): number;
  /** The first time after one of its times; Infinity: there is none. */
  after(timeMs: number): number;
  /** How many of its times are from one time to before another. */
  count(fromMs: number, toMs: number): number;
}

/**
 * A time and all that follow it at a fixed rate. The times are multiples of the period, not sums, so they do not
 * drift.
 *
 * @internal
 */
export class FixedRate implements Timetable {
  readonly #periodMs: number;
  readonly #initialDelayMs: number | null;
  #firstMs = NaN;

  /**
   * @param initialDelayMs - the time from the beginning to the first time; null: the times are multiples of the period
   */
  constructor(periodMs: number, initialDelayMs: number | null) {
    this.#periodMs = periodMs;
    this.#initialDelayMs = initialDelayMs;
  }

  begin(nowMs: number): number {
    const delayMs = this.#initialDelayMs;
    const firstMs = delayMs === null ? alignedAfter(nowMs, this.#periodMs) : nowMs + delayMs;
    this.#firstMs = firstMs;
    return firstMs;
  }

  from(atMs: number): number {
    if (atMs <= this.#firstMs) return this.#firstMs;
    const n = Math.floor((atMs - this.#firstMs) / this.#periodMs);
    // With a period below the resolution of numbers, each number is a time.
    if (!Number.isSafeInteger(n)) return atMs;
    const timeMs = this.#at(n);
    return timeMs >= atMs ? timeMs : Math.max(this.#at(n + 1), atMs);
  }

  after(timeMs: number): number {
    // From half a period later, rounding cannot lead back to this time. A step below `leastMs` would change nothing.
    const leastMs = dust(timeMs);
    return this.from(timeMs + Math.max(this.#periodMs / 2, leastMs));
  }

  count(fromMs: number, toMs: number): number {
    return Math.round((toMs - fromMs) / this.#periodMs);
  }

  #at(n: number): number {
    return this.#firstMs + n * this.#periodMs;
  }
}

/** The first multiple of a period after a time. */
function alignedAfter(nowMs: number, periodMs: number): number {
  const n = Math.floor(nowMs / periodMs) + 1;
  return Number.isSafeInteger(n) ? n * periodMs : nowMs;
}

/** The least fixed delay: a tick of the timing wheel, to which shorter ones are rounded up. */
const LEAST_MS = 1 / 8;

/**
 * A delay after each run. There is no list of times: a time is known when the run before it has settled, so none can
 * pass meanwhile.
 *
 * @internal
 */
export class FixedDelay {
  readonly #delayMs: number;
  readonly #firstDelayMs: number;

  constructor(delayMs: number, firstDelayMs: number) {
    this.#delayMs = delayMs;
    this.#firstDelayMs = firstDelayMs;
  }

  begin(nowMs: number): number {
    return nowMs + this.#firstDelayMs;
  }

  /** The time after a run that has settled at `nowMs`. A shorter delay would be lost when it is added. */
  afterRun(nowMs: number): number {
    return nowMs + Math.max(this.#delayMs, LEAST_MS, 4 * dust(nowMs));
  }
}

/**
 * By how much the rounding of a sum may change a time.
 *
 * @internal
 */
export function dust(ms: number): number {
  return Math.abs(ms) * Number.EPSILON;
}

/**
 * One time.
 *
 * @internal
 */
export class Once implements Timetable {
  readonly #ms: number;

  constructor(ms: number) {
    this.#ms = ms;
  }

  /**
   * A date that has passed is due too: what that means is decided when it is run. If the task was stopped before, it is
   * left out.
   */
  begin(nowMs: number, isAgain: boolean): number {
    return isAgain ? this.from(nowMs) : this.#ms;
  }

  from(atMs: number): number {
    return atMs <= this.#ms ? this.#ms : Infinity;
  }

  after(): number {
    return Infinity;
  }

  count(): number {
    return 1;
  }
}

/**
 * A list of dates, such as a `Cron` of croner.
 *
 * @public
 */
export interface Recurrence {
  /** Returns the first date after another one; null: there is none. */
  nextRun(after: Date): Date | null;
}

/** Times that have passed are counted up to this number. */
const MOST_COUNTED = 1000;

/**
 * The dates of a recurrence.
 *
 * @internal
 */
export class Dates implements Timetable {
  readonly #recurrence: Recurrence;

  constructor(recurrence: Recurrence) {
    this.#recurrence = recurrence;
  }

  begin(nowMs: number): number {
    return this.after(nowMs);
  }

  from(atMs: number): number {
    return this.after(Math.ceil(atMs) - 1);
  }

  after(timeMs: number): number {
    const date: unknown = this.#recurrence.nextRun(dateAt(timeMs));
    if (date === null) return Infinity;
    const ms = msOfDate(date);
    if (ms > timeMs) return ms;
    throw invalid('the result of nextRun', 'null or a Date after the one given', date);
  }

  count(fromMs: number, toMs: number): number {
    let count = 0;
    for (let at = fromMs; at < toMs && count < MOST_COUNTED; at = this.after(at)) count++;
    return count;
  }
}

/** What is used of croner. */
interface Croner {
  readonly Cron: new (
    pattern: string,
    options: { paused: boolean; timezone?: string },
  ) => Recurrence;
}

/** croner, if it has been imported: a look for its file takes 20 us. */
let croner: unknown;

function importCroner(): unknown {
  return (croner ??= createRequire(import.meta.url)('croner'));
}

/** Expressions that have been read, by time zone and expression; the earliest is dropped when there are too many. */
const expressions = new Map<string, Recurrence>();
const MOST_EXPRESSIONS = 256;

/**
 * Reads a cron expression with croner, which has to be installed. Equal expressions share a result, which takes a third
 * of the time.
 *
 * @throws KcontError ENOTSUP if croner cannot be imported, EINVAL for an invalid expression or time zone
 *
 * @internal
 */
export function recurrenceOf(expression: string, timeZone: string | undefined): Recurrence {
  const key = `${timeZone ?? ''}\n${expression}`;
  const known = expressions.get(key);
  if (known !== undefined) return known;
  const read = readExpression(expression, timeZone);
  // The local time zone may be changed by the program, so its dates are not remembered.
  const recurrence = timeZone === undefined ? read : new Remembered(read);
  if (expressions.size === MOST_EXPRESSIONS) {
    for (const earliest of expressions.keys()) {
      expressions.delete(earliest);
      break;
    }
  }
  expressions.set(key, recurrence);
  return recurrence;
}

/**
 * A recurrence that remembers its last answer: there is no other date between the date given and the one returned. In a
 * time zone, an answer takes 60 us, and many tasks with one expression ask at the same time.
 */
class Remembered implements Recurrence {
  readonly #recurrence: Recurrence;
  #afterMs = NaN;
  #next: Date | null = null;

  constructor(recurrence: Recurrence) {
    this.#recurrence = recurrence;
  }

  nextRun(after: Date): Date | null {
    const afterMs = msOfDate(after);
    const nextMs = this.#next === null ? Infinity : msOfDate(this.#next);
    if (!(afterMs >= this.#afterMs && afterMs < nextMs)) {
      this.#next = this.#recurrence.nextRun(after);
      this.#afterMs = afterMs;
    }
    return this.#next;
  }
}

/**
 * Reads a cron expression with croner, which has to be installed.
 *
 * @param load - imports croner
 * @throws KcontError ENOTSUP if croner cannot be imported, EINVAL for an invalid expression or time zone
 *
 * @internal
 */
export function readExpression(
  expression: string,
  timeZone: string | undefined,
  load: () => unknown = importCroner,
): Recurrence {
  let found: Croner;
  try {
    found = load() as Croner;
  } catch (error) {
    const what = "cron expressions need the package 'croner' to be installed";
    throw causedBy(new KcontError('ENOTSUP', what), error);
  }
  try {
    // Without a prototype: croner would read options that a package has added to Object.prototype.
    const options = Object.create(null) as { paused: boolean; timezone?: string };
    options.paused = true;
    if (timeZone !== undefined) options.timezone = checkZone(timeZone);
    return new found.Cron(expression, options);
  } catch (error) {
    const where = timeZone === undefined ? '' : ` in the time zone ${show(timeZone)}`;
    const what = `${show(expression)}${where} cannot be read: ${(error as Error).message}`;
    throw causedBy(new KcontError('EINVAL', what), error);
  }
}

/** Time zones that have been checked, which takes 50 us each. */
const zones = new Set<string>();

/** croner looks at the time zone only when it computes a date. */
function checkZone(timeZone: string): string {
  if (!zones.has(timeZone)) {
    new Intl.DateTimeFormat('en', { timeZone }).format(0);
    zones.add(timeZone);
  }
  return timeZone;
}
