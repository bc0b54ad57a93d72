/*
 * One listener per abort signal, shared by everything that waits with it.
 *
 *   signal --(WeakMap)--> group: its members, in the order in which they joined
 *
 * An EventTarget searches all its listeners when one is added or removed, and warns of a leak when
 * there are many: with 1,000 runs on one signal, this took 90 % of the time of a run. Here each member
 * joins and leaves in O(1). The map keeps neither signals nor members alive: a signal keeps the members
 * of its group alive, and members do not keep the signal alive.
 *
 * Invariant: the signal has the listener if and only if the group has members. It is restored in `join`,
 * `leave` and `onAbort`. A member that leaves while others are being notified is not notified.
 *
 * A program may dispatch an abort event itself: if the signal is not aborted, the event is ignored.
 *
 * Most signals have one member: a Set for it would cost as much as the listener. The group stays in the
 * map when it is empty: removing it and adding it again costs 2 us (Node 20).
 */

import { addAbortListener } from 'node:events';
import { microtask } from './host-functions.ts';
import { race } from './race.ts';

/**
 * Something that is notified when a signal is aborted.
 *
 * @internal
 */
export interface AbortMember {
  /** Called once when the signal is aborted, with its reason. */
  _abort(reason: unknown): void;
}

type AddEventListenerOptions = Parameters<AbortSignal['addEventListener']>[2];

class Group {
  #first: AbortMember | undefined = undefined;
  /** The members that joined when the group was not empty. */
  #others: Set<AbortMember> | undefined = undefined;

  get empty(): boolean {
    return this.#first === undefined && (this.#others === undefined || this.#others.size === 0);
  }

  add(member: AbortMember): void {
    if (this.empty) this.#first = member;
    else (this.#others ??= new Set()).add(member);
  }

  delete(member: AbortMember): void {
    if (this.#first === member) this.#first = undefined;
    else this.#others?.delete(member);
  }

  tellAll(reason: unknown): void {
    const others = this.#others;
    const first = this.#first;
    this.#first = undefined;
    if (first !== undefined) tell(first, reason);
    if (others === undefined) return;
    for (const member of others) {
      others.delete(member);
      tell(member, reason);
    }
  }
}

function tell(member: AbortMember, reason: unknown): void {
  try {
    member._abort(reason);
  } catch (error) {
    // The other members must still be notified.
    microtask(() => {
      throw error;
    });
  }
}

const groups = new WeakMap<EventTarget, Group>();

/**
 * Returns the listener options of Node's `addAbortListener`, which contain a private symbol: such a
 * listener is called even if another one stops the event. Calling that function costs 7 us; passing its
 * options costs nothing.
 */
function nodesOptions(): AddEventListenerOptions {
  let options: object = {};
  const { signal } = new AbortController();
  signal.addEventListener = (_type: string, _listener: unknown, given: unknown) => {
    options = given as object;
  };
  addAbortListener(signal, () => undefined);
  // Not `once`: the first event may be one that a program has dispatched, without an abort.
  return { ...options, once: false };
}

let options: AddEventListenerOptions | undefined;

/**
 * Waits for a promise; rejects with the signal's reason if the signal is aborted first.
 *
 * @internal
 */
export async function untilAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  if (signal === undefined) return promise;
  let member!: AbortMember;
  const aborted = new Promise<never>((_, reject) => {
    member = { _abort: reject };
    signal.throwIfAborted();
    join(signal, member);
  });
  try {
    return await race([promise, aborted]);
  } finally {
    leave(signal, member);
  }
}

/** The listener of all signals. */
function onAbort(event: Event): void {
  const signal = event.target as AbortSignal;
  if (!signal.aborted) return;
  signal.removeEventListener('abort', onAbort);
  groups.get(signal)?.tellAll(signal.reason);
}

/**
 * Adds a member, which is notified after those that joined before it. The signal must not be aborted.
 *
 * @internal
 */
export function join(signal: AbortSignal, member: AbortMember): void {
  let group = groups.get(signal);
  if (group === undefined) groups.set(signal, (group = new Group()));
  if (group.empty) signal.addEventListener('abort', onAbort, (options ??= nodesOptions()));
  group.add(member);
}

/**
 * Removes a member.
 *
 * @internal
 */
export function leave(signal: AbortSignal, member: AbortMember): void {
  const group = groups.get(signal);
  if (group === undefined || group.empty) return;
  group.delete(member);
  if (group.empty) signal.removeEventListener('abort', onAbort);
}
