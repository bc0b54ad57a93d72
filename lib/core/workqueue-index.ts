/*
 * The workqueues that `acquire` returns, found by a key that is made of all their criteria.
 *
 * A program that gives each tenant a workqueue of its own has many: with 100,000 of them, a search through all took 2 ms
 * for each call of `acquire`.
 */

import type { OnError } from './invoke.ts';
import type { Criteria, Workqueue } from './workqueue.ts';

/** Workqueues by their criteria. */
export class WorkqueueIndex {
  readonly #queues = new Map<string, Workqueue>();
  /** A number for each handler of errors, because a key is a text. */
  readonly #handlers = new WeakMap<OnError, number>();
  #numbers = 0;

  /** Adds a workqueue, and returns its key. */
  add(queue: Workqueue, criteria: Criteria): string {
    const key = this.#keyOf(criteria);
    this.#queues.set(key, queue);
    return key;
  }

  /** Returns the workqueue for these criteria; undefined: there is none. */
  find(criteria: Criteria): Workqueue | undefined {
    return this.#queues.get(this.#keyOf(criteria));
  }

  /** Removes the workqueue with a key. */
  delete(key: string): void {
    this.#queues.delete(key);
  }

  #keyOf(criteria: Criteria): string {
    const { priority, perCpu, maxActive, patienceMs, onError, name, shares, shed } = criteria;
    const handler = onError === undefined ? 0 : this.#numberOf(onError);
    const shedding = shed === undefined ? '' : `${shed.targetMs}/${shed.intervalMs}`;
    // The name is the last part, because it may contain anything.
    const asked = name === undefined ? '' : `=${name}`;
    return `${priority} ${perCpu} ${maxActive} ${patienceMs} ${handler} ${shares} ${shedding} ${asked}`;
  }

  #numberOf(onError: OnError): number {
    let number = this.#handlers.get(onError);
    if (number === undefined) this.#handlers.set(onError, (number = ++this.#numbers));
    return number;
  }
}
