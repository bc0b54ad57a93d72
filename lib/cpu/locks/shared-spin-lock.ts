import { commonMs } from '../../time/host-clock.ts';
import { KcontError, traceFrom } from '../../base/errors.ts';
import { noteFree, noteTaken } from '../../locks/spin-lock.ts';
import { PRI_PRIHIGH } from '../../base/priorities.ts';
import { PATIENCE, optionsOf, readOptions } from '../../base/options-check.ts';
import type { Waiter } from '../../locks/turnstile.ts';
import { SPIN } from './arena.ts';
import type { LockOptions } from '../../locks/lock-names.ts';
import type { ThreadGate } from './thread-gate.ts';
import { SharedLock, gateIn, newGate } from './shared-lock.ts';

/** The default patience of a thread that blocks, in ms. */
const PATIENCE_MS = 100;

const ENTER_SYNC = optionsOf<{ patienceMs?: number }>('enterSync', { patienceMs: PATIENCE });

/**
 * A lock between CPUs for synchronous sections.
 *
 * @remarks
 * If a lock is held for a few microseconds, spinning is the cheapest way to wait for it; but not for long,
 * because a spinning thread runs nothing else. So:
 *
 * - a continuation that finds the lock taken spins for 2 to 3 µs, then waits as for any lock, while
 *   others run;
 * - `enter` spins in the same way, then waits as a promise;
 * - `tryEnter` does not wait;
 * - `enterSync` spins, then blocks the thread in short sleeps, for 100 ms by default, and then throws.
 *
 * Like a {@link SpinLock}, it must be released in the turn in which it was taken. If it is still held when
 * the turn ends, KcontError EPERM is raised as an uncaught exception. An asynchronous function that runs
 * with it is reported to `onError`.
 *
 * @example
 * ```ts
 * lock.enterSync();
 * counts[bin]++;
 * lock.exit();
 * ```
 *
 * @public
 */
export class SharedSpinLock extends SharedLock {
  /** @internal */
  override readonly _spin = true;

  /**
   * Makes a free lock. It takes shared memory when it is first sent to another thread.
   *
   * @param options - optional settings: a name, which is not sent to other threads
   * @throws KcontError EINVAL for an invalid option
   */
  constructor(options?: LockOptions);
  /** @internal */
  constructor(gate: ThreadGate);
  constructor(given?: ThreadGate | LockOptions) {
    const gate = gateIn(given);
    super(
      gate ?? newGate(SPIN),
      gate === undefined ? (given as LockOptions | undefined) : undefined,
    );
    this._gate.lock = this;
  }

  /**
   * Takes the lock for synchronous code, and blocks the thread until then.
   *
   * @param options - `patienceMs`: how long to wait at most, in ms, at least 0, default 100
   * @throws KcontError EDEADLK if this CPU holds the lock already, ETIMEDOUT when the patience is over,
   * EINVAL for an invalid patience
   */
  enterSync(options?: { patienceMs?: number }): void {
    const caller = SharedSpinLock.prototype.enterSync;
    const { patienceMs = PATIENCE_MS } = readOptions(options, ENTER_SYNC, caller);
    const gate = this._gate;
    if (gate.writing) {
      const what = 'this CPU holds the SharedSpinLock that it wants to enter';
      throw traceFrom(caller, new KcontError('EDEADLK', what));
    }
    if (!gate.tryWrite() && !gate.spin()) {
      const untilMs = commonMs() + patienceMs;
      if (!gate.block(commonMs, untilMs)) {
        const what = `no SharedSpinLock within ${patienceMs} ms`;
        throw traceFrom(caller, new KcontError('ETIMEDOUT', what));
      }
    }
    this._tookAhead(PRI_PRIHIGH);
    noteTaken(this);
  }

  /** @internal */
  override _take(): boolean {
    if (!this._gate.tryWrite()) return false;
    noteTaken(this);
    return true;
  }

  /** @internal */
  override _tryFor(priority: number): boolean {
    const gate = this._gate;
    if (gate.mustQueue(priority)) return false;
    if (!this._take()) {
      if (!gate.spin()) return false;
      noteTaken(this);
    }
    this._tookAhead(priority);
    return true;
  }

  /** @internal */
  override _takeFor(waiter: Waiter): boolean {
    if (super._takeFor(waiter)) return true;
    const gate = this._gate;
    if (gate.bestOutranks(waiter) || !gate.spin()) return false;
    gate.hasTaken(waiter);
    return true;
  }

  /** @internal */
  override _grant(): void {
    super._grant();
    noteTaken(this);
  }

  /** @internal */
  override _drop(): void {
    this._gate.endWrite();
    noteFree(this);
  }
}
