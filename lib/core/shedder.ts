/*
 * Load shedding: new runs are refused while earlier ones wait for too long.
 *
 *   wait of the oldest run
 *          |            | runs are refused while it is above the target
 *          |      /\  /\|
 *          |  /\ /  \/  \  /\    /\
 *   target |-/--\--------\/--\--/--\-----------------------------------
 *          |/    <------>     \/    \______
 *          |     intervalMs               <------> accepted again
 *                                         intervalMs
 *
 * A wait above the target is a burst as long as it falls below the target from time to time, and costs nobody
 * anything. Above the target for a whole interval, it is a standing queue: more comes than is done, and each
 * run that is accepted makes all later ones wait for longer. From then on runs of the lowest priority are
 * refused while the wait is above the target, at that priority or a higher one. If the higher ones still wait
 * above the target for an interval, the next priority is refused too. The queue stays about as long as the
 * target, so there is always work. After an interval below the target, one priority less is refused.
 *
 * The wait is the age of the oldest run that has been accepted and not entered (see `Backlog`). Two kinds of
 * runs do not count: those that a later run of the same workqueue has overtaken, because they wait for a lock and
 * not for the CPU; and those that no whole pass has had the chance to enter, so that a blocked event loop is
 * not taken for load.
 *
 * Only `run` and the entry of a pipeline are refused, at once and with a time after which to try again.
 * `schedule` is not: what a continuation stands for was accepted when it was created.
 *
 * Source: Nichols and Jacobson, Controlling Queue Delay (2012), for telling a standing queue from a burst.
 */

import { KcontError } from '../base/errors.ts';
import { List, type Links } from '../base/list.ts';
import { TICKS_PER_MS } from '../time/timing-wheel.ts';
import type { Dispatcher } from './dispatcher.ts';

/**
 * When runs are refused.
 *
 * @public
 */
export interface ShedOptions {
  /** The wait, in ms, that a standing queue may cause: more than 0, default 5. */
  targetMs?: number;
  /** For how long, in ms, the wait must be above the target before runs are refused: more than 0, default 100. */
  intervalMs?: number;
}

/**
 * The settings of a shedder, complete.
 *
 * @internal
 */
export interface ShedSettings {
  readonly targetMs: number;
  readonly intervalMs: number;
}

/** After so many passes, a run has been passed over by a whole one. */
const PASSES = 2;

/**
 * The error of a run that was refused because of load.
 *
 * @public
 */
export class ShedError extends KcontError {
  /** After how many ms a new attempt makes sense: a whole number, 1 or more. `kcont/retry` obeys it. */
  readonly retryAfterMs: number;

  /** @internal */
  constructor(workqueue: string, waitMs: number, { targetMs, intervalMs }: ShedSettings) {
    const retryAfterMs = Math.ceil(Math.max(waitMs, intervalMs));
    super(
      'ESHED',
      `workqueue ${workqueue} refuses runs: the oldest one has waited for ${Math.round(waitMs)} ms, ` +
        `the target is ${targetMs} ms; try again after ${retryAfterMs} ms`,
    );
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * A run that has been accepted and not entered.
 *
 * @internal
 */
export class Arrival implements Links {
  _next: Links = this;
  _prev: Links = this;
  /** The absolute tick of its arrival, and the number of passes that had begun by then. */
  readonly tick: number;
  readonly pass: number;

  constructor(tick: number, pass: number) {
    this.tick = tick;
    this.pass = pass;
  }
}

/**
 * The runs that wait on one workqueue, oldest first.
 *
 * @internal
 */
export class Backlog {
  readonly name: string;
  /** Its place among those of its shedder: 0 has the lowest priority. */
  readonly rank: number;
  readonly #shedder: Shedder;
  readonly #waiting = new List<Arrival>();
  /** Runs refused so far. */
  shed = 0;

  constructor(shedder: Shedder, name: string, rank: number) {
    this.#shedder = shedder;
    this.name = name;
    this.rank = rank;
  }

  /** Whether runs are refused while the wait is above the target. */
  get shedding(): boolean {
    return this.rank < this.#shedder.depth;
  }

  /** For how many ms the oldest run has waited; whether runs are refused is decided anew. */
  waitMs(): number {
    const now = this.#shedder.dispatcher.presentTick();
    this.#shedder.look(now);
    return this.waited(now) / TICKS_PER_MS;
  }

  /** Throws ESHED, or returns an arrival for `add`. */
  admit(): Arrival {
    const { dispatcher } = this.#shedder;
    const now = dispatcher.presentTick();
    this.#shedder.look(now);
    this.#shedder.check(this, now);
    return new Arrival(now, dispatcher.passes);
  }

  /** A run has been accepted. Its arrival is unlinked if the run is withdrawn. */
  add(arrival: Arrival): void {
    this.#waiting.push(arrival);
  }

  /** A run is entered: those before it have been overtaken, and count no more. */
  entered(arrival: Arrival): void {
    if (arrival._next === arrival) return;
    while (this.#waiting.shift() !== arrival);
  }

  /** For how many ticks the oldest run has waited at an absolute tick. */
  waited(now: number): number {
    const oldest = this.#waiting.first;
    if (oldest === undefined) return 0;
    const { passes } = this.#shedder.dispatcher;
    return passes - oldest.pass < PASSES ? 0 : Math.max(0, now - oldest.tick);
  }
}

/**
 * Decides for some workqueues, lowest priority first.
 *
 * @internal
 */
export class Shedder {
  readonly dispatcher: Dispatcher;
  readonly settings: ShedSettings;
  /** Lowest priority first. */
  readonly #backlogs: Backlog[] = [];
  readonly #target: number;
  readonly #interval: number;
  /** How many of them refuse runs, those of the lowest priorities. */
  depth = 0;
  /** Since when those that accept have waited above the target, at each look; Infinity: they have not. */
  #aboveSince = Infinity;
  /** Since when none has waited above the target that would hold up the last one that refuses. */
  #belowSince = Infinity;
  /** The tick of the last change, whose effect shows after an interval. */
  #changed = -Infinity;

  constructor(dispatcher: Dispatcher, settings: ShedSettings) {
    this.dispatcher = dispatcher;
    this.settings = settings;
    this.#target = settings.targetMs * TICKS_PER_MS;
    this.#interval = settings.intervalMs * TICKS_PER_MS;
  }

  /** Adds a workqueue, whose priority is higher than those of the workqueues before it. */
  add(name: string): Backlog {
    const backlog = new Backlog(this, name, this.#backlogs.length);
    this.#backlogs.push(backlog);
    return backlog;
  }

  /** Looks how long runs wait at an absolute tick, and decides which workqueues refuse them. */
  look(now: number): void {
    const { depth } = this;
    const over = this.#longest(depth, now) - this.#target;
    // The wait of the oldest run has been too long since it reached the target, whoever looked.
    const since = Math.max(now - over, this.#changed);
    this.#aboveSince = over > 0 ? Math.min(this.#aboveSince, since) : Infinity;
    const isBelow = depth > 0 && this.#longest(depth - 1, now) <= this.#target;
    this.#belowSince = isBelow ? Math.min(this.#belowSince, now) : Infinity;
    if (now - this.#aboveSince >= this.#interval) this.#change(depth + 1, now);
    else if (now - this.#belowSince >= this.#interval) this.#change(depth - 1, now);
  }

  #change(depth: number, now: number): void {
    this.depth = depth;
    this.#changed = now;
    this.#aboveSince = Infinity;
    this.#belowSince = Infinity;
  }

  /** Throws ESHED if a workqueue refuses a run at an absolute tick. */
  check(backlog: Backlog, now: number): void {
    if (!backlog.shedding) return;
    const ticks = this.#longest(backlog.rank, now);
    if (ticks <= this.#target) return;
    backlog.shed++;
    throw new ShedError(backlog.name, ticks / TICKS_PER_MS, this.settings);
  }

  /** For how many ticks the oldest run has waited, of those from a rank on. */
  #longest(rank: number, now: number): number {
    let longest = 0;
    for (let at = rank; at < this.#backlogs.length; at++) {
      longest = Math.max(longest, (this.#backlogs[at] as Backlog).waited(now));
    }
    return longest;
  }
}
