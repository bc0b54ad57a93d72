import { readsAs } from '../../inspect.ts';
import { ESHUTDOWN } from '../../errors.ts';
import { Kcont } from '../../kcont.ts';
import { unlink } from '../../list.ts';
import { refusal } from '../../schedule.ts';
import { TASK } from '../../state.ts';
import { Callback } from './callback.ts';
import type { Turns } from './turns.ts';

/** Timers that have been asked for their primitive, by it. Ids are those of async_hooks: unique. */
const known = new Map<string, Timeout>();

/**
 * What `setTimeout` and `setInterval` return, as Node's own class of this name.
 *
 * @public
 */
export class Timeout {
  #func: ((...args: never[]) => unknown) | null;
  #args: unknown[] | undefined;
  /** Null: it will not be called. */
  #callback: Callback | null;
  /** Told why it will not be called, where somebody waits for it. */
  readonly #onShutdown: ((reason: unknown) => void) | undefined;
  readonly #turns: Turns;
  readonly #kc: Kcont<Timeout>;
  readonly #delayMs: number;
  readonly #repeats: boolean;
  /** It is listed by its primitive. */
  #known = false;
  /** It stands in line, and keeps the process alive there. */
  #counted = false;
  #id: number;

  private constructor(
    turns: Turns,
    func: (...args: never[]) => unknown,
    delayMs: number,
    args: unknown[] | undefined,
    repeats: boolean,
    onShutdown: ((reason: unknown) => void) | undefined,
  ) {
    this.#func = func;
    this.#args = args;
    this.#turns = turns;
    this.#delayMs = delayMs;
    this.#repeats = repeats;
    this.#onShutdown = onShutdown;
    this.#kc = new Kcont<Timeout>(turns.softclock, null, timeout, this);
    this.#kc._state |= TASK;
    this.#arm();
    this.#callback = new Callback('Timeout', this);
    this.#id = this.#callback.asyncId();
  }

  /** @internal */
  static _make(
    turns: Turns,
    func: (...args: never[]) => unknown,
    delayMs: number,
    args: unknown[] | undefined,
    repeats: boolean,
    onShutdown?: (reason: unknown) => void,
  ): Timeout {
    return new Timeout(turns, func, delayMs, args, repeats, onShutdown);
  }

  /**
   * The timer of a primitive.
   * @internal
   */
  static _byPrimitive(id: number | string): Timeout | undefined {
    return known.get(String(id));
  }

  /** Keeps the process alive while it is active, as by default. */
  ref(): this {
    this.#kc.ref();
    if (this.#inLine && !this.#counted) this.#count(true);
    return this;
  }

  /** Does not keep the process alive from now on. */
  unref(): this {
    this.#kc.unref();
    if (this.#counted) this.#count(false);
    return this;
  }

  /** Whether it keeps the process alive while it is active. */
  hasRef(): boolean {
    return this.#kc.hasRef();
  }

  /**
   * Starts its delay anew, also if it has been called already. Not if it was cleared.
   *
   * @returns this timer
   */
  refresh(): this {
    if (this.#func === null) return this;
    const { pending } = this.#kc;
    this.#arm();
    // Not called yet, and not where a cold one would be looked at for nothing.
    if (pending) return this;
    // Expired, it stands in line.
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
    this.#func = null;
    this.#args = undefined;
    this.#kc.stop();
    this.#retire();
    return this;
  }

  /** A number by which it can be cleared, while it is active. */
  [Symbol.toPrimitive](): number {
    if (this.#callback !== null && !this.#known) {
      this.#known = true;
      known.set(String(this.#id), this);
    }
    return this.#id;
  }

  /** Clears it, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * The function. Node's own `clearTimeout` clears a timer by taking this away, and so it clears
   * this one too.
   */
  get _onTimeout(): (...args: unknown[]) => void {
    return this.#func as (...args: unknown[]) => void;
  }

  set _onTimeout(func: ((...args: never[]) => void) | null | undefined) {
    if (typeof func === 'function') this.#func = func;
    else this.close();
  }

  /**
   * Looked at by Node's own `clearTimeout`.
   * @internal
   */
  get _destroyed(): boolean {
    return this.#callback === null;
  }

  /**
   * What it is called in reports.
   * @internal
   */
  get _name(): string {
    const what = this.#repeats ? 'interval' : 'timeout';
    // That of a promise says nothing to whoever waits for it.
    const name = this.#onShutdown === undefined ? this.#func?.name : undefined;
    return name ? `${what} ${name}` : what;
  }

  /**
   * Its delay is over.
   * @internal
   */
  _expire(): void {
    this.#turns.addTimer(this.#callback as Callback);
    if (this.#kc.hasRef()) this.#count(true);
  }

  /** @internal */
  _call(): void {
    const callback = this.#callback as Callback;
    const startMs = this.#repeats ? this.#turns.tickMs() : 0;
    if (this.#counted) this.#count(false);
    try {
      callback.enter(this.#func as (...args: never[]) => unknown, this.#args);
    } finally {
      if (this.#repeats && this.#callback !== null) this.#again(startMs);
      // Neither refreshed by its own function, nor cleared.
      if (!this.#kc.pending) this.#retire();
    }
  }

  /**
   * The kernel is closed.
   * @internal
   */
  _abort(reason: unknown): void {
    this.close();
    this.#onShutdown?.(reason);
  }

  /** How it reads in `util.inspect`. */
  static {
    readsAs<Timeout>(Timeout, (timer) => timer.#describe());
  }

  /** The delay begins now. */
  #arm(): void {
    const kc = this.#kc;
    // Expired, it may still be queued.
    if (kc.invoking) kc.stop();
    const errno = this.#turns.together.arm(kc, this.#delayMs);
    if (errno !== 0) throw refusal(kc, errno, this.#delayMs, null);
  }

  #again(startMs: number): void {
    const kc = this.#kc;
    const errno = kc._scheduleFrom(startMs, this.#delayMs);
    if (errno === ESHUTDOWN) this._abort(refusal(kc, errno, this.#delayMs, null));
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
  get #inLine(): boolean {
    return this.#callback !== null && this.#callback._next !== this.#callback;
  }

  #leave(callback: Callback): void {
    unlink(callback);
    if (this.#counted) this.#count(false);
  }

  /** In line, it keeps the process alive, or does not. */
  #count(keepsAlive: boolean): void {
    this.#counted = keepsAlive;
    if (keepsAlive) this.#turns.ref();
    else this.#turns.unref();
  }

  #describe(): string {
    const how = `${this.#repeats ? 'every ' : ''}${this.#delayMs} ms`;
    const kc = this.#kc;
    if (kc.pending) {
      return `Timeout { ${how}, due in ${Math.ceil(kc.deadline - this.#turns.clock.now)} ms }`;
    }
    return `Timeout { ${how}, ${this.#callback === null ? 'over' : 'due'} }`;
  }
}

function timeout(timer: Timeout): void {
  timer._expire();
}
