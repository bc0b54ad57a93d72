import { KcontError, refuseOptions, traceFrom } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import { beginHalt, endHalt, mayHalt } from './halt.ts';
import type { Kcont } from './kcont.ts';

/**
 * A group of continuations that are stopped together: those of a connection, a session or a request.
 *
 * @remarks
 * A continuation joins through the option `scope` and leaves when it is destroyed.
 *
 * @example
 * ```ts
 * using scope = new Scope();
 * const idle = new Kcont(wq.softclock, lock, closeIdle, conn, { scope });
 * const pong = new Kcont(wq.softclock, lock, closeDead, conn, { scope });
 * // leaving the block destroys both: neither will run
 * ```
 *
 * @public
 */
export class Scope {
  static readonly #line: (scope: Scope) => string = /* @__PURE__ */ defineInspect<Scope>(
    this,
    (scope) =>
      scope.disposed
        ? 'Scope { disposed }'
        : `Scope { ${scope.size} continuations, ${scope.busy} busy }`,
    ({ size, busy, disposed }) => ({ size, busy, disposed }),
  );
  readonly #members = new Set<Kcont<unknown>>();
  #disposed = false;

  /**
   * Creates an empty scope.
   *
   * @throws KcontError EINVAL if called with options. Signals are an option of continuations
   */
  constructor();
  constructor(given?: unknown) {
    refuseOptions(given, 'Scope', new.target);
  }

  /** Number of continuations that belong to it. */
  get size(): number {
    return this.#members.size;
  }

  /** Number of its continuations that are PENDING, INVOKING or running. */
  get busy(): number {
    let busy = 0;
    for (const kc of this.#members) if (kc.busy) busy++;
    return busy;
  }

  /** Whether it has been disposed. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * Stops all its continuations, in the order in which they were created.
   *
   * @returns false: no continuation is running or will run, so what they use may be freed immediately;
   * true: at least one is still running
   */
  stop(): boolean {
    let running = false;
    for (const kc of this.#members) {
      kc.stop();
      running ||= kc.running;
    }
    return running;
  }

  /**
   * Stops all its continuations and waits until none is running.
   *
   * @remarks
   * They cannot be scheduled while waiting.
   *
   * @returns a promise of true: it waited for a run; or false: no continuation was running. Rejected with
   * KcontError EDEADLK when called from the function of one of them
   */
  async halt(): Promise<boolean> {
    const members = [...this.#members];
    try {
      for (const kc of members) mayHalt(kc);
    } catch (error) {
      throw traceFrom(Scope.prototype.halt, error);
    }
    if (!this.stop()) return false;
    const halts = members.map(beginHalt);
    try {
      await Promise.all(halts);
    } finally {
      for (const kc of members) endHalt(kc);
    }
    return true;
  }

  /** Destroys all its continuations. No more can join. Further calls have no effect. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const kc of this.#members) kc.destroy();
  }

  /** Destroys all its continuations and waits until none is running. Rejects as `halt` does. */
  async [Symbol.asyncDispose](): Promise<void> {
    const members = [...this.#members];
    this[Symbol.dispose]();
    await Promise.all(members.map((kc) => kc.halt()));
  }

  /** @internal */
  _check(): void {
    if (this.#disposed) throw new KcontError('EINVAL', 'the scope has been disposed');
  }

  /** @internal */
  _add(kc: Kcont<unknown>): void {
    this.#members.add(kc);
  }

  /** @internal */
  _delete(kc: Kcont<unknown>): void {
    this.#members.delete(kc);
  }

  /** @internal */
  toString(): string {
    return Scope.#line(this);
  }
}
