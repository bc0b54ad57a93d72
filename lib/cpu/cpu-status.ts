/*
 * What any CPU can tell of another one, from what that has last said of itself in shared memory.
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

/** In the order of their numbers in memory.ts. */
const STATES: readonly CpuState[] = ['down', 'starting', 'up', 'stopping'];

/** What a CPU is doing. */
export function stateOf(memory: Memory, index: number): CpuState {
  return STATES[Atomics.load(memory.words, memory.slot(index) + STATE)] ?? 'down';
}

/**
 * For how long a CPU has not come to what it should do, in ms: since it has begun its present pass,
 * or since it was rung for, or since its next timer was due.
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
