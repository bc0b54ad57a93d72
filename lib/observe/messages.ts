/*
 * The messages on the channels of node:diagnostics_channel. A message is made for each event that somebody has
 * subscribed to, so it holds no more than what cannot be read later; names are read when they are asked for.
 */

import { defineInspect } from '../base/inspect.ts';
import type { Kcont } from '../core/kcont.ts';
import type { Kernel } from '../core/kernel.ts';
import { label } from '../core/schedule.ts';
import { LIMIT, QUIET, TASK } from '../core/state.ts';
import { functionOf } from './list-entry.ts';
import type { Stall } from './stall.ts';

/** The bits of a continuation that the library has made, for a run, a timer or a deadline. */
const OWN: number = TASK | QUIET | LIMIT;

/**
 * What the messages of all channels have, except those of `kcont:stall`.
 *
 * @public
 */
export interface KcontMessage {
  /** The kernel. */
  readonly kernel: Kernel;
  /** The continuation; null if it is one that the library has made, as for `run`. */
  readonly kcont: Kcont<unknown> | null;
  /** Its name, or that of its function; `(anonymous)` if it has none. */
  readonly name: string;
  /** The name of its function; empty if it has none. */
  readonly function: string;
  /** The name of its workqueue. */
  readonly workqueue: string;
  /** Its priority, 0 … 223. */
  readonly priority: number;
  /** The index of the CPU on which this happened. */
  readonly cpu: number;
}

/**
 * A message of `kcont:schedule`: a continuation has been scheduled.
 *
 * @public
 */
export interface ScheduleMessage extends KcontMessage {
  /** When it is due, in ms as of `kernel.now()`; null: it was scheduled without a delay. */
  readonly deadlineMs: number | null;
  /** Whether its timer was running, and its deadline has been moved. */
  readonly moved: boolean;
  /** The trace context in which it was scheduled, by {@link propagate}; undefined: none. */
  readonly context: unknown;
}

/**
 * A message of `kcont:enter`: a function is about to be called.
 *
 * @public
 */
export interface EnterMessage extends KcontMessage {
  /**
   * How long it has been due: since its deadline or the call that scheduled it, in ms, to an eighth of one; null:
   * unknown.
   */
  readonly waitMs: number | null;
}

/**
 * A message of `kcont:settle`: a function has returned or thrown, or its promise has settled.
 *
 * @public
 */
export interface SettleMessage extends KcontMessage {
  /** How long it has run, in ms, to an eighth of one; null: it was entered before this could be observed. */
  readonly runMs: number | null;
  /** Whether it has failed. */
  readonly failed: boolean;
}

/**
 * A message of `kcont:error`: a function has failed.
 *
 * @public
 */
export interface ErrorMessage extends KcontMessage {
  /** What it has thrown, or its promise was rejected with. */
  readonly error: unknown;
}

/**
 * A message of `kcont:stall`.
 *
 * @public
 */
export interface StallMessage {
  /** The kernel. */
  readonly kernel: Kernel;
  /** What `onStall` of {@link observe} gets. */
  readonly stall: Stall;
}

/**
 * The message of one run on the channels of `kcont:run`: the same object from `start` to the last one.
 *
 * @public
 */
export interface RunMessage extends KcontMessage {
  /** As of {@link EnterMessage.waitMs}. */
  readonly waitMs: number | null;
  /**
   * The trace context in which the function is called, by {@link propagate}: that in which it was scheduled;
   * undefined: none. A subscriber of `start` may replace it.
   */
  context: unknown;
  /** Whether the function has returned a promise; known from `end` on. */
  readonly isAsync: boolean;
  /** What the function has thrown, or its promise was rejected with; not present unless it has failed. */
  error?: unknown;
}

/** @internal */
export class Message implements KcontMessage {
  readonly #kc: Kcont<unknown>;

  constructor(kc: Kcont<unknown>) {
    this.#kc = kc;
  }

  get kernel(): Kernel {
    return this.#kc._wq.kernel;
  }

  get kcont(): Kcont<unknown> | null {
    return (this.#kc._state & OWN) === 0 ? this.#kc : null;
  }

  get name(): string {
    return label(this.#kc);
  }

  get function(): string {
    return functionOf(this.#kc);
  }

  get workqueue(): string {
    return this.#kc._wq.name;
  }

  get priority(): number {
    return this.#kc._wq.priority;
  }

  get cpu(): number {
    return this.kernel._cpu.index;
  }
}

defineInspect<Message>(
  Message,
  (message) =>
    `${message.name} on ${message.workqueue} ${JSON.stringify(Object.assign({}, message))}`,
  (message) => ({
    name: message.name,
    function: message.function,
    workqueue: message.workqueue,
    priority: message.priority,
    cpu: message.cpu,
    // Those of its own kind.
    ...(message as object),
  }),
);

/** @internal */
export class Scheduled extends Message implements ScheduleMessage {
  readonly deadlineMs: number | null;
  readonly moved: boolean;
  readonly context: unknown;

  constructor(kc: Kcont<unknown>, deadlineMs: number | null, moved: boolean, context: unknown) {
    super(kc);
    this.deadlineMs = deadlineMs;
    this.moved = moved;
    this.context = context;
  }
}

/** @internal */
export class Entered extends Message implements EnterMessage {
  readonly waitMs: number | null;

  constructor(kc: Kcont<unknown>, waitMs: number | null) {
    super(kc);
    this.waitMs = waitMs;
  }
}

/** @internal */
export class Settled extends Message implements SettleMessage {
  readonly runMs: number | null;
  readonly failed: boolean;

  constructor(kc: Kcont<unknown>, runMs: number | null, failed: boolean) {
    super(kc);
    this.runMs = runMs;
    this.failed = failed;
  }
}

/** @internal */
export class Failed extends Message implements ErrorMessage {
  readonly error: unknown;

  constructor(kc: Kcont<unknown>, error: unknown) {
    super(kc);
    this.error = error;
  }
}

/** @internal */
export class Run extends Entered implements RunMessage {
  context: unknown;
  isAsync = false;
  declare error?: unknown;

  constructor(kc: Kcont<unknown>, waitMs: number | null, context: unknown) {
    super(kc, waitMs);
    this.context = context;
  }
}
