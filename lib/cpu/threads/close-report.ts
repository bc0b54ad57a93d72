/*
 * The report of what CPUs have not finished when a kernel closes: what their threads report, and what
 * the control blocks say of threads that ended without a report.
 */

import { CANCELLED } from '../../core/kcont.ts';
import { KcontError } from '../../base/errors.ts';
import { label } from '../../core/schedule.ts';
import type { CloseReport, Unfinished } from '../../core/shutdown.ts';
import { PENDING, SCHEDULED } from '../../core/state.ts';
import { CPU, rescueWord } from '../memory/control-block.ts';
import { allBlocks } from '../memory/block-allocator.ts';
import { JobRunner } from '../jobs/job-runner.ts';
import type { HandleTable } from '../handles/handle-table.ts';
import type { JobCaller } from '../jobs/job-caller.ts';
import type { Memory } from '../memory/shared-memory.ts';
import type { RemoteEntry } from '../handles/remote-entry.ts';

/** Collects what is left over on the CPUs other than CPU 0. */
export class LeftOver {
  readonly #memory: Memory;
  readonly #handles: HandleTable;
  readonly #jobs: JobCaller;
  readonly #withdrawn: string[] = [];
  readonly #unfinished: Unfinished[] = [];
  /** The CPUs for which a lost run has been added by its name. */
  readonly #known = new Set<number>();

  constructor(memory: Memory, handles: HandleTable, jobs: JobCaller) {
    this.#memory = memory;
    this.#handles = handles;
    this.#jobs = jobs;
  }

  /** Adds the report of a thread. */
  add({ withdrawn, unfinished }: CloseReport): void {
    // Not by a spread: a call takes a limited number of arguments, about 120,000.
    for (const name of withdrawn) this.#withdrawn.push(name);
    for (const entry of unfinished) this.#unfinished.push(entry);
  }

  /** Adds a run that has ended with its thread without a report. A killed job has been settled before. */
  addRun(cpu: number, entry: RemoteEntry): void {
    const { kc } = entry;
    this.#known.add(cpu);
    if (entry instanceof JobRunner && !this.#jobs.isAwaited(entry)) return;
    this.#unfinished.push({ name: label(kc), wq: kc._wq.name, state: 'running' });
  }

  /** Adds a thread that had to be ended, unless a run on it has been added by its name. */
  addCpu(cpu: number): void {
    if (!this.#known.has(cpu)) {
      this.#unfinished.push({ name: `CPU ${cpu}`, wq: '', state: 'running' });
    }
  }

  /** Withdraws everything that is scheduled on some CPUs. */
  withdraw(isOn: (cpu: number) => boolean): void {
    const memory = this.#memory;
    for (const block of allBlocks(memory)) {
      const word = rescueWord(memory, block);
      if ((word & SCHEDULED) === 0 || !isOn(memory.words[block + CPU] as number)) continue;
      const entry = this.#handles.entryAt(block);
      const { kc } = entry;
      const name = label(kc);
      // If another CPU has withdrawn it first, it is in the report of that CPU.
      if ((kc.cancel() & CANCELLED) === 0) continue;
      if ((word & PENDING) !== 0) this.#withdrawn.push(name);
      else this.#unfinished.push({ name, wq: kc._wq.name, state: 'queued' });
      if (entry instanceof JobRunner) {
        entry.report(new KcontError('ESHUTDOWN', 'the kernel is closed'));
      }
    }
  }

  /** Returns CPU 0's own report together with everything added here. */
  with({ withdrawn, unfinished }: CloseReport): CloseReport {
    return {
      withdrawn: [...withdrawn, ...this.#withdrawn],
      unfinished: [...unfinished, ...this.#unfinished],
    };
  }
}
