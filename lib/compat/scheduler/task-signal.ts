/*
 * Signals that carry a priority beside an abort: TaskSignal, TaskController, and their event.
 *
 *   controller ----> signal ----> dependents (any), which follow its priority
 *   setPriority        |
 *                      +--------> followers: the queues of tasks that were posted with it
 *
 * A dependent knows its source weakly, and the source its dependents: a signal per request does not
 * pile up at a controller that outlives all requests. As long as somebody listens to a dependent's
 * prioritychange, or tasks are queued with it, its source keeps it.
 *
 * An AbortSignal cannot be constructed, so a TaskSignal is one that has got another prototype.
 *
 * Source: WICG Prioritized Task Scheduling, "Controlling Tasks", 30 May 2025.
 */

import { getEventListeners } from 'node:events';
import { defineInspect } from '../../base/inspect.ts';
import { toDictionary, toEnum, toSequence, toSignal } from '../web-idl.ts';

/**
 * How urgent a task is.
 *
 * - `'user-blocking'`: somebody waits for it
 * - `'user-visible'`: the default
 * - `'background'`: it can wait
 *
 * @public
 */
export type TaskPriority = 'user-blocking' | 'user-visible' | 'background';

/** Lowest first. */
export const TASK_PRIORITIES: readonly TaskPriority[] = [
  'background',
  'user-visible',
  'user-blocking',
];

/** Who queues tasks with a signal. */
export interface PriorityFollower {
  priorityChanged(signal: TaskSignal): void;
}

class SignalState {
  priority: TaskPriority;
  changing = false;
  /** Made by `TaskSignal.any`. */
  readonly dependent: boolean;
  /** Whose priority it follows; null: nobody's. */
  source: WeakRef<TaskSignal> | null = null;
  readonly dependents: Set<WeakRef<TaskSignal>> = new Set();
  /** Those dependents that must not be collected. */
  readonly kept: Set<TaskSignal> = new Set();
  readonly followers: Set<PriorityFollower> = new Set();
  /** The attribute `onprioritychange`, and the listener that calls it. */
  handler: unknown = null;
  listener: ((event: Event) => void) | null = null;

  constructor(priority: TaskPriority, dependent: boolean) {
    this.priority = priority;
    this.dependent = dependent;
  }
}

const states = new WeakMap<AbortSignal, SignalState>();

const collected = new FinalizationRegistry<() => void>((forget) => forget());

function stateOf(signal: TaskSignal): SignalState {
  const state = states.get(signal);
  if (state === undefined) throw new TypeError('Illegal invocation');
  return state;
}

function toPriority(value: unknown, name: string): TaskPriority {
  return value === undefined ? 'user-visible' : toEnum(value, TASK_PRIORITIES, name);
}

/** Makes an AbortSignal a TaskSignal. */
function promote(signal: AbortSignal, priority: TaskPriority, dependent: boolean): TaskSignal {
  states.set(signal, new SignalState(priority, dependent));
  return Object.setPrototypeOf(signal, TaskSignal.prototype) as TaskSignal;
}

/**
 * How `TaskSignal.any` makes a signal.
 *
 * @public
 */
export interface TaskSignalAnyInit {
  /** The priority, or the signal whose priority to follow. Default `'user-visible'`. */
  priority?: TaskPriority | TaskSignal;
}

/**
 * How a TaskController is made.
 *
 * @public
 */
export interface TaskControllerInit {
  /** The priority of its signal. Default `'user-visible'`. */
  priority?: TaskPriority;
}

/**
 * How a TaskPriorityChangeEvent is made.
 *
 * @public
 */
export interface TaskPriorityChangeEventInit {
  /** As for any Event. Default false. */
  bubbles?: boolean;
  /** As for any Event. Default false. */
  cancelable?: boolean;
  /** As for any Event. Default false. */
  composed?: boolean;
  /** The priority before the change. */
  previousPriority: TaskPriority;
}

/**
 * Tells that the priority of a {@link TaskSignal} has changed; the new one is `event.target.priority`.
 *
 * @public
 */
export class TaskPriorityChangeEvent extends Event {
  readonly #previousPriority: TaskPriority;

  /**
   * Makes an event.
   *
   * @param type - `prioritychange`
   * @param priorityChangeEventInitDict - with the previous priority
   * @throws TypeError for a previous priority that is none
   */
  constructor(type: string, priorityChangeEventInitDict: TaskPriorityChangeEventInit) {
    const init = toDictionary(priorityChangeEventInitDict, 'priorityChangeEventInitDict');
    super(type, init);
    this.#previousPriority = toEnum(init.previousPriority, TASK_PRIORITIES, 'previousPriority');
  }

  /** The priority before the change. */
  get previousPriority(): TaskPriority {
    return this.#previousPriority;
  }

  /** `TaskPriorityChangeEvent`. */
  get [Symbol.toStringTag](): string {
    return 'TaskPriorityChangeEvent';
  }
}

/**
 * An AbortSignal with a priority, which tasks are posted with.
 *
 * @remarks
 * Belongs to a {@link TaskController}, or is made by {@link TaskSignal.any}. When its priority
 * changes, the tasks that are queued with it move.
 *
 * @public
 */
export class TaskSignal extends AbortSignal {
  // AbortSignal refuses.
  private constructor() {
    super();
  }

  /**
   * Makes a signal that is aborted when one of others is.
   *
   * @param signals - the others, any number of them
   * @param init - its priority, or the signal whose priority it follows
   * @returns a signal
   * @throws TypeError for what is no signal and no priority
   */
  static override any(signals: Iterable<AbortSignal>, init: TaskSignalAnyInit = {}): TaskSignal {
    const sources = toSequence(signals, 'signals', (signal) => toSignal(signal, 'signals'));
    const { priority } = toDictionary(init, 'init');
    if (!(priority instanceof TaskSignal)) {
      const fixed = toPriority(priority, 'priority');
      return promote(AbortSignal.any(sources), fixed, true);
    }
    const signal = promote(AbortSignal.any(sources), priority.priority, true);
    const { dependent, source: sourceOfSource } = stateOf(priority);
    const source = dependent ? sourceOfSource?.deref() : priority;
    if (source !== undefined) depend(signal, source);
    return signal;
  }

  /** Its priority at present. */
  get priority(): TaskPriority {
    return stateOf(this).priority;
  }

  /** A listener of `prioritychange`; null: none. */
  get onprioritychange(): ((event: TaskPriorityChangeEvent) => void) | null {
    return stateOf(this).handler as ((event: TaskPriorityChangeEvent) => void) | null;
  }

  set onprioritychange(handler: ((event: TaskPriorityChangeEvent) => void) | null) {
    const state = stateOf(this);
    const given: unknown = handler;
    state.handler = typeof given === 'function' || typeof given === 'object' ? given : null;
    if (state.handler === null) {
      if (state.listener !== null) this.removeEventListener('prioritychange', state.listener);
      state.listener = null;
    } else if (state.listener === null) {
      state.listener = (event) => {
        if (typeof state.handler === 'function') Reflect.apply(state.handler, this, [event]);
      };
      this.addEventListener('prioritychange', state.listener);
    }
  }

  /** As that of an EventTarget. */
  override addEventListener(...args: Parameters<AbortSignal['addEventListener']>): void {
    super.addEventListener(...args);
    keep(this);
  }

  /** As that of an EventTarget. */
  override removeEventListener(...args: Parameters<AbortSignal['removeEventListener']>): void {
    super.removeEventListener(...args);
    keep(this);
  }

  /** `TaskSignal`. */
  get [Symbol.toStringTag](): string {
    return 'TaskSignal';
  }
}

/**
 * An AbortController whose signal has a priority, which it can change.
 *
 * @example
 * ```ts
 * const controller = new TaskController({ priority: 'background' });
 * const report = scheduler.postTask(makeReport, { signal: controller.signal });
 * controller.setPriority('user-blocking'); // somebody waits for it now
 * ```
 *
 * @public
 */
export class TaskController extends AbortController {
  /** Its signal. */
  declare readonly signal: TaskSignal;

  /**
   * Makes a controller.
   *
   * @param init - the priority
   * @throws TypeError for a priority that is none
   */
  constructor(init: TaskControllerInit = {}) {
    super();
    promote(this.signal, toPriority(toDictionary(init, 'init').priority, 'priority'), false);
  }

  /**
   * Changes the priority of its signal, of the signals that follow it, and of the tasks that are
   * queued with them.
   *
   * @param priority - the new one
   * @throws TypeError for a priority that is none; DOMException NotAllowedError from within a
   * listener of the change
   */
  setPriority(priority: TaskPriority): void {
    signalChange(this.signal, toEnum(priority, TASK_PRIORITIES, 'priority'));
  }

  /** `TaskController`. */
  get [Symbol.toStringTag](): string {
    return 'TaskController';
  }
}

/** Whether a signal can never change its priority. */
export function hasFixedPriority(signal: TaskSignal): boolean {
  const { dependent, source } = stateOf(signal);
  return dependent && source === null;
}

/** From now on a follower is told of changes. */
export function follow(signal: TaskSignal, follower: PriorityFollower): void {
  stateOf(signal).followers.add(follower);
  keep(signal);
}

/** It is not told any more. */
export function unfollow(signal: TaskSignal, follower: PriorityFollower): void {
  stateOf(signal).followers.delete(follower);
  keep(signal);
}

function depend(signal: TaskSignal, source: TaskSignal): void {
  const { dependents } = stateOf(source);
  const reference = new WeakRef(signal);
  stateOf(signal).source = new WeakRef(source);
  dependents.add(reference);
  collected.register(signal, () => void dependents.delete(reference));
}

/** The source of a signal keeps it as long as a change would be noticed. */
function keep(signal: TaskSignal): void {
  const state = states.get(signal);
  const source = state?.source?.deref();
  if (state === undefined || source === undefined) return;
  const noticed =
    state.followers.size > 0 || getEventListeners(signal, 'prioritychange').length > 0;
  const { kept } = stateOf(source);
  if (noticed) kept.add(signal);
  else kept.delete(signal);
}

function signalChange(signal: TaskSignal, priority: TaskPriority): void {
  const state = stateOf(signal);
  if (state.changing) {
    throw new DOMException('the priority is being changed', 'NotAllowedError');
  }
  const previousPriority = state.priority;
  if (previousPriority === priority) return;
  state.changing = true;
  try {
    state.priority = priority;
    for (const follower of state.followers) follower.priorityChanged(signal);
    signal.dispatchEvent(new TaskPriorityChangeEvent('prioritychange', { previousPriority }));
    keep(signal); // a listener may have been there for once
    for (const reference of state.dependents) {
      const dependent = reference.deref();
      if (dependent !== undefined) signalChange(dependent, priority);
    }
  } finally {
    state.changing = false;
  }
}

const describeSignal = (signal: TaskSignal): string =>
  `TaskSignal { ${stateOf(signal).priority}${signal.aborted ? ', aborted' : ''} }`;

defineInspect<TaskSignal>(TaskSignal, describeSignal);

defineInspect<TaskController>(
  TaskController,
  ({ signal }) => `TaskController { signal: ${describeSignal(signal)} }`,
);

defineInspect<TaskPriorityChangeEvent>(
  TaskPriorityChangeEvent,
  ({ type, previousPriority }) => `TaskPriorityChangeEvent { ${type}, was ${previousPriority} }`,
);
