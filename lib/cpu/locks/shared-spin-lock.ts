import { commonMs } from '../../time/host-clock.ts';
import { KcontError, traceFrom } from '../../base/errors.ts';
import { noteFree, noteTaken } from '../../locks/spin-lock.ts';
import { PRI_PRIHIGH } from '../../base/priorities.ts';
import { PATIENCE, optionsOf, readOptions } from '../../base/options-check.ts';
import type { Waiter } from '../../locks/turnstile.ts';
import { SPIN } from './arena.ts';
import type { ThreadGate } from './thread-gate.ts';
import { SharedLock, newGate } from './shared-lock.ts';

/** Default patience of a thread that blocks, in ms. */
const PATIENCE_MS = 100;

const ENTER_SYNC = optionsOf<{ patienceMs?: number }>('enterSync', { patienceMs: PATIENCE });

/**
 * A lock for synchronous sections, between CPUs.
 *
 * @remarks
 * What is held for a few microseconds is best waited for on the spot, but never for long: a thread
 * that spins stops everything else on it. So:
 *
 * - a continuation that finds it taken spins for 2 to 3 µs, then stands aside as for any lock;
 * - `enter` does the same, then waits as a promise;
 * - `tryEnter` does not wait;
 * - `enterSync` spins, then blocks the thread in short sleeps, for 100 ms if not told otherwise, and
 * then throws.
 *
 * As a {@link SpinLock} it must be released within the turn in which it was taken: one that is still
 * held when the turn ends raises KcontError EPERM as an uncaught exception; an asynchronous function
 * that runs with it is reported to `onError`.
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

  /** Makes a lock that nobody holds. It takes shared memory when it first leaves its thread. */
  constructor();
  /** @internal */
  constructor(gate: ThreadGate);
  constructor(gate: ThreadGate = newGate(SPIN)) {
    super(gate);
    gate.lock = this;
  }

  /**
   * Takes the lock for synchronous code, and blocks the thread until then.
   *
   * @param options - `patienceMs`: for how long at most, 0 and more ms, default 100
   * @throws KcontError EDEADLK if this CPU holds it already, ETIMEDOUT when the patience is over,
   * EINVAL for a patience that is none
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
    if (gate.outranks(waiter) || !gate.spin()) return false;
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
