import type { Cpu, RemoteState } from './cpu.ts';
import { defineInspect } from '../base/inspect.ts';
import { Details, Extras, type Affinity } from './extras.ts';
import { whenSettled } from './invoke.ts';
import { KcontError, checkFunction, functionName, traceFrom, type Caller } from '../base/errors.ts';
import type { Entry } from '../base/list.ts';
import type { BaseLock, Lock } from '../locks/lock.ts';
import { checkLock } from '../locks/lock-check.ts';
import type { Timekeeper } from '../locks/turnstile.ts';
import { mayBePromoted } from './patience.ts';
import { applyOptions, type KcontOptions } from './options.ts';
import { checkInterlock, checkWorkqueue, mayChange } from './refusal.ts';
import {
  REMOTE_REQUIRED,
  label,
  makeRunnable,
  refuse,
  reset,
  restartTimer,
  scheduleRemote,
  startTimer,
  whyNot,
} from './schedule.ts';
import {
  DEAD,
  EXPIRED,
  HALTING,
  INVOKING,
  PENDING,
  QUEUED,
  REMOTE,
  RUNNING,
  SCHEDULED,
  UNREF,
  WAITED,
  describeState,
  acked,
  stopped,
} from './state.ts';
import type { Workqueue } from './workqueue.ts';

/**
 * A continuation's function.
 *
 * @remarks
 * Called with the continuation's argument and the continuation. It may be asynchronous on the
 * queues `prihigh` … `prilow`, and then runs until its promise settles. What it returns, or its promise is
 * fulfilled with, is not used.
 *
 * @public
 */
export type KcontFunction<A> = {
  call(arg: A, kc: Kcont<A>): unknown;
}['call'];

/**
 * Bit of {@link KcontHandle.cancel | Kcont.cancel}: something that was scheduled has been withdrawn.
 *
 * @public
 */
export const CANCELLED = 1;

/**
 * Bit of {@link KcontHandle.cancel | Kcont.cancel}: a run is in flight.
 *
 * @public
 */
export const DRAINING = 2;

/**
 * A continuation: one function, its argument, a workqueue, perhaps a lock. Made once, scheduled
 * many times.
 *
 * @remarks
 * Scheduled with a delay it is a timer; without, a job that runs soon, at the priority of its
 * workqueue. It never overlaps itself, runs after the I/O that has already arrived, and with a lock
 * it excludes whoever else holds that.
 *
 * @example
 * ```ts
 * const idle = new Kcont(wq.softclock, conn.lock, closeIdle, conn);
 * idle.schedule(30_000);
 * socket.on('data', () => idle.touch());
 * socket.on('close', () => idle.destroy());
 * ```
 *
 * @public
 */
export class Kcont<A> {
  // First what `touch` needs: it then costs one cache line of a handle that is cold.
  /** @internal */
  _state = 0;
  /**
   * PENDING: the tick of the deadline, from the wheel's base. QUEUED: when it became runnable.
   * @internal
   */
  _due = 0;
  /**
   * The last delay, in ticks; FAR: see the details.
   * @internal
   */
  _delay = 0;
  /** @internal */
  _wq: Workqueue;
  /** @internal */
  _details: Details | null = null;
  /** @internal */
  _next: Entry = this;
  /** @internal */
  _prev: Entry = this;
  /** @internal */
  _lock: BaseLock | null;
  /** @internal */
  _func: KcontFunction<A>;
  /** @internal */
  _arg: A;
  /** @internal */
  _seq = 0;
  /** @internal */
  _era = 0;

  /**
   * Makes an idle continuation.
   *
   * @param wq - where it runs, and at which priority
   * @param lock - taken before the function and released when it settles; null: none
   * @param func - what it runs
   * @param arg - the function's first argument
   * @param options - what few need
   * @throws KcontError EINVAL for an argument that is not what it has to be, a released workqueue
   * or a disposed scope
   */
  constructor(
    wq: Workqueue,
    lock: Lock | null,
    func: KcontFunction<A>,
    arg: A,
    options?: KcontOptions,
  ) {
    try {
      checkWorkqueue(wq);
      checkLock(lock);
      checkFunction(func);
      this._wq = wq;
      this._lock = lock;
      this._func = func;
      this._arg = arg;
      if (options !== undefined) applyOptions(this, options);
    } catch (error) {
      throw traceFrom(Kcont, error);
    }
    wq._references++;
    const { cpuLink } = wq._dispatcher;
    if (cpuLink !== null) cpuLink.adopt(this);
    if (options !== undefined && this._extras?.signal?.aborted === true) this.destroy();
  }

  /**
   * Schedules it to run: soon without a delay, else when the delay is over.
   *
   * @remarks
   * On a PENDING continuation this sets a new deadline. Enters no earlier than the delay by the
   * monotonic clock, and not before the I/O that had arrived by then has been handled; at equal
   * times in the order of the calls.
   *
   * @param delayMs - 0 … 2^53-1 ms, fractions round up; 0, the default: no delay
   * @param cpu - where to run, on a workqueue with a queue per CPU; null: wherever
   * @returns true: it is scheduled; false: nothing changed, for it is busy (INVOKING, or a halt waits),
   * was destroyed, its kernel is in the grace of `close`, or is closed while a run of it is in flight
   * @throws KcontError EINVAL for a delay or a CPU that is not what it has to be, ENOENT for a CPU
   * on a workqueue without a queue per CPU, ESHUTDOWN when the kernel is closed and no run is in flight
   */
  schedule(delayMs: number = 0, cpu: Cpu | null = null): boolean {
    const errno = this._schedule(delayMs, cpu);
    return errno === 0 || refuse(this, errno, delayMs, cpu, Kcont.prototype.schedule);
  }

  /**
   * The same, with the proposal's numbers.
   * @internal
   */
  _schedule(delayMs: number, cpu: Cpu | null): number {
    const errno = whyNot(this, delayMs, cpu);
    if (errno !== 0) return errno === REMOTE_REQUIRED ? scheduleRemote(this, delayMs, cpu) : errno;
    // What others have scheduled here comes first.
    const { cpuLink } = this._wq._dispatcher;
    if (cpuLink !== null) cpuLink.take();
    if (delayMs === 0) makeRunnable(this);
    else startTimer(this, delayMs);
    const extras = this._extras;
    if (extras !== null && extras.policy === 'schedule') extras.capture();
    return 0;
  }

  /**
   * Withdraws what is scheduled, acknowledges a run in flight, and schedules anew.
   *
   * @param delayMs - as for {@link KcontHandle.schedule | Kcont.schedule}
   * @param cpu - as for {@link KcontHandle.schedule | Kcont.schedule}
   * @returns true: it is scheduled, and will be entered when a run in flight has settled; false:
   * nothing changed, for a halt waits, it was destroyed, its kernel is in the grace of `close`, or is
   * closed while a run of it is in flight
   * @throws as {@link KcontHandle.schedule | Kcont.schedule}
   */
  reset(delayMs: number = 0, cpu: Cpu | null = null): boolean {
    const errno = reset(this, delayMs, cpu);
    return errno === 0 || refuse(this, errno, delayMs, cpu, Kcont.prototype.reset);
  }

  /**
   * Moves the deadline of a PENDING continuation to now plus its last delay. A store.
   *
   * @remarks
   * Keeps its sequence number: among equal deadlines it runs as if scheduled when it was.
   *
   * @returns true: moved; false: it is not PENDING, nothing changed
   */
  touch(): boolean {
    if ((this._state & (PENDING | REMOTE)) !== PENDING) return this._remote?.touch() ?? false;
    restartTimer(this);
    return true;
  }

  /**
   * Withdraws what is scheduled, at once and for certain. Never waits; legal anywhere.
   *
   * @remarks
   * After it returns, no call begins that was scheduled before: not one whose timer has expired,
   * nor one that is queued or waits for its lock. {@link KcontHandle.expired | Kcont.expired} is false from then
   * on, also while a run in flight goes on.
   *
   * @returns false: it is not running and will not run, so what it uses may be freed at once; true:
   * it has been entered since it was last scheduled, or is still running ({@link KcontHandle.running | Kcont.running}
   * tells)
   */
  stop(): boolean {
    const state = this._withdraw();
    return (state & RUNNING) !== 0 || (state & (EXPIRED | QUEUED)) === EXPIRED;
  }

  /**
   * Stops it. Returns the state before.
   * @internal
   */
  _withdraw(): number {
    const state = this._state;
    if ((state & REMOTE) !== 0) return (this._remote as RemoteState).stop();
    if ((state & SCHEDULED) !== 0) this._wq._dispatcher.withdraw(this);
    else this._state = stopped(state);
    const extras = this._extras;
    if (extras !== null) extras.asyncContext = undefined;
    return state;
  }

  /**
   * Stops it, and answers both questions.
   *
   * @returns bits: {@link CANCELLED}, something scheduled was withdrawn; {@link DRAINING}, a run is
   * in flight
   */
  cancel(): number {
    const state = this._withdraw();
    return ((state & SCHEDULED) === 0 ? 0 : CANCELLED) | ((state & RUNNING) === 0 ? 0 : DRAINING);
  }

  /**
   * Stops it and waits until it is not running. Meanwhile it cannot be scheduled.
   *
   * @remarks
   * Called by its own function after an `await`, it cannot be told from any other caller, and waits
   * for ever: there use {@link KcontHandle.drainAsync | Kcont.drainAsync}.
   *
   * @param interlock - a lock the caller holds; released while waiting, held again after
   * @returns a promise of true: there was a run to wait for; false: it was not running. Rejected
   * with KcontError EDEADLK from within its own function, before its first `await`; EINVAL for an
   * interlock that is no lock of kcont, EPERM for one that is not held: nothing has changed then.
   * Rejected too if the interlock cannot be taken again. In any case it can be scheduled afterwards
   */
  halt(interlock?: Lock): Promise<boolean> {
    return this._halt(interlock, Kcont.prototype.halt);
  }

  /** @internal */
  async _halt(interlock: Lock | undefined, caller: Caller): Promise<boolean> {
    try {
      if (interlock !== undefined) checkInterlock(this, interlock);
      this._mayHalt();
    } catch (error) {
      throw traceFrom(caller, error);
    }
    this.stop();
    if (!this.running) return false;
    const settled = this._beginHalt();
    try {
      interlock?.exit();
      await settled;
      await interlock?.enter();
    } finally {
      this._endHalt();
    }
    return true;
  }

  /** @internal */
  _mayHalt(): void {
    if (this._wq._dispatcher.current !== this || !this.running) return;
    throw new KcontError('EDEADLK', `${label(this)} cannot wait for itself to settle`);
  }

  /**
   * Stops it, and refuses to schedule until the halt ends. Resolves when it is not running.
   * @internal
   */
  _beginHalt(): Promise<void> {
    this.stop();
    this._needExtras().halts++;
    this._state |= HALTING;
    this._remote?.setHalting(true);
    if (!this.running) return Promise.resolve();
    return new Promise((resolve) => whenSettled(this, resolve));
  }

  /** @internal */
  _endHalt(): void {
    if (--this._needExtras().halts > 0) return;
    this._state &= ~HALTING;
    this._remote?.setHalting(false);
  }

  /**
   * Stops it, and calls back when it is not running, if it is.
   *
   * @param done - called with the argument as soon as the run in flight has settled
   * @returns true: it is idle now, `done` is not called; false: `done` will be called
   * @throws KcontError EINVAL if `done` is not a function
   */
  drainAsync(done: (arg: A) => void): boolean {
    checkFunction(done, 'done', Kcont.prototype.drainAsync);
    if ((this._withdraw() & RUNNING) === 0) return true;
    whenSettled(this, () => done(this._arg));
    return false;
  }

  /**
   * Clears INVOKING during a run, so that the continuation may be scheduled again. `expired` stays true.
   *
   * @returns true: cleared; false: it is not running, or has acknowledged this run already
   */
  ack(): boolean {
    if ((this._state & REMOTE) !== 0) return (this._remote as RemoteState).ack();
    if ((this._state & (RUNNING | INVOKING | QUEUED)) !== (RUNNING | INVOKING)) return false;
    this._state = acked(this._state);
    return (this._state & DEAD) === 0;
  }

  /** Stops it for good: from now on it refuses to be scheduled. A second time does nothing. */
  destroy(): void {
    if ((this._state & DEAD) !== 0) return;
    if (this._remote?.destroy() === undefined) this.stop();
    this._finalizeDestroy();
  }

  /**
   * It is destroyed: lets go of what it holds on to.
   * @internal
   */
  _finalizeDestroy(): void {
    if ((this._state & DEAD) !== 0) return;
    this._state |= DEAD;
    // A run in flight keeps its workqueue: the settle lets it go.
    if ((this._state & RUNNING) === 0) this._wq._dereference();
    const details = this._details;
    if (details === null) return;
    details.scope?._delete(this);
    details.extras?.dropSignal(this);
  }

  /**
   * Its signal has been aborted.
   * @internal
   */
  _abort(): void {
    this.destroy();
  }

  /** The same as {@link KcontHandle.destroy | Kcont.destroy}, for `using`. */
  [Symbol.dispose](): void {
    this.destroy();
  }

  /** Destroys it and waits until it is not running, for `await using`. Rejected as `halt` is. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.destroy();
    await this.halt();
  }

  /** Its timer runs. */
  get pending(): boolean {
    return (this._bits & PENDING) !== 0;
  }

  /**
   * Its function has been entered since it was last scheduled, and it was not stopped since: scheduling and
   * stopping clear it, `ack` and the end of the run do not.
   */
  get expired(): boolean {
    return (this._bits & (EXPIRED | QUEUED)) === EXPIRED;
  }

  /** Committed to run, or running without having acknowledged. */
  get invoking(): boolean {
    return (this._bits & (INVOKING | DEAD)) === INVOKING;
  }

  /** PENDING, INVOKING or EXPIRED. */
  get active(): boolean {
    const bits = this._bits;
    return (bits & (INVOKING | DEAD)) === INVOKING || (bits & (PENDING | EXPIRED)) !== 0;
  }

  /** PENDING, INVOKING or running. */
  get busy(): boolean {
    return (this._bits & (PENDING | INVOKING | RUNNING)) !== 0;
  }

  /** Its function has been entered and has not settled. */
  get running(): boolean {
    return (this._bits & RUNNING) !== 0;
  }

  /** It was destroyed. */
  get destroyed(): boolean {
    return (this._bits & DEAD) !== 0;
  }

  /** When it is due, in ms on the axis of `kernel.now()`; NaN while it is not PENDING. */
  get deadline(): number {
    if ((this._state & REMOTE) !== 0) return (this._remote as RemoteState).deadline;
    if (!this.pending) return NaN;
    const { wheel, clock } = this._wq._dispatcher;
    return wheel.dueTick(this) - clock._phase;
  }

  /** Where it runs. */
  get wq(): Workqueue {
    return this._wq;
  }

  /** The lock it takes; null: none. */
  get lock(): Lock | null {
    return this._lock;
  }

  /** Its name, or that of its function. */
  get name(): string {
    return this._details?.name ?? functionName(this._func);
  }

  /** How much it prefers a CPU. */
  get affinity(): Affinity {
    return this._extras?.affinity ?? 'none';
  }

  /**
   * Changes the argument. A run that has been entered does not see it.
   *
   * @param arg - the new one
   * @throws KcontError EPERM if there is a lock that is not held; EINVAL if destroyed
   */
  setArg(arg: A): void {
    mayChange(this, 'setArg', Kcont.prototype.setArg);
    this._remote?.setArg(arg);
    this._arg = arg;
  }

  /**
   * Changes the function and the argument.
   *
   * @param func - the new one; without a lock only the present one
   * @param arg - the new one
   * @throws KcontError EINVAL for another function where there is no lock, or if destroyed; EPERM if
   * the lock is not held
   */
  setFunc(func: KcontFunction<A>, arg: A): void {
    checkFunction(func, 'func', Kcont.prototype.setFunc);
    mayChange(this, 'setFunc', Kcont.prototype.setFunc);
    if (this._lock === null && func !== this._func) {
      throw traceFrom(
        Kcont.prototype.setFunc,
        new KcontError(
          'EINVAL',
          `setFunc to another function needs a lock, ${label(this)} has none`,
        ),
      );
    }
    this._remote?.setArg(arg);
    this._func = func;
    this._arg = arg;
  }

  /**
   * Changes the lock. During a run, the new one is released when that settles.
   *
   * @param lock - the new one, held already if called during a run; null: none
   * @returns the lock so far; called during a run, that has to be released by the caller
   * @throws KcontError EINVAL for a lock where there was none, or if destroyed; EPERM if the present
   * lock is not held
   */
  setLock(lock: Lock | null): Lock | null {
    const old = this._lock;
    try {
      checkLock(lock);
      if (old === null && lock !== null) {
        throw new KcontError('EINVAL', `setLock needs a lock to change, ${label(this)} has none`);
      }
    } catch (error) {
      throw traceFrom(Kcont.prototype.setLock, error);
    }
    mayChange(this, 'setLock', Kcont.prototype.setLock);
    this._remote?.setLock(lock);
    this._lock = lock;
    // Its place in the order stays, whatever it waits for from now on.
    if (old !== null && (this._state & WAITED) !== 0) this._wq._requeue(this, old);
    return old;
  }

  /** Keeps the process alive while scheduled, as by default. */
  ref(): this {
    if ((this._state & REMOTE) !== 0) this._remote?.setRef(true);
    else if ((this._state & UNREF) !== 0) {
      this._state &= ~UNREF;
      if ((this._state & SCHEDULED) !== 0) this._wq._dispatcher.ref();
    }
    return this;
  }

  /** Does not keep the process alive from now on. */
  unref(): this {
    if ((this._state & REMOTE) !== 0) this._remote?.setRef(false);
    else if ((this._state & UNREF) === 0) {
      this._state |= UNREF;
      if ((this._state & SCHEDULED) !== 0) this._wq._dispatcher.unref();
    }
    return this;
  }

  /** Whether it keeps the process alive while scheduled. */
  hasRef(): boolean {
    return (this._bits & UNREF) === 0;
  }

  /** @internal */
  get _priority(): number {
    return this._wq.priority;
  }

  /** @internal */
  get _hasWaited(): boolean {
    return (this._state & WAITED) !== 0;
  }

  /** @internal */
  get _patienceMs(): number {
    return this._wq.patienceMs;
  }

  /** @internal */
  get _timekeeper(): Timekeeper {
    return this._wq._dispatcher;
  }

  /** @internal */
  _isStarved(since: number, now: number): boolean {
    return mayBePromoted(this, since, now);
  }

  /** @internal */
  _wake(priority: number): boolean {
    this._wq._dispatcher.resume(this, priority);
    return false;
  }

  /**
   * The bits of its state, wherever that is.
   * @internal
   */
  get _bits(): number {
    const state = this._state;
    return (state & REMOTE) === 0 ? state : (this._remote as RemoteState).bits;
  }

  /**
   * Where its state is, if more than one CPU knows it.
   * @internal
   */
  get _remote(): RemoteState | null {
    return this._extras?.remote ?? null;
  }

  /** @internal */
  get _extras(): Extras | null {
    return this._details === null ? null : this._details.extras;
  }

  /** @internal */
  _needExtras(): Extras {
    this._details ??= new Details();
    return (this._details.extras ??= new Extras());
  }

  /** @internal */
  _farTick(): number {
    return this._needExtras().farTick;
  }

  /** @internal */
  _setFarTick(tick: number): void {
    this._needExtras().farTick = tick;
  }
}

defineInspect<Kcont<unknown>>(
  Kcont,
  (kc) => {
    const inMs = kc.pending ? `, due in ${Math.ceil(kc.deadline - kc._wq.kernel.now())} ms` : '';
    const lock = kc._lock === null ? '' : `, ${kc._lock.held ? 'held' : 'free'} lock`;
    return `Kcont ${kc.name || '(anonymous)'} { ${describeState(kc._bits)}${inMs}, ${kc._wq.name}${lock} }`;
  },
  (kc) => ({
    name: kc.name,
    state: describeState(kc._bits),
    deadline: kc.deadline,
    wq: kc._wq.name,
  }),
);
