import { AsyncResource } from 'node:async_hooks';
import type { Task } from '../../core/one-shot.ts';
import type { Entry } from '../../base/ordered-list.ts';

/** A timer or an immediate. */
export interface Called extends Task {
  /** Its turn has come. Returns the function to call. */
  _begin(): (...args: unknown[]) => unknown;
  /** What the function is called with; undefined: nothing. */
  readonly _args: readonly unknown[] | undefined;
  /** The function has returned or thrown. */
  _end(): void;
}

/** Destroyed where Node destroys a timer: when it has been called for the last time, or cleared. */
const MANUALLY = { requireManualDestroy: true };

/**
 * A call to come: its place in a queue, and the context to make it in.
 *
 * @remarks
 * An AsyncResource, as a timer of Node is one: it carries the stores of every AsyncLocalStorage,
 * and async_hooks see a `Timeout` or an `Immediate` come, run and go. It is apart from the handle
 * so that the stores are let go while the handle is kept.
 */
export class Callback extends AsyncResource implements Entry {
  _next: Entry = this;
  _prev: Entry = this;
  readonly called: Called;

  constructor(type: 'Timeout' | 'Immediate', called: Called) {
    super(type, MANUALLY);
    this.called = called;
  }

  /** Queues are in the order in which they were joined: nobody needs a number. */
  get _seq(): number {
    return 0;
  }

  get _era(): number {
    return 0;
  }

  /** Its turn will not come: the kernel is closed. */
  abort(reason: unknown): void {
    this.called._abort(reason);
  }
}
