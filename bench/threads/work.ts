// What runs on the other thread: the CPU module of kcont, and the worker file of the pools. All call
// the same functions.

import { soon } from '../harness/floors.ts';

/** Of this thread. */
let entered = 0;
let sum = 0;

/** As a continuation's function: counts, and adds up what it is given. */
export function enter(value: number): void {
  entered++;
  sum += value;
}

/** What has been entered since the last call, and the sum of what it was given. */
export function taken(): { entered: number; sum: number } {
  const result = { entered, sum };
  entered = 0;
  sum = 0;
  return result;
}

/** Returns what it is given. */
export function echo<T>(value: T): T {
  return value;
}

/** The same, later. */
export async function echoLater<T>(value: T): Promise<T> {
  await soon;
  return value;
}

/**
 * Keeps the thread from everything else, without using its CPU, until `gate[0]` is 1. Tells in
 * `gate[1]` that it does.
 */
export function park(gate: Int32Array): void {
  Atomics.store(gate, 1, 1);
  Atomics.notify(gate, 1);
  Atomics.wait(gate, 0, 0);
}

/** Runs until it is aborted, leaving the thread free. */
export function untilAborted(gate: Int32Array, signal?: AbortSignal): Promise<void> {
  Atomics.store(gate, 1, 1);
  Atomics.notify(gate, 1);
  return new Promise((resolve) => signal?.addEventListener('abort', () => resolve()));
}
