import { Cpu } from './cpu.ts';
import { readsAs } from './inspect.ts';
import { Details, coalesce, type Affinity, type ContextPolicy } from './details.ts';
import { Dispatcher } from './dispatch.ts';
import { EBUSY, EINVAL, ENOENT, ESHUTDOWN, KcontError, invalid } from './errors.ts';
import { stamp, type Entry } from './list.ts';
import { checkLock, type BaseLock, type Lock } from './lock/lock.ts';
import type { Waiter } from './lock/turnstile.ts';
import { checkScope, type Scope } from './scope.ts';
import {
  DEAD,
  EXPIRED,
  HALTING,
  INVOKING,
  PENDING,
  QUEUED,
  RUNNING,
  SCHEDULED,
  UNREF,
  WAITED,
  describeState,
} from './state.ts';
import { FAR, type Timer } from './wheel.ts';
import type { Workqueue } from './workqueue.ts';

/**
 * A continuation's function.
 *
 * @remarks
 * Called with the continuation's argument and the continuation. It may be asynchronous on the
 * queues `prihigh` … `prilow`, and then runs until its promise settles.
 *
 * @public
 */
export type KcontFunction<A> = {
  call(arg: A, kc: Kcont<A>): void | PromiseLike<void>;
}['call'];

/**
 * What few continuations need.
 *
 * @public
 */
export interface KcontOptions {
  /** Shown in reports and by `util.inspect`; by default the function's name. */
  name?: string;
  /** False: does not keep the process alive while it is scheduled. Default true. */
  ref?: boolean;
  /** How much it prefers a CPU. Default `'none'`. */
  affinity?: Affinity;
  /** By how many ms it may be late, 0 and more, so that timers meet at one tick. Default 0. */
  slackMs?: number;
  /** Which AsyncLocalStorage stores the function sees. Default `'none'`. */
  context?: ContextPolicy;
  /** The owner, by which it is stopped together with its siblings. */
  scope?: Scope;
  /** Aborted: the continuation is destroyed. */
  signal?: AbortSignal;
}

/**
 * Bit of {@link Kcont.cancel}: something that was scheduled has been withdrawn.
 *
 * @public
 */
export const CANCELLED = 1;

/**
 * Bit of {@link Kcont.cancel}: a run is in flight.
 *
 * @public
 */
export const DRAINING = 2;

/** Longest delay, in ms. */
const LONGEST_MS: number = Number.MAX_SAFE_INTEGER;
const DELAY = 'a finite number of ms from 0 to 2^53-1';

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
export class Kcont<A> implements Timer, Waiter {
  /** @internal */
  _next: Entry = this;
  /** @internal */
  _prev: Entry = this;
  /** @internal */
  _seq = 0;
  /** @internal */
  _era = 0;
  /** @internal */
  _state = 0;
  /**
   * PENDING: the tick of the deadline, from the wheel's base. QUEUED: when it became runnable.
   * @internal
   */
  _due = 0;
  /** Ticks; FAR: see the details. */
  #delay = 0;
  /** @internal */
  readonly _wq: Workqueue;
  /** @internal */
  _lock: BaseLock | null;
  /** @internal */
  _func: KcontFunction<A>;
  /** @internal */
  _arg: A;
  /** @internal */
  _details: Details | null = null;

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
    if (!((wq as Workqueue | undefined)?._dispatcher instanceof Dispatcher)) {
      throw invalid('wq', 'a Workqueue', wq);
    }
    checkLock(lock);
    checkFunction(func);
    if (wq._freed) throw new KcontError('EINVAL', `workqueue ${wq.name} has been released`);
    this._wq = wq;
    this._lock = lock;
    this._func = func;
    this._arg = arg;
    if (options !== undefined) this.#setOptions(options);
    wq._references++;
  }

  #setOptions(options: KcontOptions): void {
    const { name, ref, affinity, slackMs, context, scope, signal } = checkOptions(options);
    if (ref === false) this._state = UNREF;
    if ((name ?? affinity ?? slackMs ?? context ?? scope ?? signal) === undefined) return;
    const details = new Details();
    this._details = details;
    details.name = name;
    details.affinity = affinity ?? 'none';
    details.slackTicks = Math.floor(slackMs ?? 0);
    details.policy = context ?? 'none';
    if (context === 'create') details.capture();
    if (scope !== undefined) {
      details.scope = scope;
      scope._add(this);
    }
    if (signal === undefined) return;
    if (signal.aborted) this._state |= DEAD;
    details.signal = signal;
    details.onAbort = () => this.destroy();
    signal.addEventListener('abort', details.onAbort, { once: true });
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
   * @returns true: it is scheduled; false: busy (INVOKING, or a halt waits), nothing changed
   * @throws KcontError EINVAL for a delay out of range or a destroyed continuation, ENOENT for a CPU
   * on a workqueue without a queue per CPU, ESHUTDOWN when the kernel is closed
   */
  schedule(delayMs: number = 0, cpu: Cpu | null = null): boolean {
    const errno = this._schedule(delayMs, cpu);
    if (errno === 0) return true;
    if (errno === EBUSY) return false;
    throw this.#refusal(errno, delayMs, cpu);
  }

  /**
   * The same, with the proposal's numbers.
   * @internal
   */
  _schedule(delayMs: number, cpu: Cpu | null): number {
    const dispatcher = this._wq._dispatcher;
    if (
      cpu !== null ||
      (this._state & (INVOKING | DEAD | HALTING)) !== 0 ||
      dispatcher.closed ||
      !(delayMs >= 0 && delayMs <= LONGEST_MS)
    ) {
      const errno = this.#check(delayMs, cpu);
      if (errno !== 0) return errno;
    }
    if (delayMs === 0) this.#makeRunnable(dispatcher);
    else this.#startTimer(dispatcher, delayMs);
    if (this._details?.policy === 'schedule') this._details.capture();
    return 0;
  }

  /**
   * Withdraws what is scheduled, acknowledges a run in flight, and schedules anew.
   *
   * @param delayMs - as for {@link Kcont.schedule}
   * @param cpu - as for {@link Kcont.schedule}
   * @returns true: it is scheduled, and will be entered when a run in flight has settled; false:
   * a halt waits, nothing changed
   * @throws as {@link Kcont.schedule}
   */
  reset(delayMs: number = 0, cpu: Cpu | null = null): boolean {
    const errno = this.#check(delayMs, cpu, HALTING);
    if (errno === EBUSY) return false;
    if (errno !== 0) throw this.#refusal(errno, delayMs, cpu);
    if ((this._state & QUEUED) !== 0) this._wq._dispatcher.withdraw(this);
    this._state &= ~INVOKING;
    return this.schedule(delayMs, cpu);
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
    if ((this._state & PENDING) === 0) return false;
    const { wheel } = this._wq._dispatcher;
    const delay = this.#delay === FAR ? (this._details as Details).farDelayMs : this.#delay;
    const due = this.#dueIn(this._wq._dispatcher, delay);
    if (due > this._due) wheel.setDue(this, due);
    return true;
  }

  /**
   * Withdraws what is scheduled, at once and for certain. Never waits; legal anywhere.
   *
   * @remarks
   * After it returns, no call begins that was scheduled before: not one whose timer has expired,
   * nor one that is queued or waits for its lock.
   *
   * @returns false: it is not running and will not run, so what it uses may be freed at once; true:
   * it has been entered since it was last scheduled, or is still running ({@link Kcont.running}
   * tells)
   */
  stop(): boolean {
    const state = this._state;
    if ((state & SCHEDULED) !== 0) this._wq._dispatcher.withdraw(this);
    this._state &= ~EXPIRED;
    if (this._details !== null) this._details.carry = undefined;
    return (state & RUNNING) !== 0 || (state & (EXPIRED | QUEUED)) === EXPIRED;
  }

  /**
   * Stops it, and answers both questions.
   *
   * @returns bits: {@link CANCELLED}, something scheduled was withdrawn; {@link DRAINING}, a run is
   * in flight
   */
  cancel(): number {
    const cancelled = (this._state & SCHEDULED) === 0 ? 0 : CANCELLED;
    this.stop();
    return cancelled | ((this._state & RUNNING) === 0 ? 0 : DRAINING);
  }

  /**
   * Stops it and waits until it is not running. Meanwhile it cannot be scheduled.
   *
   * @param interlock - a lock the caller holds; released while waiting, held again after
   * @returns a promise of true: there was a run to wait for; false: it was not running. Rejected
   * with KcontError EDEADLK from within its own function, EPERM for an interlock that is not held
   */
  async halt(interlock?: Lock): Promise<boolean> {
    if (interlock !== undefined && !interlock.held) {
      throw new KcontError('EPERM', 'halt needs its interlock held');
    }
    if (this._wq._dispatcher.current === this) {
      throw new KcontError('EDEADLK', `${this.#label()} cannot wait for itself to settle`);
    }
    this.stop();
    if ((this._state & RUNNING) === 0) return false;
    this._state |= HALTING;
    const settled = new Promise<void>((resolve) => this.#onSettled(resolve));
    interlock?.exit();
    await settled;
    await interlock?.enter();
    return true;
  }

  /**
   * Stops it, and calls back when it is not running, if it is.
   *
   * @param done - called with the argument as soon as the run in flight has settled
   * @returns true: it is idle now, `done` is not called; false: `done` will be called
   * @throws KcontError EINVAL if `done` is not a function
   */
  drainAsync(done: (arg: A) => void): boolean {
    checkFunction(done, 'done');
    this.stop();
    if ((this._state & RUNNING) === 0) return true;
    this.#onSettled(() => done(this._arg));
    return false;
  }

  /**
   * Clears INVOKING during a run, so that the continuation may be scheduled again.
   *
   * @returns true: cleared; false: it is not running, or has acknowledged this run already
   */
  ack(): boolean {
    if ((this._state & (RUNNING | INVOKING | QUEUED)) !== (RUNNING | INVOKING)) return false;
    this._state &= ~INVOKING;
    return (this._state & DEAD) === 0;
  }

  /** Stops it for good: from now on it refuses to be scheduled. A second time does nothing. */
  destroy(): void {
    if ((this._state & DEAD) !== 0) return;
    this.stop();
    this._state |= DEAD;
    this._wq._dereference();
    const details = this._details;
    if (details === null) return;
    details.scope?._delete(this);
    if (details.onAbort !== undefined) {
      details.signal?.removeEventListener('abort', details.onAbort);
      details.onAbort = undefined;
    }
  }

  /** The same as {@link Kcont.destroy}, for `using`. */
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
    return (this._state & PENDING) !== 0;
  }

  /** Its function has been entered since it was last scheduled, and it was not stopped since. */
  get expired(): boolean {
    return (this._state & (EXPIRED | QUEUED)) === EXPIRED;
  }

  /** Committed to run, or running without having acknowledged. */
  get invoking(): boolean {
    return (this._state & (INVOKING | DEAD)) === INVOKING;
  }

  /** PENDING, INVOKING or EXPIRED. */
  get active(): boolean {
    return this.invoking || (this._state & (PENDING | EXPIRED)) !== 0;
  }

  /** PENDING, INVOKING or running. */
  get busy(): boolean {
    return (this._state & (PENDING | INVOKING | RUNNING)) !== 0;
  }

  /** Its function has been entered and has not settled. */
  get running(): boolean {
    return (this._state & RUNNING) !== 0;
  }

  /** It was destroyed. */
  get destroyed(): boolean {
    return (this._state & DEAD) !== 0;
  }

  /** When it is due, in ms on the axis of `kernel.now()`; NaN while it is not PENDING. */
  get deadline(): number {
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
    return this._details?.name ?? this._func.name;
  }

  /** How much it prefers a CPU. */
  get affinity(): Affinity {
    return this._details?.affinity ?? 'none';
  }

  /**
   * Changes the argument. A run that has been entered does not see it.
   *
   * @param arg - the new one
   * @throws KcontError EPERM if there is a lock that is not held; EINVAL if destroyed
   */
  setArg(arg: A): void {
    this.#mayChange('setArg');
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
    checkFunction(func);
    this.#mayChange('setFunc');
    if (this._lock === null && func !== this._func) {
      throw new KcontError(
        'EINVAL',
        'setFunc to another function needs a continuation with a lock',
      );
    }
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
    checkLock(lock);
    const old = this._lock;
    if (old === null && lock !== null) {
      throw new KcontError('EINVAL', 'setLock needs a continuation that has a lock');
    }
    this.#mayChange('setLock');
    this._lock = lock;
    // Its place in the order stays, whatever it waits for from now on.
    if (old !== null && (this._state & WAITED) !== 0) this._wq._requeue(this, old);
    return old;
  }

  /** Keeps the process alive while scheduled, as by default. */
  ref(): this {
    if ((this._state & UNREF) !== 0) {
      this._state &= ~UNREF;
      if ((this._state & SCHEDULED) !== 0) this._wq._dispatcher.ref();
    }
    return this;
  }

  /** Does not keep the process alive from now on. */
  unref(): this {
    if ((this._state & UNREF) === 0) {
      this._state |= UNREF;
      if ((this._state & SCHEDULED) !== 0) this._wq._dispatcher.unref();
    }
    return this;
  }

  /** Whether it keeps the process alive while scheduled. */
  hasRef(): boolean {
    return (this._state & UNREF) === 0;
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
  _wake(): boolean {
    this._wq._dispatcher.resume(this);
    return false;
  }

  /** @internal */
  _farTick(): number {
    return (this._details as Details).farTick;
  }

  /** @internal */
  _setFarTick(tick: number): void {
    (this._details ??= new Details()).farTick = tick;
  }

  /** What is wrong with a schedule; 0: nothing. */
  #check(delayMs: number, cpu: Cpu | null, busy: number = INVOKING | HALTING): number {
    if (!(delayMs >= 0 && delayMs <= LONGEST_MS) || typeof delayMs !== 'number') return EINVAL;
    if (cpu !== null && !(cpu instanceof Cpu && cpu.kernel === this._wq.kernel)) return EINVAL;
    if ((this._state & DEAD) !== 0) return EINVAL;
    if (this._wq._dispatcher.closed) return ESHUTDOWN;
    if ((this._state & busy) !== 0) return EBUSY;
    return cpu !== null && !this._wq.perCpu ? ENOENT : 0;
  }

  #refusal(errno: number, delayMs: number, cpu: Cpu | null): KcontError {
    if (errno === ENOENT) {
      return new KcontError('ENOENT', `workqueue ${this._wq.name} has no queue per CPU`);
    }
    if (errno === ESHUTDOWN) return new KcontError('ESHUTDOWN', 'the kernel is closed');
    if (typeof delayMs !== 'number' || !(delayMs >= 0 && delayMs <= LONGEST_MS)) {
      return invalid('delayMs', DELAY, delayMs);
    }
    if (this.destroyed) return new KcontError('EINVAL', `${this.#label()} was destroyed`);
    return invalid('cpu', 'null or a Cpu of the same kernel', cpu);
  }

  /** IDLE, PENDING or ACKED: to QUEUED. */
  #makeRunnable(dispatcher: Dispatcher): void {
    const state = this._state;
    if ((state & PENDING) !== 0) dispatcher.wheel.remove(this);
    else if ((state & UNREF) === 0) dispatcher.ref();
    stamp(this);
    this._due = dispatcher.jobTick();
    this._state = (state & ~(PENDING | EXPIRED)) | INVOKING | QUEUED;
    const wq = this._wq;
    wq._load++;
    wq._level.direct.append(this);
    dispatcher.runq.mark(wq._level);
    dispatcher.request();
  }

  /** IDLE, PENDING or ACKED: to PENDING. A later deadline of a PENDING one is only stored. */
  #startTimer(dispatcher: Dispatcher, delayMs: number): void {
    const { wheel } = dispatcher;
    const due = this.#dueIn(dispatcher, delayMs);
    const state = this._state;
    stamp(this);
    const delay = Math.ceil(delayMs);
    if (delay < FAR) this.#delay = delay;
    else {
      this.#delay = FAR;
      (this._details ??= new Details()).farDelayMs = delay;
    }
    if ((state & PENDING) !== 0) {
      if (due > this._due && due < FAR) {
        this._due = due;
        return;
      }
      wheel.remove(this);
    } else {
      this._state = (state & ~EXPIRED) | PENDING;
      if ((state & UNREF) === 0) dispatcher.ref();
    }
    wheel.setDue(this, due);
    wheel.add(this);
    if (due < dispatcher.armedTicks) dispatcher.request();
  }

  /** The tick of a deadline from now, from the wheel's base. Never early: rounds up. */
  #dueIn(dispatcher: Dispatcher, delayMs: number): number {
    const due = Math.ceil(dispatcher.ticks() + delayMs);
    const details = this._details;
    return details === null ? due : coalesce(due, details.slackTicks);
  }

  #mayChange(what: string): void {
    if (this.destroyed) throw new KcontError('EINVAL', `${this.#label()} was destroyed`);
    if (this._lock !== null && !this._lock.held) {
      throw new KcontError('EPERM', `${what} needs the lock of ${this.#label()} held`);
    }
  }

  #onSettled(callback: () => void): void {
    (this._details ??= new Details()).settled.push(callback);
  }

  #label(): string {
    return this.name || '(anonymous)';
  }
}

readsAs<Kcont<unknown>>(Kcont, (kc) => {
  const inMs = kc.pending ? `, due in ${Math.ceil(kc.deadline - kc._wq.kernel.now())} ms` : '';
  const lock = kc._lock === null ? '' : `, ${kc._lock.held ? 'held' : 'free'} lock`;
  return `Kcont ${kc.name || '(anonymous)'} { ${describeState(kc._state)}${inMs}, ${kc._wq.name}${lock} }`;
});

function checkFunction(func: unknown, name = 'func'): void {
  if (typeof func !== 'function') throw invalid(name, 'a function', func);
}

function checkOptions(options: KcontOptions): KcontOptions {
  if (typeof options !== 'object' || options === null)
    throw invalid('options', 'an object', options);
  const { name, affinity, slackMs, context, scope, signal } = options;
  if (name !== undefined && typeof name !== 'string') throw invalid('name', 'a string', name);
  if (affinity !== undefined && !['strong', 'weak', 'none'].includes(affinity)) {
    throw invalid('affinity', "'strong', 'weak' or 'none'", affinity);
  }
  if (slackMs !== undefined && !(slackMs >= 0 && slackMs < FAR)) {
    throw invalid('slackMs', 'a number of ms from 0 to 2^31-2', slackMs);
  }
  if (context !== undefined && !['none', 'create', 'schedule'].includes(context)) {
    throw invalid('context', "'none', 'create' or 'schedule'", context);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalid('signal', 'an AbortSignal', signal);
  }
  if (scope !== undefined) checkScope(scope);
  return options;
}
