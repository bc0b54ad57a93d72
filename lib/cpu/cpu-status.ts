/*
 * The status of a CPU, as any other CPU reads it from shared memory.
 */

import type { CpuState } from '../core/cpu.ts';
import {
  AWAKE,
  AWAKE_SINCE,
  WOKEN,
  WOKEN_AT,
  SLEEP,
  STATE,
  UP,
  WAKES_AT,
  sleepOf,
  type Memory,
} from './memory/shared-memory.ts';

/** The states, indexed by their numbers in shared-memory.ts. */
const STATES: readonly CpuState[] = ['down', 'starting', 'up', 'stopping'];

/** The state of a CPU. */
export function stateOf(memory: Memory, index: number): CpuState {
  return STATES[Atomics.load(memory.words, memory.slot(index) + STATE)] ?? 'down';
}

/**
 * How long a CPU's event loop has been blocked, in ms: the time since its current pass began, or,
 * if the CPU sleeps, since it was woken or since its next timer was due, whichever came first.
 */
export function lagOf(memory: Memory, index: number, nowMs: number): number {
  const { words, floats } = memory;
  const slot = memory.slot(index);
  if (words[slot + STATE] !== UP) return 0;
  const at = (word: number): number => floats[(slot + word) >> 1] as number;
  const sleep = sleepOf(Atomics.load(words, slot + SLEEP));
  let since = at(AWAKE_SINCE);
  if (sleep !== AWAKE) since = Math.min(at(WAKES_AT), sleep === WOKEN ? at(WOKEN_AT) : Infinity);
  return Math.max(0, nowMs - since);
}
