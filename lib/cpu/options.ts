/*
 * Reading and checking the options of `startCpus`, `Cpu.stop` and `Cpu.restart`.
 */

import { Cpu, type CpuLimits, type StartCpusOptions } from '../core/cpu.ts';
import type { Caller } from '../base/errors.ts';
import {
  ANYTHING,
  FINITE_MS,
  FUNCTION,
  OPTIONS,
  SIGNAL,
  integerOf,
  kindOf,
  numberOf,
  optionsOf,
  readOptions,
} from '../base/options-check.ts';

/** The most CPUs besides CPU 0. Each has a bit in a word, and so has each CPU for jobs with `kill`. */
export const MOST = 15;

const MS = numberOf('a finite number of ms >= 0', 0, Number.MAX_VALUE);
const MB = numberOf('a number of MB > 0', Number.MIN_VALUE, Number.MAX_VALUE);

const START = optionsOf<StartCpusOptions>('startCpus', {
  // Checked by moduleUrl.
  module: ANYTHING,
  count: integerOf(`an integer from 1 to ${MOST}`, 1, MOST),
  onEvent: FUNCTION,
  blockedMs: MS,
  backoffMs: MS,
  longestBackoffMs: MS,
  timeoutMs: kindOf(
    'a number of ms > 0, or Infinity',
    (ms) => typeof ms === 'number' && ms > 0 && (ms < 2 ** 53 || ms === Infinity),
  ),
  signal: SIGNAL,
  resourceLimits: OPTIONS,
});

const LIMITS = optionsOf<CpuLimits>(
  'resourceLimits',
  {
    maxOldGenerationSizeMb: MB,
    maxYoungGenerationSizeMb: MB,
    codeRangeSizeMb: MB,
    stackSizeMb: MB,
  },
  // Node rejects limits that are undefined, so they are left out.
  () => ({}),
);

type Grace = { graceMs?: number };

const STOP = optionsOf<Grace>('stop', { graceMs: FINITE_MS });
const RESTART = optionsOf<Grace>('restart', { graceMs: FINITE_MS });

/** Reads the options of `startCpus`. */
export function readStart(options: StartCpusOptions, caller: Caller): StartCpusOptions {
  const read = readOptions(options ?? null, START, caller);
  const { resourceLimits } = read;
  if (resourceLimits !== undefined)
    read.resourceLimits = readOptions(resourceLimits, LIMITS, caller);
  return read;
}

/** Reads the options of `Cpu.stop`. */
export function readStop(options?: Grace): Grace {
  return readOptions(options, STOP, Cpu.prototype.stop);
}

/** Reads the options of `Cpu.restart`. */
export function readRestart(options?: Grace): Grace {
  return readOptions(options, RESTART, Cpu.prototype.restart);
}
