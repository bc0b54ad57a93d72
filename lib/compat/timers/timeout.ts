import { defineInspect } from '../../base/inspect.ts';
import { functionName } from '../../base/errors.ts';
import { awaits } from '../../core/invoke.ts';
import type { Kcont } from '../../core/kcont.ts';
import { makeOwn, outlastGrace } from '../../core/own-kcont.ts';
import { unlink } from '../../base/list.ts';
import { refusal, scheduleFrom } from '../../core/schedule.ts';
import { GRACE, TASK } from '../../core/state.ts';
import { Callback } from './callback.ts';
import { wholeMs } from './delay.ts';
import { asTimeout } from './node-timers.ts';
import type { PhaseQueues } from './phase-queues.ts';

/** The active timers whose primitive was requested, by that primitive: a unique async id. */
const known = new Map<string, Timeout>();

/** Values that programs have written to `_idlePrev` and `_idleNext`. */
const links = new WeakMap<object, { prev: unknown; next: unknown }>();

/** Tells whether a value is an instance of this class, by a private field. */
let isTimeout: (value: unknown) => value is Timeout;

/**
 * The object that `setTimeout` and `setInterval` return, like Node's class of this name.
 *
 * @remarks
 * The fields named `_…` are those of Node's internal fields that programs use. Writing to one has the
 * same effect as in Node.
 *
 * @public
 */
export class Timeout {
  #func: ((...args: never[]) => unknown) | null;
  #args: unknown[] | undefined;
  /** Null if it will not be called any more. */
  #callback: Callback | null;
  /** Called with the reason if the kernel closes first. Set for timers of promises. */
  #onShutdown: ((reason: unknown) => void) | undefined;
  readonly #queues: PhaseQueues;
  readonly #kc: Kcont<Timeout>;
  /** The delay in ms; negative if it cannot be restarted. */
  #delayMs: number;
  /** The period of an interval, in ms; null for a timeout. */
  #repeatMs: number | null;
  /** Whether it is listed in `known`. */
  #known = false;
  /** Whether it waits in a queue and keeps the process alive there. */
  #counted = false;
  #id: number;

  private constructor(
    queues: PhaseQueues,
    func: (...args: never[]) => unknown,
    delayMs: number,
    args: unknown[] | undefined,
    repeats: boolean,
    onShutdown: ((reason: unknown) => void) | undefined,
  ) {
    this.#func = func;
    this.#args = args;
    this.#queues = queues;
    this.#delayMs = delayMs;
    this.#repeatMs = repeats ? delayMs : null;
    this.#onShutdown = onShutdown;
    this.#kc = makeOwn<Timeout>(TASK, queues.softclock, null, timeout, this);
    const armed = this.#arm();
    this.#callback = new Callback('Timeout', this);
    this.#id = this.#callback.asyncId();
    if (!armed) this.close();
  }

  /** @internal */
  static _make(
    queues: PhaseQueues,
    func: (...args: never[]) => unknown,
    delayMs: number,
    args: unknown[] | undefined,
    repeats: boolean,
    onShutdown?: (reason: unknown) => void,
  ): Timeout {
    return new this(queues, func, delayMs, args, repeats, onShutdown);
  }

  /**
   * Finds a timer, given as the object or its primitive. Returns undefined if it is not of this class.
   * @internal
   */
  static _of(timer: unknown): Timeout | undefined {
    if (typeof timer === 'number' || typeof timer === 'string') return known.get(String(timer));
    return isTimeout(timer) ? timer : undefined;
  }

  /** Makes it keep the process alive while it is active. This is the default. */
  ref(): this {
    if (!isTimeout(this)) return asTimeout(this, 'ref') as this;
    this.#kc.ref();
    if (this.#isQueued && !this.#counted) this.#count(true);
    return this;
  }

  /** Makes it not keep the process alive. */
  unref(): this {
    if (!isTimeout(this)) return asTimeout(this, 'unref') as this;
    this.#kc.unref();
    if (this.#counted) this.#count(false);
    return this;
  }

  /** Whether it keeps the process alive while it is active. */
  hasRef(): boolean {
    if (!isTimeout(this)) return asTimeout(this, 'hasRef') as boolean;
    return this.#kc.hasRef();
  }

  /**
   * Restarts its delay, even if it has been called already. A timer that was cleared stays cleared.
   *
   * @returns this timer
   */
  refresh(): this {
    if (!isTimeout(this)) return asTimeout(this, 'refresh') as this;
    if (this.#func === null || this.#delayMs < 0) return this;
    const { pending } = this.#kc;
    if (!this.#arm()) return this.close();
    // The common case. It returns before the callback is read, which may be cold in the cache.
    if (pending) return this;
    // It has expired and waits in a queue.
    if (this.#callback !== null) this.#leave(this.#callback);
    else {
      this.#callback = new Callback('Timeout', this);
      this.#id = this.#callback.asyncId();
    }
    return this;
  }

  /**
   * Clears the timer.
   *
   * @returns this timer
   */
  close(): this {
    if (!isTimeout(this)) return asTimeout(this, 'close') as this;
    this.#func = null;
    this.#args = undefined;
    this.#onShutdown = undefined;
    this.#stop();
    return this;
  }

  /** Returns a number by which it can be cleared while it is active. */
  [Symbol.toPrimitive](): number {
    if (!isTimeout(this)) return asTimeout(this, Symbol.toPrimitive) as number;
    if (this.#callback !== null && !this.#known) {
      this.#known = true;
      known.set(String(this.#id), this);
    }
    return this.#id;
  }

  /** Clears it, for `using`. */
  [Symbol.dispose](): void {
    if (isTimeout(this)) this.close();
    else asTimeout(this, Symbol.dispose);
  }

  /**
   * The function. Node's own `clearTimeout` clears a timer by setting this to null, which clears this
   * timer too.
   */
  get _onTimeout(): (...args: unknown[]) => void {
    return (isTimeout(this) ? this.#func : undefined) as (...args: unknown[]) => void;
  }

  set _onTimeout(func: ((...args: never[]) => void) | null | undefined) {
    if (!isTimeout(this)) return;
    if (typeof func === 'function') this.#func = func;
    else this.close();
  }

  /** The delay that `refresh` starts, in ms; -1 if it was cleared. */
  get _idleTimeout(): number {
    if (!isTimeout(this)) return undefined as unknown as number;
    return this.#func === null ? -1 : this.#delayMs;
  }

  // A negative value keeps it from being restarted, also as an interval.
  set _idleTimeout(delayMs: number) {
    if (isTimeout(this)) this.#delayMs = delayMs >= 0 ? wholeMs(delayMs) : -1;
  }

  /** The period of an interval, in ms; null for a timeout. */
  get _repeat(): number | null {
    return isTimeout(this) ? this.#repeatMs : (undefined as unknown as null);
  }

  // Turns it into an interval or a timeout from its next call on.
  set _repeat(delayMs: number | null) {
    if (isTimeout(this)) this.#repeatMs = delayMs ? wholeMs(delayMs) : null;
  }

  /** When its delay began, in ms of the kernel's clock; null if it is not running. */
  get _idleStart(): number | null {
    if (!isTimeout(this)) return undefined as unknown as null;
    return this.#kc.pending ? Math.floor(this.#kc.deadline) - this.#delayMs : null;
  }

  // Writing has no effect: the start of the delay cannot be changed.
  set _idleStart(startMs: unknown) {
    void startMs;
  }

  /** Whether it will not be called any more. */
  get _destroyed(): boolean {
    return isTimeout(this) && this.#callback === null;
  }

  // Setting it to true stops the timer, as Node's `timers.unenroll` does; `refresh` restarts it.
  set _destroyed(destroyed: boolean) {
    if (destroyed && isTimeout(this)) this.#stop();
  }

  /** In Node, the previous timer of a list. Here the value written, or itself while it is active. */
  get _idlePrev(): unknown {
    return linkOf(this, 'prev');
  }

  set _idlePrev(timer: unknown) {
    setLink(this, 'prev', timer);
  }

  /** In Node, the next timer of a list. Here the value written, or itself while it is active. */
  get _idleNext(): unknown {
    return linkOf(this, 'next');
  }

  set _idleNext(timer: unknown) {
    setLink(this, 'next', timer);
  }

  /**
   * The name in reports.
   * @internal
   */
  get _name(): string {
    const what = this.#repeatMs !== null ? 'interval' : 'timeout';
    // The function of a promise is internal, so its name would not help the reader of a report.
    const name = this.#onShutdown === undefined ? functionName(this.#func) : '';
    return name === '' ? what : `${what} ${name}`;
  }

  /**
   * Queues the callback, because the delay has expired.
   * @internal
   */
  _expire(): void {
    this.#queues.addTimer(this.#callback as Callback);
    if (this.#kc.hasRef()) this.#count(true);
  }

  /** @internal */
  _begin(): (...args: unknown[]) => unknown {
    if (this.#counted) this.#count(false);
    this.#queues.startMs = this.#repeatMs === null ? NaN : this.#queues.wholeMs();
    return this.#func as (...args: unknown[]) => unknown;
  }

  /** @internal */
  get _args(): unknown[] | undefined {
    return this.#args;
  }

  /** @internal */
  _end(): void {
    const repeatMs = this.#repeatMs;
    if (repeatMs !== null && this.#callback !== null && this.#delayMs >= 0) {
      this.#delayMs = repeatMs;
      this.#again();
    }
    // It was not restarted by its own function.
    if (!this.#kc.pending) this.#retire();
  }

  /**
   * Clears the timer, because the kernel is closed.
   * @internal
   */
  _abort(reason: unknown): void {
    const onShutdown = this.#onShutdown;
    this.close();
    onShutdown?.(reason);
  }

  static {
    isTimeout = (value): value is Timeout =>
      typeof value === 'object' && value !== null && #kc in value;
    defineInspect<Timeout>(this, (timer) => timer.#describe());
  }

  /** Starts the delay. Returns false in the grace period of the kernel if no run can wait for the timer. */
  #arm(): boolean {
    const kc = this.#kc;
    const { dispatcher } = this.#queues;
    // A timer that a run in flight may wait for works until that run has settled.
    if (this.#onShutdown !== undefined || (!dispatcher.closed && awaits(dispatcher))) {
      outlastGrace(kc);
    }
    // It may have expired and be queued.
    if (kc.invoking) kc.stop();
    const errno = this.#queues.tickGroup.arm(kc, this.#delayMs);
    if (errno === 0) return true;
    if (dispatcher.phase === GRACE) return false;
    throw refusal(kc, errno, this.#delayMs, null);
  }

  #again(): void {
    const kc = this.#kc;
    const { startMs } = this.#queues;
    // NaN if its own function has turned it into an interval.
    const fromMs = Number.isNaN(startMs) ? this.#queues.wholeMs() : startMs;
    const errno = scheduleFrom(kc, fromMs, this.#delayMs);
    if (errno !== 0 && this.#queues.dispatcher.closed) {
      this._abort(refusal(kc, errno, this.#delayMs, null));
    }
  }

  #stop(): void {
    this.#kc.stop();
    this.#retire();
  }

  #retire(): void {
    const callback = this.#callback;
    if (callback === null) return;
    this.#leave(callback);
    callback.emitDestroy();
    this.#callback = null;
    if (this.#known) known.delete(String(this.#id));
    this.#known = false;
  }

  /** Whether its delay has expired and it has not been called yet. */
  get #isQueued(): boolean {
    return this.#callback !== null && this.#callback._next !== this.#callback;
  }

  #leave(callback: Callback): void {
    unlink(callback);
    if (this.#counted) this.#count(false);
  }

  /** Sets whether it keeps the process alive while it waits in a queue. */
  #count(keepsAlive: boolean): void {
    this.#counted = keepsAlive;
    if (keepsAlive) this.#queues.ref();
    else this.#queues.unref();
  }

  #describe(): string {
    const how = `${this.#repeatMs !== null ? 'every ' : ''}${this.#delayMs} ms`;
    const kc = this.#kc;
    if (kc.pending) {
      return `Timeout { ${how}, due in ${Math.ceil(kc.deadline - this.#queues.clock.now)} ms }`;
    }
    return `Timeout { ${how}, ${this.#callback === null ? 'over' : 'due'} }`;
  }
}

function linkOf(timer: Timeout, which: 'prev' | 'next'): unknown {
  const written = links.get(timer);
  if (written !== undefined) return written[which];
  return isTimeout(timer) && !timer._destroyed ? timer : null;
}

function setLink(timer: Timeout, which: 'prev' | 'next', to: unknown): void {
  const written = links.get(timer) ?? { prev: linkOf(timer, 'prev'), next: linkOf(timer, 'next') };
  written[which] = to;
  links.set(timer, written);
}

function timeout(timer: Timeout): void {
  timer._expire();
}
