import { hostWallMs } from '../../time/wall-clock.ts';
import { commonMs } from '../../time/host-clock.ts';
import { recordedCpu, type Recorded, type RecordedCpu } from './records.ts';
import { Ring } from './ring.ts';

/**
 * What a thread has to know to read the rings of a process, or to record into one of them. It can be posted.
 *
 * @internal
 */
export interface Rings {
  readonly buffer: SharedArrayBuffer;
  /** How many rings there are. */
  readonly cpus: number;
  /** How many records each has; a power of two. */
  readonly capacity: number;
  /** The common time at which the clock of the kernel of CPU 0 was at 0, in ms. */
  readonly originMs: number;
  /** Whether that clock is the host's. If it is not, nobody else knows the time. */
  readonly isHosts: boolean;
  readonly budgetMs: number;
  /** Where files are written by default. */
  readonly folder: string;
  /** Whether a file is written for an uncaught exception. */
  readonly onException: boolean;
}

/**
 * Returns what the rings of all CPUs contain.
 *
 * @param reason - why it is read
 * @param sinceMs - only records from this time on, on the common clock
 *
 * @internal
 */
export function readRings(rings: Rings, reason: string, sinceMs?: number): Recorded {
  const { buffer, capacity, originMs, isHosts, budgetMs } = rings;
  const cpus: RecordedCpu[] = [];
  let lastMs = 0;
  for (let index = 0; index < rings.cpus; index++) {
    const contents = new Ring(buffer, index, capacity).read(sinceMs);
    if (contents === undefined) continue;
    const cpu = recordedCpu(contents);
    lastMs = Math.max(lastMs, cpu.records.at(-1)?.[0] ?? 0);
    cpus.push(cpu);
  }
  return {
    version: 1,
    pid: process.pid,
    nowMs: isHosts ? Math.max(commonMs(), lastMs) : lastMs,
    wallMs: hostWallMs(),
    originMs,
    budgetMs,
    reason,
    cpus,
  };
}
