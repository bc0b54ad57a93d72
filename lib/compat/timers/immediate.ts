import { defineInspect } from '../../base/inspect.ts';
import { unlink } from '../../base/list.ts';
import { Callback } from './callback.ts';
import { asImmediate } from './node-timers.ts';
import type { PhaseQueues } from './phase-queues.ts';
import { nothing } from '../../base/nothing.ts';

/** Replaces a callback that has been called or cleared, so that its async context can be collected. */
const over: Callback = new Callback('Immediate', {
  _begin: () => nothing,
  _args: undefined,
  _end: nothing,
  _abort: nothing,
});

/** Tells whether a value is an instance of this class, by a private field. */
export let isImmediate: (value: unknown) => value is Immediate;

/**
 * The object that `setImmediate` returns, like Node's class of this name.
 *
 * @public
 */
export class Immediate {
  /** Null once it has been called or cleared. */
  #func: ((...args: never[]) => unknown) | null;
  #args: unknown[] | undefined;
  #callback: Callback;
  /** Called with the reason if the kernel closes first. Set for immediates of promises. */
  #onShutdown: ((reason: unknown) => void) | undefined;
  readonly #queues: PhaseQueues;
  /** Whether it keeps the process alive; null once it has been called or cleared. */
  #ref: boolean | null = true;

  private constructor(
    queues: PhaseQueues,
    func: (...args: never[]) => unknown,
    args: unknown[] | undefined,
    onShutdown: ((reason: unknown) => void) | undefined,
  ) {
    this.#func = func;
    this.#args = args;
    this.#queues = queues;
    this.#onShutdown = onShutdown;
    this.#callback = new Callback('Immediate', this);
    const isAwaited = onShutdown !== undefined;
    if (queues.addImmediate(this.#callback, isAwaited)) return;
    this.#ref = null;
    this.#end();
  }

  /** @internal */
  static _make(
    queues: PhaseQueues,
    func: (...args: never[]) => unknown,
    args: unknown[] | undefined,
    onShutdown?: (reason: unknown) => void,
  ): Immediate {
    return new this(queues, func, args, onShutdown);
  }

  /** Makes it keep the process alive until it has been called. This is the default. */
  ref(): this {
    if (!isImmediate(this)) return asImmediate(this, 'ref') as this;
    if (this.#ref === false) {
      this.#queues.ref();
      this.#ref = true;
    }
    return this;
  }

  /** Makes it not keep the process alive. */
  unref(): this {
    if (!isImmediate(this)) return asImmediate(this, 'unref') as this;
    if (this.#ref === true) {
      this.#ref = false;
      this.#queues.unref();
    }
    return this;
  }

  /** Whether it keeps the process alive. */
  hasRef(): boolean {
    if (!isImmediate(this)) return asImmediate(this, 'hasRef') as boolean;
    return this.#ref === true;
  }

  /** Clears it, for `using`. */
  [Symbol.dispose](): void {
    if (isImmediate(this)) this._clear();
    else asImmediate(this, Symbol.dispose);
  }

  /** The function; null once it has been called or cleared. */
  get _onImmediate(): (...args: unknown[]) => void {
    return (isImmediate(this) ? this.#func : undefined) as (...args: unknown[]) => void;
  }

  /**
   * Makes Node's own `clearImmediate` ignore this object.
   * @internal
   */
  get _destroyed(): boolean {
    return true;
  }

  /** @internal */
  _clear(): void {
    if (this.#func === null) return;
    unlink(this.#callback);
    this.#leave();
    this.#end();
  }

  /** @internal */
  _begin(): (...args: unknown[]) => unknown {
    this.#leave();
    return this.#func as (...args: unknown[]) => unknown;
  }

  /** @internal */
  get _args(): unknown[] | undefined {
    return this.#args;
  }

  /** @internal */
  _end(): void {
    // Unless it has cleared itself.
    if (this.#func !== null) this.#end();
  }

  /**
   * The kernel is closed.
   * @internal
   */
  _abort(reason: unknown): void {
    const onShutdown = this.#onShutdown;
    this._clear();
    onShutdown?.(reason);
  }

  static {
    isImmediate = (value): value is Immediate =>
      typeof value === 'object' && value !== null && #queues in value;
    defineInspect<Immediate>(this, (it) => `Immediate { ${it.#func === null ? 'over' : 'set'} }`);
  }

  #leave(): void {
    const keptAlive = this.#ref === true;
    this.#ref = null;
    if (keptAlive) this.#queues.unref();
  }

  /** Drops the function, its arguments and the async context. */
  #end(): void {
    this.#func = null;
    this.#args = undefined;
    this.#onShutdown = undefined;
    this.#callback.emitDestroy();
    this.#callback = over;
  }
}
