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

/** Timers that have been asked for their primitive, by it. Ids are those of async_hooks: unique. */
const known = new Map<string, Timeout>();

/** What has been written to `_idlePrev` and `_idleNext`. */
const links = new WeakMap<object, { prev: unknown; next: unknown }>();

/** Whether it is one of this class: what only looks like one has no private fields. */
let isTimeout: (value: unknown) => value is Timeout;

/**
 * What `setTimeout` and `setInterval` return, as Node's own class of this name.
 *
 * @remarks
 * The fields that are named `_…` are Node's inner ones, so far as programs look at them: to write to
 * one does what it does there.
 *
 * @public
 */
export class Timeout {
  #func: ((...args: never[]) => unknown) | null;
  #args: unknown[] | undefined;
  /** Null: it will not be called. */
  #callback: Callback | null;
  /** Told why it will not be called, where somebody waits for it. */
  #onShutdown: ((reason: unknown) => void) | undefined;
  readonly #queues: PhaseQueues;
  readonly #kc: Kcont<Timeout>;
  /** Negative: it cannot be started anew. */
  #delayMs: number;
  /** The period of an interval, in ms. */
  #repeatMs: number | null;
  /** It is listed by its primitive. */
  #known = false;
  /** It waits in a queue, and keeps the process alive there. */
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
   * The timer that is meant: by itself or by its primitive; undefined: none of this class.
   * @internal
   */
  static _of(timer: unknown): Timeout | undefined {
    if (typeof timer === 'number' || typeof timer === 'string') return known.get(String(timer));
    return isTimeout(timer) ? timer : undefined;
  }

  /** Keeps the process alive while it is active, as by default. */
  ref(): this {
    if (!isTimeout(this)) return asTimeout(this, 'ref') as this;
    this.#kc.ref();
    if (this.#isQueued && !this.#counted) this.#count(true);
    return this;
  }

  /** Does not keep the process alive from now on. */
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
   * Starts its delay anew, also if it has been called already. Not if it was cleared.
   *
   * @returns this timer
   */
  refresh(): this {
    if (!isTimeout(this)) return asTimeout(this, 'refresh') as this;
    if (this.#func === null || this.#delayMs < 0) return this;
    const { pending } = this.#kc;
    if (!this.#arm()) return this.close();
    // Not called yet, and not where a cold one would be looked at for nothing.
    if (pending) return this;
    // Expired, it waits in a queue.
    if (this.#callback !== null) this.#leave(this.#callback);
    else {
      this.#callback = new Callback('Timeout', this);
      this.#id = this.#callback.asyncId();
    }
    return this;
  }

  /**
   * Clears it, for good.
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

  /** A number by which it can be cleared, while it is active. */
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
   * The function. Node's own `clearTimeout` clears a timer by taking this away, and so it clears
   * this one too.
   */
  get _onTimeout(): (...args: unknown[]) => void {
    return (isTimeout(this) ? this.#func : undefined) as (...args: unknown[]) => void;
  }

  set _onTimeout(func: ((...args: never[]) => void) | null | undefined) {
    if (!isTimeout(this)) return;
    if (typeof func === 'function') this.#func = func;
    else this.close();
  }

  /** The delay that `refresh` starts, in ms; -1: it was cleared. */
  get _idleTimeout(): number {
    if (!isTimeout(this)) return undefined as unknown as number;
    return this.#func === null ? -1 : this.#delayMs;
  }

  // A negative one: it is not started anew, not as an interval either.
  set _idleTimeout(delayMs: number) {
    if (isTimeout(this)) this.#delayMs = delayMs >= 0 ? wholeMs(delayMs) : -1;
  }

  /** The period of an interval, in ms; null: it is called once. */
  get _repeat(): number | null {
    return isTimeout(this) ? this.#repeatMs : (undefined as unknown as null);
  }

  // Makes an interval of it, or none, from its next call on.
  set _repeat(delayMs: number | null) {
    if (isTimeout(this)) this.#repeatMs = delayMs ? wholeMs(delayMs) : null;
  }

  /** When its delay began, in ms on the axis of the kernel's clock; null: it is not running. */
  get _idleStart(): number | null {
    if (!isTimeout(this)) return undefined as unknown as null;
    return this.#kc.pending ? Math.floor(this.#kc.deadline) - this.#delayMs : null;
  }

  // Changes nothing: the delay has begun when it has.
  set _idleStart(startMs: unknown) {
    void startMs;
  }

  /** It will not be called. */
  get _destroyed(): boolean {
    return isTimeout(this) && this.#callback === null;
  }

  // True: takes it away, as `timers.unenroll` of Node does; `refresh` starts it anew.
  set _destroyed(destroyed: boolean) {
    if (destroyed && isTimeout(this)) this.#stop();
  }

  /** In Node, the timer before it in a list; what has been written, or itself while it is active. */
  get _idlePrev(): unknown {
    return linkOf(this, 'prev');
  }

  set _idlePrev(timer: unknown) {
    setLink(this, 'prev', timer);
  }

  /** In Node, the timer behind it in a list; what has been written, or itself while it is active. */
  get _idleNext(): unknown {
    return linkOf(this, 'next');
  }

  set _idleNext(timer: unknown) {
    setLink(this, 'next', timer);
  }

  /**
   * What it is called in reports.
   * @internal
   */
  get _name(): string {
    const what = this.#repeatMs !== null ? 'interval' : 'timeout';
    // That of a promise says nothing to whoever waits for it.
    const name = this.#onShutdown === undefined ? functionName(this.#func) : '';
    return name === '' ? what : `${what} ${name}`;
  }

  /**
   * Its delay is over.
   * @internal
   */
  _expire(): void {
    this.#queues.addTimer(this.#callback as Callback);
    if (this.#kc.hasRef()) this.#count(true);
  }

  /** @internal */
  _begin(): (...args: unknown[]) => unknown {
    if (this.#counted) this.#count(false);
    this.#queues.startMs = this.#repeatMs === null ? NaN : this.#queues.tickMs();
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
    // Neither refreshed by its own function, nor cleared.
    if (!this.#kc.pending) this.#retire();
  }

  /**
   * The kernel is closed.
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

  /** The delay begins now. False: the kernel is in its grace, and nobody may be waiting for the timer. */
  #arm(): boolean {
    const kc = this.#kc;
    const { dispatcher } = this.#queues;
    // What a run in flight may wait for goes on until that has settled.
    if (this.#onShutdown !== undefined || (!dispatcher.closed && awaits(dispatcher))) {
      outlastGrace(kc);
    }
    // Expired, it may still be queued.
    if (kc.invoking) kc.stop();
    const errno = this.#queues.tickGroup.arm(kc, this.#delayMs);
    if (errno === 0) return true;
    if (dispatcher.phase === GRACE) return false;
    throw refusal(kc, errno, this.#delayMs, null);
  }

  #again(): void {
    const kc = this.#kc;
    const { startMs } = this.#queues;
    // It may have been made an interval by its own function.
    const fromMs = Number.isNaN(startMs) ? this.#queues.tickMs() : startMs;
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

  /** Its delay is over, and it has not been called. */
  get #isQueued(): boolean {
    return this.#callback !== null && this.#callback._next !== this.#callback;
  }

  #leave(callback: Callback): void {
    unlink(callback);
    if (this.#counted) this.#count(false);
  }

  /** In queue, it keeps the process alive, or does not. */
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
