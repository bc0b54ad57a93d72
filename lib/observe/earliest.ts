import type { Kcont } from '../core/kcont.ts';
import type { Role } from './list-entry.ts';

/**
 * One that was found.
 *
 * @internal
 */
export interface Item {
  readonly kc: Kcont<unknown>;
  readonly role: Role;
  /** When its timer is due, in ms; -Infinity: it has none. */
  readonly deadlineMs: number;
}

/**
 * The first of any number of continuations: those that are not PENDING in the order in which they were added, then
 * timers by their deadlines. It costs the same to add one, however many there are.
 *
 * @internal
 */
export class Earliest {
  readonly #limit: number;
  #items: Item[] = [];
  /** What is due at this time or later is not among the first. */
  #beforeMs = Infinity;
  /** How many were added. */
  count = 0;

  /** @param limit - how many are kept */
  constructor(limit: number) {
    this.#limit = limit;
  }

  add(kc: Kcont<unknown>, role: Role): void {
    this.count++;
    const deadlineMs = role.state === 'pending' ? kc.deadline : -Infinity;
    if (this.#items.length >= this.#limit && deadlineMs >= this.#beforeMs) return;
    this.#items.push({ kc, role, deadlineMs });
    if (this.#items.length >= this.#limit * 2) this.#sort();
  }

  /** Returns those that were kept, in their order. */
  take(): readonly Item[] {
    this.#sort();
    return this.#items;
  }

  #sort(): void {
    // Equal ones stay in the order in which they were added.
    const sorted = this.#items.toSorted((a, b) => a.deadlineMs - b.deadlineMs || 0);
    this.#items = sorted.slice(0, this.#limit);
    if (sorted.length >= this.#limit) this.#beforeMs = this.#items.at(-1)?.deadlineMs ?? Infinity;
  }
}
