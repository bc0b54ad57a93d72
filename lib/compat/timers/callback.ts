import { AsyncResource } from 'node:async_hooks';
import type { Task } from '../../core/one-shot.ts';
import type { Links } from '../../base/list.ts';

/** A timer or an immediate. */
export interface Called extends Task {
  /** Prepares for the call, and returns the function to call. */
  _begin(): (...args: unknown[]) => unknown;
  /** The arguments of the function; undefined if it has none. */
  readonly _args: readonly unknown[] | undefined;
  /** Called when the function has returned or thrown. */
  _end(): void;
}

/** Like Node's timers, it emits `destroy` after its last call or when it is cleared. */
const MANUALLY = { requireManualDestroy: true };

/**
 * A future call of a function: an entry of a queue, with the async context of the call.
 *
 * @remarks
 * Like a timer of Node, it is an AsyncResource: it keeps the stores of every AsyncLocalStorage, and
 * async_hooks see a `Timeout` or an `Immediate` being created, run and destroyed. It is separate from
 * the handle, so that the stores can be collected while the program keeps the handle.
 */
export class Callback extends AsyncResource implements Links {
  _next: Links = this;
  _prev: Links = this;
  readonly called: Called;

  constructor(type: 'Timeout' | 'Immediate', called: Called) {
    super(type, MANUALLY);
    this.called = called;
  }

  /** Cancels the call, because the kernel is closed. */
  abort(reason: unknown): void {
    this.called._abort(reason);
  }
}
