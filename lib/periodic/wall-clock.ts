/*
 * Timers by the time of day.
 *
 *   delay = due date - wall clock, measured when the timer is armed; the wheel counts it monotonically
 *
 * That delay is wrong as soon as the two clocks do not advance alike: if the wall clock is set, and after a
 * suspend. So while there are such timers, an unreferenced continuation compares the clocks once a second. If
 * their difference has changed by more than 10 ms, all timers by the wall clock are set again. When a timer
 * expires, the wall clock is read again, so no timer is early by this clock.
 *
 * Cost: two clock reads a second, however many timers; O(1) for each timer when the clock was set. Node has no
 * call that reports a change of the clock, as timerfd's TFD_TIMER_CANCEL_ON_SET does.
 */

import { invalid, isA, isCallable, traceFrom } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { Kcont } from '../core/kcont.ts';
import { Kernel } from '../core/kernel.ts';
import { dateAt, hostWallMs, isDateMs } from '../time/wall-clock.ts';
import { VirtualClock } from '../time/virtual-clock.ts';

/** How often the clocks are compared, in ms. */
const CHECK_MS = 1000;
/** By how much their difference may change without being noticed, in ms. */
const DRIFT_MS = 10;
/**
 * A clock that is set back by more than this is assumed to have been wrong, and times are run again.
 *
 * @internal
 */
export const BACK_MS: number = 3 * 3_600_000;
/** What is expected of a time. */
const EXPECTED = 'ms since 1970, within the range of a Date';

/**
 * Something that is due at a time of the wall clock.
 *
 * @internal
 */
export interface WallTimer {
  /** The wall clock was set, so its timer has to be set again. `wasWrong`: it was set back by over three hours. */
  _moved(wasWrong: boolean): void;
}

/**
 * The time of day, for the timers of one kernel.
 *
 * @remarks
 * By default a kernel has the clock of the host; a kernel on a VirtualClock has a wall clock that was at 1970 when
 * the virtual time was 0. Create one to use another source of time, or a {@link VirtualWallClock} in tests.
 *
 * @public
 */
export class WallClock {
  static readonly #line: (clock: WallClock) => string = /* @__PURE__ */ defineInspect<WallClock>(
    this,
    ({ now }, name) => `${name} { ${dateAt(now).toISOString()} }`,
    ({ now }) => ({ now }),
  );
  /** The kernel whose monotonic clock counts the delays. */
  readonly kernel: Kernel;
  readonly #read: () => number;
  readonly #timers = new Set<WallTimer>();
  readonly #watch: Kcont<WallClock> | null;
  #offsetMs = 0;

  /**
   * Creates a wall clock.
   *
   * @param kernel - the kernel of the tasks that use it
   * @param readMs - returns ms since 1970, UTC, within the range of a Date. While there are timers, it is compared
   * with the kernel's clock once a second. Default: `Date.now`
   * @throws KcontError EINVAL for an invalid argument
   */
  constructor(kernel: Kernel, readMs: () => number = hostWallMs) {
    if (!isA(kernel, Kernel)) throw traceFrom(WallClock, invalid('kernel', 'a Kernel', kernel));
    if (!isCallable(readMs)) throw traceFrom(WallClock, invalid('readMs', 'a function', readMs));
    this.kernel = kernel;
    this.#read = readMs;
    this.#watch = this._isWatched
      ? new Kcont<WallClock>(kernel.wq.softclock, null, check, this, {
          name: 'wall clock',
          ref: false,
        })
      : null;
  }

  /** Milliseconds since 1970, UTC. Throws KcontError EINVAL if `readMs` returns anything else. */
  get now(): number {
    const ms: unknown = this.#read();
    if (isDateMs(ms)) return ms;
    throw invalid('the result of readMs', EXPECTED, ms);
  }

  /**
   * Whether it may be set without notice.
   * @internal
   */
  get _isWatched(): boolean {
    return true;
  }

  /** @internal */
  _add(timer: WallTimer): void {
    this.#timers.add(timer);
    if (this.#watch === null || this.#watch.pending) return;
    this.#offsetMs = this.#offset;
    this._watchOn();
  }

  /** @internal */
  _delete(timer: WallTimer): void {
    this.#timers.delete(timer);
    if (this.#timers.size === 0) this.#watch?.stop();
  }

  /**
   * Sets all timers again.
   *
   * @param stepMs - by how much the clock was set forward, or back if negative
   * @internal
   */
  _fileAnew(stepMs: number): void {
    // A timer that is set again leaves the list of timers or stays in it; none is added.
    for (const timer of this.#timers) timer._moved(stepMs < -BACK_MS);
  }

  /**
   * Compares the clocks.
   * @internal
   */
  _check(): void {
    if (this.#timers.size > 0) this._watchOn();
    const offsetMs = this.#offset;
    const stepMs = offsetMs - this.#offsetMs;
    if (Math.abs(stepMs) <= DRIFT_MS) return;
    this.#offsetMs = offsetMs;
    this._fileAnew(stepMs);
  }

  /**
   * Schedules the next comparison; the errno is ignored, because a closed kernel has no timers.
   * @internal
   */
  _watchOn(): void {
    const watch = this.#watch;
    watch?.ack();
    watch?._schedule(CHECK_MS, null);
  }

  get #offset(): number {
    return this.now - this.kernel.now();
  }

  /** @internal */
  toString(): string {
    return WallClock.#line(this);
  }
}

function check(clock: WallClock): void {
  clock._check();
}

/**
 * A wall clock for tests: it follows the kernel's clock, and can be set.
 *
 * @example
 * ```ts
 * const clock = new VirtualClock();
 * const kernel = new Kernel({ clock });
 * const wallClock = new VirtualWallClock(kernel, Date.UTC(2025, 2, 30));
 * clock.tick(1000);            // both advance by a second
 * wallClock.set(Date.UTC(2025, 2, 31));   // as after a suspend: only the wall clock has advanced
 * ```
 *
 * @public
 */
export class VirtualWallClock extends WallClock {
  readonly #base: { ms: number };

  /**
   * Creates a wall clock.
   *
   * @param kernel - the kernel of the tasks that use it, usually on a VirtualClock
   * @param startMs - its time at present, in ms since 1970, UTC. Default 0
   * @throws KcontError EINVAL for an invalid argument
   */
  constructor(kernel: Kernel, startMs: number = 0) {
    const base = { ms: 0 };
    super(kernel, () => kernel.now() + base.ms);
    this.#base = base;
    if (!isDateMs(startMs)) {
      throw traceFrom(VirtualWallClock, invalid('startMs', EXPECTED, startMs));
    }
    base.ms = startMs - kernel.now();
  }

  /** @internal */
  override get _isWatched(): boolean {
    return false;
  }

  /**
   * Sets the time; the timers of all tasks that use this clock are set again.
   *
   * @param ms - the new time, in ms since 1970, UTC
   * @throws KcontError EINVAL if it is not a number within the range of a Date
   */
  set(ms: number): void {
    if (!isDateMs(ms)) {
      throw traceFrom(VirtualWallClock.prototype.set, invalid('ms', EXPECTED, ms));
    }
    const baseMs = ms - this.kernel.now();
    const stepMs = baseMs - this.#base.ms;
    this.#base.ms = baseMs;
    this._fileAnew(stepMs);
  }
}

const clocks = new WeakMap<Kernel, WallClock>();

/**
 * Returns the default wall clock of a kernel.
 *
 * @internal
 */
export function wallClockOf(kernel: Kernel): WallClock {
  let clock = clocks.get(kernel);
  if (clock === undefined) {
    const isVirtual = isA(kernel.wq.softclock._dispatcher.clock, VirtualClock);
    clock = isVirtual ? new VirtualWallClock(kernel, kernel.now()) : new WallClock(kernel);
    clocks.set(kernel, clock);
  }
  return clock;
}
