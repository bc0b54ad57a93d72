/*
 * What CPUs have not finished when a kernel closes: what their threads report, and what stands in the
 * control blocks of those that ended without a report.
 */

import { CANCELLED } from '../../core/kcont.ts';
import { KcontError } from '../../base/errors.ts';
import { label } from '../../core/schedule.ts';
import type { CloseReport, Unfinished } from '../../core/shutdown.ts';
import { PENDING, SCHEDULED } from '../../core/state.ts';
import { CPU, rescueWord } from '../memory/control-block.ts';
import { allBlocks } from '../memory/block-allocator.ts';
import { JobRunner } from '../jobs/job-runner.ts';
import type { LocalCpu } from '../local-cpu.ts';
import type { RemoteEntry } from '../handles/remote-entry.ts';

/** What is left over on CPUs besides CPU 0. */
export class LeftOver {
  readonly #localCpu: LocalCpu;
  readonly #withdrawn: string[] = [];
  readonly #unfinished: Unfinished[] = [];
  /** CPUs of which it is known what ran there. */
  readonly #known = new Set<number>();

  constructor(localCpu: LocalCpu) {
    this.#localCpu = localCpu;
  }

  /** What a thread has reported. */
  add({ withdrawn, unfinished }: CloseReport): void {
    this.#withdrawn.push(...withdrawn);
    this.#unfinished.push(...unfinished);
  }

  /** A run that has ended with its thread, which has not reported it. One that was killed has settled before. */
  addRun(cpu: number, entry: RemoteEntry): void {
    const { kc } = entry;
    this.#known.add(cpu);
    if (entry instanceof JobRunner && !this.#localCpu.jobs.isAwaited(entry)) return;
    this.#unfinished.push({ name: label(kc), wq: kc._wq.name, state: 'running' });
  }

  /** A thread that had to be ended. Something ran there: it has a name, if another CPU knew of it. */
  addCpu(cpu: number): void {
    if (!this.#known.has(cpu)) {
      this.#unfinished.push({ name: `CPU ${cpu}`, wq: '', state: 'running' });
    }
  }

  /** Withdraws what is scheduled on some CPUs. */
  withdraw(isOn: (cpu: number) => boolean): void {
    const localCpu = this.#localCpu;
    const { memory } = localCpu;
    for (const block of allBlocks(memory)) {
      const word = rescueWord(memory, block);
      if ((word & SCHEDULED) === 0 || !isOn(memory.words[block + CPU] as number)) continue;
      const entry = localCpu.handles.entryAt(block);
      const { kc } = entry;
      const name = label(kc);
      // Whoever else withdraws it has it in his report.
      if ((kc.cancel() & CANCELLED) === 0) continue;
      if ((word & PENDING) !== 0) this.#withdrawn.push(name);
      else this.#unfinished.push({ name, wq: kc._wq.name, state: 'queued' });
      if (entry instanceof JobRunner) {
        entry.report(new KcontError('ESHUTDOWN', 'the kernel is closed'));
      }
    }
  }

  /** One report of all of it. */
  with({ withdrawn, unfinished }: CloseReport): CloseReport {
    return {
      withdrawn: [...withdrawn, ...this.#withdrawn],
      unfinished: [...unfinished, ...this.#unfinished],
    };
  }
}
