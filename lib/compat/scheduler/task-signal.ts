/*
 * Abort signals that also have a priority: TaskSignal, TaskController, and their event.
 *
 *   controller ----> signal ----> dependents (any), which follow its priority
 *   setPriority        |
 *                      +--------> followers: the queues of tasks that were posted with it
 *
 * A dependent and its source reference each other weakly, so that one signal per request does not
 * accumulate at a controller that outlives all requests. The source keeps a dependent alive while it
 * has listeners of prioritychange or queued tasks.
 *
 * An AbortSignal cannot be constructed, so a TaskSignal is an AbortSignal with another prototype.
 *
 * Source: WICG Prioritized Task Scheduling, "Controlling Tasks", 30 May 2025.
 */

import { getEventListeners } from 'node:events';
import { defineInspect } from '../../base/inspect.ts';
import { toDictionary, toEnum, toSequence, toSignal } from '../web-idl.ts';

/**
 * How urgent a task is.
 *
 * - `'user-blocking'`: a user waits for it
 * - `'user-visible'`: the default
 * - `'background'`: it can wait
 *
 * @public
 */
export type TaskPriority = 'user-blocking' | 'user-visible' | 'background';

/** All priorities, lowest first. */
export const TASK_PRIORITIES: readonly TaskPriority[] = [
  'background',
  'user-visible',
  'user-blocking',
];

/** An object that has queued tasks with a signal. */
export interface PriorityFollower {
  priorityChanged(signal: TaskSignal): void;
}

class SignalState {
  priority: TaskPriority;
  changing = false;
  /** Whether it was created by `TaskSignal.any`. */
  readonly dependent: boolean;
  /** The signal whose priority it follows, if any. */
  source: WeakRef<TaskSignal> | null = null;
  readonly dependents: Set<WeakRef<TaskSignal>> = new Set();
  /** The dependents that must not be garbage-collected. */
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

/** Turns an AbortSignal into a TaskSignal. */
function promote(signal: AbortSignal, priority: TaskPriority, dependent: boolean): TaskSignal {
  states.set(signal, new SignalState(priority, dependent));
  return Object.setPrototypeOf(signal, TaskSignal.prototype) as TaskSignal;
}

/**
 * Options of {@link TaskSignal.any}.
 *
 * @public
 */
export interface TaskSignalAnyInit {
  /** The priority, or the signal whose priority to follow. Default `'user-visible'`. */
  priority?: TaskPriority | TaskSignal;
}

/**
 * Options of {@link TaskController}.
 *
 * @public
 */
export interface TaskControllerInit {
  /** The priority of its signal. Default `'user-visible'`. */
  priority?: TaskPriority;
}

/**
 * Options of {@link TaskPriorityChangeEvent}.
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
 * Fired when the priority of a {@link TaskSignal} has changed. `event.target.priority` is the new one.
 *
 * @public
 */
export class TaskPriorityChangeEvent extends Event {
  readonly #previousPriority: TaskPriority;

  /**
   * Creates an event.
   *
   * @param type - `prioritychange`
   * @param priorityChangeEventInitDict - the previous priority, and options of Event
   * @throws TypeError for an invalid previous priority
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
 * An AbortSignal with a priority, for tasks.
 *
 * @remarks
 * It belongs to a {@link TaskController} or is created by {@link TaskSignal.any}. When its priority
 * changes, the queued tasks that were posted with it change theirs.
 *
 * @public
 */
export class TaskSignal extends AbortSignal {
  // Throws, because an AbortSignal cannot be constructed.
  private constructor() {
    super();
  }

  /**
   * Creates a signal that is aborted when any of the given signals is.
   *
   * @param signals - any number of signals
   * @param init - its priority, or the signal whose priority it follows
   * @returns a signal
   * @throws TypeError for an invalid signal or priority
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

  /** Its current priority. */
  get priority(): TaskPriority {
    return stateOf(this).priority;
  }

  /** A listener of `prioritychange`, or null. */
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

  /** Adds a listener, like that of EventTarget. */
  override addEventListener(...args: Parameters<AbortSignal['addEventListener']>): void {
    super.addEventListener(...args);
    keep(this);
  }

  /** Removes a listener, like that of EventTarget. */
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
 * An AbortController that can also change the priority of its signal.
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
   * Creates a controller.
   *
   * @param init - the priority
   * @throws TypeError for an invalid priority
   */
  constructor(init: TaskControllerInit = {}) {
    super();
    promote(this.signal, toPriority(toDictionary(init, 'init').priority, 'priority'), false);
  }

  /**
   * Changes the priority of its signal, of the signals that follow it, and of the tasks queued with
   * them.
   *
   * @param priority - the new priority
   * @throws TypeError for an invalid priority; DOMException NotAllowedError if called by a listener of
   * the change
   */
  setPriority(priority: TaskPriority): void {
    signalChange(this.signal, toEnum(priority, TASK_PRIORITIES, 'priority'));
  }

  /** `TaskController`. */
  get [Symbol.toStringTag](): string {
    return 'TaskController';
  }
}

/** Tells whether the priority of a signal can never change. */
export function hasFixedPriority(signal: TaskSignal): boolean {
  const { dependent, source } = stateOf(signal);
  return dependent && source === null;
}

/** Registers a follower, which is notified of changes of the priority. */
export function follow(signal: TaskSignal, follower: PriorityFollower): void {
  stateOf(signal).followers.add(follower);
  keep(signal);
}

/** Unregisters a follower. */
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

/** Makes the source keep a signal alive while a change of its priority would be noticed. */
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
    keep(signal); // a `once` listener may have removed itself
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
