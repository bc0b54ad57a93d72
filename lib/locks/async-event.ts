import { defineInspect } from '../base/inspect.ts';
import { FLAG, SIGNAL, optionsOf, readOptions } from '../base/options-check.ts';
import { WaitList } from './wait-list.ts';

/**
 * Optional settings of an {@link AsyncEvent}.
 *
 * @public
 */
export interface AsyncEventOptions {
  /** Whether it is set from the start. Default false. */
  set?: boolean;
  /**
   * True: each `set` ends one wait, and the event is not set afterwards; it stays set until then if nobody waits.
   * False, the default: `set` ends all waits, and the event stays set until `reset`.
   */
  autoReset?: boolean;
}

const EVENT = optionsOf<AsyncEventOptions>('AsyncEvent', { set: FLAG, autoReset: FLAG });
const WAIT = optionsOf<{ signal?: AbortSignal }>('wait', { signal: SIGNAL });

const passed: Promise<void> = Promise.resolve();

/**
 * A flag that code can wait for.
 *
 * @example
 * ```ts
 * const connected = new AsyncEvent();
 * socket.on('connect', () => connected.set());
 * socket.on('close', () => connected.reset());
 * await connected.wait({ signal });
 * ```
 *
 * @public
 */
export class AsyncEvent {
  static readonly #line: (event: AsyncEvent) => string = /* @__PURE__ */ defineInspect<AsyncEvent>(
    this,
    ({ isSet, waiting }, name) => `${name} { ${isSet ? 'set' : 'not set'}, ${waiting} waiting }`,
    ({ isSet, waiting }) => ({ isSet, waiting }),
  );
  readonly #autoReset: boolean;
  readonly #waiters = new WaitList();
  #isSet: boolean;

  /**
   * Creates an event.
   *
   * @param options - optional settings
   * @throws KcontError EINVAL for an invalid option
   */
  constructor(options?: AsyncEventOptions) {
    const { set = false, autoReset = false } = readOptions(options, EVENT, new.target);
    this.#isSet = set;
    this.#autoReset = autoReset;
  }

  /** Whether it is set: a call of `wait` would not wait. */
  get isSet(): boolean {
    return this.#isSet;
  }

  /** The number of calls of `wait` that wait. */
  get waiting(): number {
    return this.#waiters.size;
  }

  /**
   * Sets the event, and ends all waits in the order of the calls. With `autoReset` it ends the first wait only; if nobody
   * waits, the event stays set for the next call of `wait`.
   */
  set(): void {
    if (this.#autoReset) {
      this.#isSet ||= !this.#waiters.serve();
      return;
    }
    this.#isSet = true;
    this.#waiters.serveAll();
  }

  /** Makes the event not set. Waits that have been ended stay ended. */
  reset(): void {
    this.#isSet = false;
  }

  /**
   * Waits until the event is set.
   *
   * @param options - optional settings: a signal that ends the wait
   * @returns a promise, fulfilled when the event is set, also if it is reset at once. With `autoReset`, the event that
   * has ended this wait is not seen by anybody else. Rejected with the signal's reason if that is aborted first, and
   * with KcontError EINVAL for an invalid option
   */
  wait(options?: { signal?: AbortSignal }): Promise<void> {
    let signal: AbortSignal | undefined;
    try {
      ({ signal } = readOptions(options, WAIT, AsyncEvent.prototype.wait));
      signal?.throwIfAborted();
    } catch (error) {
      return Promise.reject(error);
    }
    if (this.#isSet) {
      if (this.#autoReset) this.#isSet = false;
      return passed;
    }
    return this.#waiters.wait(signal);
  }

  /** @internal */
  toString(): string {
    return AsyncEvent.#line(this);
  }
}
