// A CPU module whose functions use locks, and collect their thread's garbage.
import { setTimeout as sleep } from 'node:timers/promises';
import { SharedMutex, SharedRMLock, SharedRWLock, SharedSpinLock } from '../../lib/cpu/index.ts';

export async function collect(): Promise<void> {
  for (let i = 0; i < 2; i++) {
    globalThis.gc?.();
    await new Promise((resolve) => void setImmediate(resolve));
  }
}

export function echo(value: unknown): unknown {
  return value;
}

/** Keeps its argument until its gate opens. */
export async function hold({
  locks,
  gate,
}: {
  locks: unknown[];
  gate: Int32Array;
}): Promise<number> {
  while (Atomics.load(gate, 0) === 0) await sleep(0);
  return locks.length;
}

/** Blocks the whole thread until its gate opens. */
export function block(gate: Int32Array): void {
  Atomics.store(gate, 0, 1);
  Atomics.notify(gate, 0);
  Atomics.wait(gate, 1, 0);
}

/** Takes an argument. */
export function look(arg: unknown): void {
  void arg;
}

const KINDS = [SharedMutex, SharedSpinLock, SharedRWLock, SharedRMLock];

/** A lock that was created on this CPU. */
export function bring(kind: number): unknown {
  return { lock: new (KINDS[kind] ?? SharedMutex)() };
}

export function isHeld(lock: SharedMutex): boolean {
  return lock.held;
}
