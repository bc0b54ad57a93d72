/*
 * Submission: brings the entry of a continuation that was scheduled to the CPU that is to run it.
 *
 *   this CPU       filed in its wheel or run queue
 *   another CPU    its definition first, if that CPU does not have it; then a message ENTRY
 *   ANY            an entry on each of several CPUs, of which the first that sleeps is woken
 */

import { SCHEDULED } from '../../core/state.ts';
import type { CpuContext } from '../cpu-context.ts';
import { ANY, isBound } from '../memory/control-block.ts';
import type { HandleSync } from '../messages/handle-sync.ts';
import { ENTRY } from '../messages/inbox.ts';
import type { Placement } from '../placement.ts';
import type { HandleTable } from './handle-table.ts';
import type { RemoteKcont } from './remote-kcont.ts';

/** Files entries on their target CPUs, for one CPU. */
export class Submission {
  readonly #cpu: CpuContext;
  readonly #placement: Placement;
  readonly #handleSync: HandleSync;
  readonly #take: () => void;
  /** This CPU enters nothing any more that another CPU may enter. */
  #retired = false;

  /** `take` empties the inbox of this CPU. */
  constructor(cpu: CpuContext, placement: Placement, handleSync: HandleSync, take: () => void) {
    this.#cpu = cpu;
    this.#placement = placement;
    this.#handleSync = handleSync;
    this.#take = take;
  }

  /** Files an entry on its target CPU. `silent`: the target need not be woken for it. */
  submit(
    entry: RemoteKcont,
    target: number,
    generation: number,
    seq: number,
    silent: boolean,
  ): void {
    const placement = this.#placement;
    if (target === ANY) {
      const cpus = placement.candidates();
      placement.rotate();
      for (const cpu of cpus) this.#submitTo(cpu, entry, generation, seq);
      const sleeper = placement.sleeper(cpus);
      if (sleeper !== undefined) this.#cpu.wakeCpu(sleeper);
      return;
    }
    this.#submitTo(target, entry, generation, seq);
    if (target === this.#cpu.index) return;
    if (!silent || placement.isFlooding()) this.#cpu.wakeCpu(target);
  }

  #submitTo(target: number, entry: RemoteKcont, generation: number, seq: number): void {
    if (target === this.#cpu.index) {
      // What other CPUs have submitted before comes first.
      this.#take();
      if (!this.#retired) entry.file(generation, seq);
      return;
    }
    // If that fails now, the target asks for it later.
    if ((entry.told & (1 << target)) === 0) this.#handleSync.tell(entry, target);
    this.#placement.sent(target);
    const { block, handle, posted } = entry;
    this.#cpu.inbox.send(target, ENTRY, block, handle, generation, seq, posted);
  }

  /** Whether this CPU still enters the continuation of a block. */
  accepts(block: number): boolean {
    return !this.#retired || isBound(this.#cpu.memory, block);
  }

  /**
   * Hands over everything that is scheduled here and has not been entered: to other CPUs, or to the next
   * thread of this CPU.
   */
  retire(handles: HandleTable): void {
    this.#retired = true;
    for (const { kc, block } of handles) {
      if ((kc._state & SCHEDULED) === 0 || isBound(this.#cpu.memory, block)) continue;
      this.#cpu.dispatcher.withdraw(kc);
    }
  }
}
