/*
 * One listener of an abort signal for all who wait with it: a signal that many tasks share is not
 * searched through for each, and nobody is warned of a leak of listeners.
 */

import type { Task } from '../job.ts';

class Group {
  /** Told once, when the signal is aborted, in the order of joining. */
  readonly members: Set<Task> = new Set();
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  readonly listener = (): void => {
    groups.delete(this.#signal);
    for (const member of this.members) member._abort(this.#signal.reason);
  };
}

const groups = new WeakMap<AbortSignal, Group>();

/** From now on it is told; the signal must not be aborted yet. */
export function join(signal: AbortSignal, member: Task): void {
  let group = groups.get(signal);
  if (group === undefined) {
    groups.set(signal, (group = new Group(signal)));
    signal.addEventListener('abort', group.listener, { once: true });
  }
  group.members.add(member);
}

/** It is not told any more. */
export function leave(signal: AbortSignal, member: Task): void {
  const group = groups.get(signal);
  if (group?.members.delete(member) !== true || group.members.size > 0) return;
  groups.delete(signal);
  signal.removeEventListener('abort', group.listener);
}
