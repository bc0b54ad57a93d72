/*
 * One listener of an abort signal for all who wait with it.
 *
 *   signal --(WeakMap)--> group: its members, in the order in which they joined
 *
 * An EventTarget searches all its listeners when one is added or removed, and warns of a leak when
 * they are many: with 1,000 runs on one signal, that was nine tenths of the time of a run. Here each
 * joins and leaves in O(1). The map keeps neither signals nor members: a signal keeps its members as
 * long as they are in the group, and is kept by none of them.
 *
 * Invariant: the signal has the listener if and only if the group has members. It is restored in `join`,
 * `leave` and `onAbort`; while members are told, who leaves is told no more.
 *
 * A program may dispatch an abort event of its own making: if the signal is not aborted, nobody is told.
 *
 * Most signals have one member: a Set for it would cost as much as the listener. The group stays in the
 * map when it is empty: to take it out and put it back costs 2 us (Node 20).
 */

import { addAbortListener } from 'node:events';
import { microtask } from './host-functions.ts';
import { race } from './race.ts';

/**
 * Who is told when a signal is aborted.
 *
 * @internal
 */
export interface AbortMember {
  /** The signal has been aborted. Called once, with its reason. */
  _abort(reason: unknown): void;
}

type AddEventListenerOptions = Parameters<AbortSignal['addEventListener']>[2];

class Group {
  #first: AbortMember | undefined = undefined;
  /** Those who have joined when there was a first one, or others. */
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
    // The others are told all the same.
    microtask(() => {
      throw error;
    });
  }
}

const groups = new WeakMap<EventTarget, Group>();

/**
 * How Node itself listens to an abort, by `addAbortListener`: also if another listener stops the event.
 * That function costs 7 us; the options it passes, which have a symbol of its own, cost nothing.
 */
function nodesOptions(): AddEventListenerOptions {
  let options: object = {};
  const { signal } = new AbortController();
  signal.addEventListener = (_type: string, _listener: unknown, given: unknown) => {
    options = given as object;
  };
  addAbortListener(signal, () => undefined);
  // Not gone with the first event: that may be no abort.
  return { ...options, once: false };
}

let options: AddEventListenerOptions | undefined;

/**
 * What a promise becomes, or the reason of the signal, if that is aborted first.
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
 * From now on it is told, after those who joined before; the signal must not be aborted yet.
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
 * It is not told any more.
 *
 * @internal
 */
export function leave(signal: AbortSignal, member: AbortMember): void {
  const group = groups.get(signal);
  if (group === undefined || group.empty) return;
  group.delete(member);
  if (group.empty) signal.removeEventListener('abort', onAbort);
}
