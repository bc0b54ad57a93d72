import { KcontError, refuseOptions, traceFrom } from '../base/errors.ts';
import { defineInspect } from '../base/inspect.ts';
import type { Kcont } from './kcont.ts';

/**
 * All the continuations of one owner: a connection, a session, a request.
 *
 * @remarks
 * A continuation joins by the option `scope` and leaves when it is destroyed.
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
   * Makes a scope without continuations.
   *
   * @throws KcontError EINVAL for options: there are none. To end with a signal, continuations have one
   */
  constructor();
  constructor(given?: unknown) {
    refuseOptions(given, 'Scope', new.target);
  }

  /** How many continuations belong to it. */
  get size(): number {
    return this.#members.size;
  }

  /** How many of them are PENDING, INVOKING or running. */
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
   * Stops all of them, in the order they were made.
   *
   * @returns false: none of them is running, and none will run, so what they use may be freed at
   * once; true: at least one is still running
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
   * Stops all of them, and waits until none is running. Meanwhile none of them can be scheduled.
   *
   * @returns a promise of true: there was a run to wait for; false: none was running. Rejected with
   * KcontError EDEADLK from within the function of one of them
   */
  async halt(): Promise<boolean> {
    const members = [...this.#members];
    try {
      for (const kc of members) kc._mayHalt();
    } catch (error) {
      throw traceFrom(Scope.prototype.halt, error);
    }
    if (!this.stop()) return false;
    const halts = members.map((kc) => kc._beginHalt());
    try {
      await Promise.all(halts);
    } finally {
      for (const kc of members) kc._endHalt();
    }
    return true;
  }

  /** Destroys all of them. Continuations can be made in it no more. A second time does nothing. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const kc of this.#members) kc.destroy();
  }

  /** Destroys all of them, and waits until none is running. Rejected as {@link Scope.halt} is. */
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
