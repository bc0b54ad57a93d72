import type { Cpu } from './cpu.ts';
import type { RemoteState } from './cpu-link.ts';
import { defineInspect } from '../base/inspect.ts';
import { Details, Extras, Far, type Affinity } from './extras.ts';
import { beginHalt, endHalt, halt } from './halt.ts';
import { awaiting } from './awaited.ts';
import { holdsChanged, priorityOf } from './inheritance.ts';
import { whenSettled } from './invoke.ts';
import { KcontError, checkFunction, functionName, traceFrom } from '../base/errors.ts';
import type { KcontSettings, KcontSettingsWithoutArg } from './fast-workqueue.ts';
import type { Entry } from '../base/ordered-list.ts';
import type { BaseLock, Lock } from '../locks/lock.ts';
import { checkLock } from '../locks/lock-check.ts';
import type { Timekeeper } from '../locks/turnstile.ts';
import { applyOptions, readSettings, type KcontOptions } from './options.ts';
import { checkWorkqueue, isWorkqueue, mayChange } from './refusal.ts';
import {
  REMOTE_REQUIRED,
  label,
  makeRunnable,
  nameOfArg,
  refuse,
  refused,
  reset,
  restartTimer,
  scheduleAtOnce,
  scheduleRemote,
  startTimer,
  whyNot,
} from './schedule.ts';
import {
  DEAD,
  EXPIRED,
  INVOKING,
  PENDING,
  QUEUED,
  REMOTE,
  RUNNING,
  SCHEDULED,
  STOPPING,
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
 * Called with the continuation's argument and the continuation. On the queues `prihigh` … `prilow`
 * it may be asynchronous, and then runs until its promise settles. Its result is ignored.
 *
 * @public
 */
export type KcontFunction<A> = {
  call(arg: A, kc: Kcont<A>): unknown;
}['call'];

/**
 * Bit of {@link KcontHandle.cancel | Kcont.cancel}: a scheduled run has been withdrawn.
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
 * A continuation: a function, its argument, a workqueue and optionally a lock. Created once, scheduled
 * many times.
 *
 * @remarks
 * Scheduled with a delay, it is a timer; without one, it is a job that runs soon, at the priority of
 * its workqueue. Its runs never overlap. While it runs, it holds its lock; the read side of an RWLock
 * may have other holders too. A timer runs after I/O that had arrived by its deadline has been handled;
 * a job that another continuation schedules may run in the same pass, before further I/O.
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
  // The fields that `touch` needs come first: on a cold handle they then cost one cache line.
  /** @internal */
  _state = 0;
  /**
   * A tick, relative to the wheel's base. While PENDING: that of the deadline. While QUEUED: the one from
   * which its wait counts. For a timer this is that of its deadline, for a job one at or before its
   * `schedule` call; if it waits for a lock, it may be the tick at which it began to.
   * @internal
   */
  _due = 0;
  /**
   * The last delay, in ticks, rounded up; FAR: the delay is in the extras.
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
   * Creates an idle continuation.
   *
   * @param wq - the workqueue, which sets the priority
   * @param lock - taken before the function and released when it settles; null: no lock
   * @param func - the function to run
   * @param arg - the function's first argument
   * @param options - optional settings
   * @throws KcontError EINVAL for an invalid argument, a workqueue that has been freed or a scope that
   * has been disposed
   */
  constructor(
    wq: Workqueue,
    lock: Lock | null,
    func: KcontFunction<A>,
    arg: A,
    options?: KcontOptions,
  );
  /**
   * Creates an idle continuation from settings in one object.
   *
   * @param settings - the workqueue, the function, its argument, the lock, and the optional settings
   * @throws as the constructor with several arguments does
   */
  constructor(settings: KcontSettings<Workqueue, A> | KcontSettingsWithoutArg<Workqueue>);
  constructor(
    wq: Workqueue | KcontSettings<Workqueue, A> | KcontSettingsWithoutArg<Workqueue>,
    lock?: Lock | null,
    func?: KcontFunction<A>,
    arg?: A,
    options?: KcontOptions,
  ) {
    try {
      if (lock === undefined && func === undefined && !isWorkqueue(wq)) {
        ({ wq, lock, func, arg, options } = readSettings<A>(wq));
      }
      checkWorkqueue(wq);
      checkLock(lock);
      checkFunction(func);
      this._wq = wq;
      this._lock = lock;
      this._func = func as KcontFunction<A>;
      this._arg = arg as A;
      if (options !== undefined) applyOptions(this, options);
    } catch (error) {
      throw traceFrom(Kcont, error);
    }
    wq._references++;
    const { cpuLink, observer } = wq._dispatcher;
    if (cpuLink !== null) cpuLink.adopt(this);
    if (observer !== null) observer.created(this);
    if (options !== undefined && this._extras?.signal?.aborted === true) this.destroy();
  }

  /**
   * Schedules a run: soon, or after a delay.
   *
   * @remarks
   * On a PENDING continuation this sets a new deadline. With a delay, the function is not entered before
   * the delay has elapsed on the monotonic clock, nor before I/O that has arrived by then has been handled.
   * Continuations with the same workqueue and lock that are due at the same time run in the order of
   * the calls.
   *
   * @param delayMs - 0 … 2^53-1 ms, fractions count; the deadline is rounded up to an eighth of a ms; 0,
   * the default: no delay
   * @param cpu - the CPU to run on, for a workqueue with a queue per CPU; null: it is chosen by the
   * workqueue, the function, the lock and the affinity
   * @returns true: it is scheduled; false: nothing changed, because it is INVOKING, a halt of it has not
   * finished, it was destroyed, its kernel is in the grace of `close`, or its kernel is closed while a
   * run is in flight
   * @throws KcontError EINVAL for an invalid delay or CPU, ENOENT for a CPU on a workqueue without a
   * queue per CPU, ESHUTDOWN when the kernel is closed and no run is in flight
   */
  schedule(delayMs: number = 0, cpu: Cpu | null = null): boolean {
    const errno = this._schedule(delayMs, cpu);
    return errno === 0 || refuse(this, errno, delayMs, cpu, Kcont.prototype.schedule);
  }

  /**
   * Like `schedule`, but returns 0, an errno of the proposal, or DESTROYED.
   * @internal
   */
  _schedule(delayMs: number, cpu: Cpu | null): number {
    if (cpu === null && scheduleAtOnce(this, delayMs)) return 0;
    const errno = whyNot(this, delayMs, cpu);
    if (errno !== 0) return errno === REMOTE_REQUIRED ? scheduleRemote(this, delayMs, cpu) : errno;
    // First take in what other CPUs have scheduled here: those calls came before this one.
    const { cpuLink } = this._wq._dispatcher;
    if (cpuLink !== null) cpuLink.take();
    const extras = this._extras;
    if (extras !== null && extras.policy === 'schedule') extras.capture();
    if (delayMs === 0) makeRunnable(this);
    else startTimer(this, delayMs);
    return 0;
  }

  /**
   * Withdraws a scheduled run, acknowledges a run in flight, and schedules again.
   *
   * @param delayMs - as for {@link KcontHandle.schedule | Kcont.schedule}
   * @param cpu - as for {@link KcontHandle.schedule | Kcont.schedule}
   * @returns true: it is scheduled; if a run is in flight, it is entered after that has settled. False:
   * nothing changed, because a halt is waiting, it was destroyed, its kernel is in the grace of
   * `close`, or its kernel is closed while a run is in flight
   * @throws as {@link KcontHandle.schedule | Kcont.schedule}
   */
  reset(delayMs: number = 0, cpu: Cpu | null = null): boolean {
    const errno = reset(this, delayMs, cpu);
    return errno === 0 || refuse(this, errno, delayMs, cpu, Kcont.prototype.reset);
  }

  /**
   * Moves the deadline of a PENDING continuation to now plus its last delay. This costs a clock read
   * and a store.
   *
   * @remarks
   * Its place among equal deadlines is still that of the `schedule` call.
   *
   * @returns true: the deadline was moved; false: it is not PENDING, nothing changed
   */
  touch(): boolean {
    if ((this._state & (PENDING | REMOTE)) !== PENDING) {
      return this._remote?.touch() ?? refused(this, Kcont.prototype.touch);
    }
    restartTimer(this);
    return true;
  }

  /**
   * Withdraws a scheduled run immediately. Never waits; may be called anywhere.
   *
   * @remarks
   * After it returns, no run begins that was scheduled before: this includes runs whose timer has
   * expired, that are queued, or that wait for the lock. {@link KcontHandle.expired | Kcont.expired} is
   * false from then on, even while a run in flight continues.
   *
   * @returns false: it is not running and will not run, so what it uses may be freed immediately; true:
   * it has been entered since it was last scheduled or stopped, or is still running
   * ({@link KcontHandle.running | Kcont.running} tells which)
   */
  stop(): boolean {
    const state = this._withdraw();
    return (state & RUNNING) !== 0 || (state & (EXPIRED | QUEUED)) === EXPIRED;
  }

  /**
   * Stops it and returns its previous state.
   * @internal
   */
  _withdraw(): number {
    const state = this._state;
    if ((state & REMOTE) !== 0) return (this._remote as RemoteState).stop();
    if ((state & SCHEDULED) !== 0) this._wq._dispatcher.withdraw(this);
    else this._state = stopped(state);
    if ((state & RUNNING) !== 0) this._state |= STOPPING;
    const extras = this._extras;
    if (extras !== null) extras.asyncContext = undefined;
    return state;
  }

  /**
   * Stops it and tells both whether a run was withdrawn and whether one is in flight.
   *
   * @returns bits: {@link CANCELLED} if a scheduled run was withdrawn, {@link DRAINING} if a run is in
   * flight
   */
  cancel(): number {
    const state = this._withdraw();
    return ((state & SCHEDULED) === 0 ? 0 : CANCELLED) | ((state & RUNNING) === 0 ? 0 : DRAINING);
  }

  /**
   * Stops it and waits until it is not running. Until then it cannot be scheduled.
   *
   * @remarks
   * A call from its own function after an `await` cannot be distinguished from any other call, except in debug mode, and
   * waits forever: use {@link KcontHandle.drainAsync | Kcont.drainAsync} there.
   *
   * @param interlock - a lock that the caller holds; released while waiting, and taken again afterwards
   * @returns a promise of true: it waited for a run; or false: it was not running. The promise is
   * rejected with KcontError EDEADLK when called from its own function before the first `await`, or in debug mode, EINVAL
   * for an interlock that is not a lock of kcont, EPERM for one that is not held; nothing has changed
   * then. It is also rejected if the interlock cannot be taken again. In every case the continuation
   * can be scheduled afterwards
   */
  halt(interlock?: Lock): Promise<boolean> {
    return halt(this, interlock, Kcont.prototype.halt);
  }

  /** @internal */
  _beginHalt(): Promise<void> {
    return beginHalt(this);
  }

  /** @internal */
  _endHalt(): void {
    endHalt(this);
  }

  /**
   * Stops it, and calls back when a run in flight has settled.
   *
   * @param done - called with the continuation's argument as soon as the run in flight has settled
   * @returns true: it is idle, and `done` is not called; false: `done` will be called
   * @throws KcontError EINVAL if `done` is not a function
   */
  drainAsync(done: (arg: A) => void): boolean {
    checkFunction(done, 'done', Kcont.prototype.drainAsync);
    if ((this._withdraw() & RUNNING) === 0) return true;
    whenSettled(this, () => done(this._arg));
    return false;
  }

  /**
   * Acknowledges the run in flight: clears INVOKING, so that the continuation can be scheduled again.
   *
   * @remarks
   * {@link KcontHandle.expired | Kcont.expired} stays true.
   *
   * @returns true: cleared; false: it is not running, this run has already been acknowledged, or it was
   * destroyed
   */
  ack(): boolean {
    if ((this._state & REMOTE) !== 0) return (this._remote as RemoteState).ack();
    if ((this._state & (RUNNING | INVOKING | QUEUED)) !== (RUNNING | INVOKING)) return false;
    this._state = acked(this._state);
    return (this._state & DEAD) === 0;
  }

  /** Stops it permanently: it can no longer be scheduled. Further calls have no effect. */
  destroy(): void {
    if ((this._state & DEAD) !== 0) return;
    if (this._remote?.destroy() === undefined) this.stop();
    this._finalizeDestroy();
  }

  /**
   * Marks it as destroyed, and releases what it references.
   * @internal
   */
  _finalizeDestroy(): void {
    if ((this._state & DEAD) !== 0) return;
    this._state |= DEAD;
    // A run in flight keeps its reference to the workqueue until it settles.
    if ((this._state & RUNNING) === 0) this._wq._dereference();
    const details = this._details;
    if (details === null) return;
    details.scope?._delete(this);
    details.extras?.dropSignal(this);
  }

  /**
   * Called when its signal is aborted.
   * @internal
   */
  _abort(): void {
    this.destroy();
  }

  /** The same as {@link KcontHandle.destroy | Kcont.destroy}, for `using`. */
  [Symbol.dispose](): void {
    this.destroy();
  }

  /** Destroys it and waits until it is not running, for `await using`. Rejects as `halt` does. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.destroy();
    await this.halt();
  }

  /** Whether its timer is running. */
  get pending(): boolean {
    return (this._bits & PENDING) !== 0;
  }

  /**
   * Whether its function has been entered since it was last scheduled. `schedule` and `stop` clear this
   * flag; `ack` and the end of the run do not.
   */
  get expired(): boolean {
    return (this._bits & (EXPIRED | QUEUED)) === EXPIRED;
  }

  /** Whether it is committed to run, or is running and has not called `ack`. */
  get invoking(): boolean {
    return (this._bits & (INVOKING | DEAD)) === INVOKING;
  }

  /** Whether it is PENDING, INVOKING or EXPIRED. */
  get active(): boolean {
    const bits = this._bits;
    return (bits & (INVOKING | DEAD)) === INVOKING || (bits & (PENDING | EXPIRED)) !== 0;
  }

  /** Whether it is PENDING, INVOKING or running. */
  get busy(): boolean {
    return (this._bits & (PENDING | INVOKING | RUNNING)) !== 0;
  }

  /** Whether its function has been entered and has not settled. */
  get running(): boolean {
    return (this._bits & RUNNING) !== 0;
  }

  /**
   * Whether its run in flight has been asked to stop since it was entered: by `stop`, `cancel`, `halt`, `destroy`,
   * an aborted signal or its scope. `reset` and `ack` do not ask for that. False if it is not running.
   *
   * @remarks
   * For a function that takes long: {@link stopping} says the same of the function on the stack.
   */
  get stopping(): boolean {
    if ((this._state & REMOTE) !== 0) return (this._remote as RemoteState).stopping;
    return (this._state & STOPPING) !== 0;
  }

  /** Whether it was destroyed. */
  get destroyed(): boolean {
    return (this._bits & DEAD) !== 0;
  }

  /** The time at which it is due, in ms on the clock of `kernel.now()`; NaN while it is not PENDING. */
  get deadline(): number {
    if ((this._state & REMOTE) !== 0) return (this._remote as RemoteState).deadline;
    if (!this.pending) return NaN;
    return this._wq._dispatcher.dueMs(this);
  }

  /** The workqueue it runs on. */
  get wq(): Workqueue {
    return this._wq;
  }

  /** The lock that it takes, or null. */
  get lock(): Lock | null {
    return this._lock;
  }

  /** Its name; by default the name of its function. */
  get name(): string {
    return nameOfArg(this) ?? this._details?.name ?? functionName(this._func);
  }

  /** How strongly it prefers a CPU. */
  get affinity(): Affinity {
    return this._extras?.affinity ?? 'none';
  }

  /**
   * Changes the argument. A run that has already been entered keeps the old one.
   *
   * @param arg - the new argument
   * @throws KcontError EPERM if it has a lock and the lock is not held; EINVAL if destroyed
   */
  setArg(arg: A): void {
    mayChange(this, 'setArg', Kcont.prototype.setArg);
    this._remote?.setArg(arg);
    this._arg = arg;
  }

  /**
   * Changes the function and the argument.
   *
   * @param func - the new function; without a lock it must be the current function
   * @param arg - the new argument
   * @throws KcontError EINVAL for another function without a lock, or if destroyed; EPERM if
   * the lock is not held
   */
  setFunc(func: KcontFunction<A>, arg: A): void {
    checkFunction(func, 'func', Kcont.prototype.setFunc);
    mayChange(this, 'setFunc', Kcont.prototype.setFunc);
    if (this._lock === null && func !== this._func) {
      const what = `setFunc cannot change the function of ${label(this)} without a lock`;
      throw traceFrom(Kcont.prototype.setFunc, new KcontError('EINVAL', what));
    }
    this._remote?.setArg(arg);
    this._func = func;
    this._arg = arg;
  }

  /**
   * Changes the lock. When called during a run, the new lock is released when the run settles.
   *
   * @param lock - the new lock, which the caller must hold if called during a run; null: no lock
   * @returns the previous lock; when called during a run, the caller has to release it
   * @throws KcontError EINVAL if it was destroyed, or if `lock` is not null and it has no lock; EPERM if the
   * current lock is not held
   */
  setLock(lock: Lock | null): Lock | null {
    const old = this._lock;
    try {
      checkLock(lock);
      if (old === null && lock !== null) {
        throw new KcontError('EINVAL', `setLock cannot add a lock to ${label(this)}`);
      }
    } catch (error) {
      throw traceFrom(Kcont.prototype.setLock, error);
    }
    mayChange(this, 'setLock', Kcont.prototype.setLock);
    this._remote?.setLock(lock);
    this._lock = lock;
    if (awaiting.count > 0) holdsChanged({ kc: this });
    // It keeps its sequence number, and so its place in the order, while it waits for the new lock.
    if (old !== null && (this._state & WAITED) !== 0) this._wq._requeue(this, old);
    return old;
  }

  /** Makes it keep the process alive while scheduled; this is the default. */
  ref(): this {
    if ((this._state & REMOTE) !== 0) this._remote?.setRef(true);
    else if ((this._state & UNREF) !== 0) {
      this._state &= ~UNREF;
      if ((this._state & SCHEDULED) !== 0) this._wq._dispatcher.ref();
    }
    return this;
  }

  /** Lets the process exit while it is scheduled. */
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
    return priorityOf(this);
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
  _wake(priority: number): boolean {
    this._wq._dispatcher.resume(this, priority);
    return false;
  }

  /**
   * Its state bits, wherever the state is stored.
   * @internal
   */
  get _bits(): number {
    const state = this._state;
    return (state & REMOTE) === 0 ? state : (this._remote as RemoteState).bits;
  }

  /**
   * Where its state is stored, if it is shared between CPUs; otherwise null.
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
  _needFar(): Far {
    return (this._needExtras().far ??= new Far());
  }

  /** @internal */
  _farTick(): number {
    return this._needFar().tick;
  }

  /** @internal */
  _setFarTick(tick: number): void {
    this._needFar().tick = tick;
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
