/*
 * Scheduling of continuations whose state is, or has to be, in a control block: whether it is allowed,
 * and why it was refused.
 */

import type { Cpu } from '../../core/cpu.ts';
import type { RemoteScheduling as CoreScheduling } from '../../core/cpu-link.ts';
import { EINVAL, KcontError } from '../../base/errors.ts';
import type { Kcont } from '../../core/kcont.ts';
import { REMOTE_REQUIRED, forbidden, label } from '../../core/schedule.ts';
import { HALTING, INVOKING, OPEN, REMOTE, ANY_CPU } from '../../core/state.ts';
import type { CpuContext } from '../cpu-context.ts';
import type { HandleTable } from './handle-table.ts';

/** Schedules continuations on other CPUs, for one CPU. */
export class RemoteScheduling implements CoreScheduling {
  readonly #cpu: CpuContext;
  readonly #handles: HandleTable;

  constructor(cpu: CpuContext, handles: HandleTable) {
    this.#cpu = cpu;
    this.#handles = handles;
  }

  whyNot(kc: Kcont<unknown>, cpu: Cpu | null, busy: number): number {
    const isHere = cpu === null || cpu === this.#cpu.here;
    const isTied = isHere && (kc._state & (REMOTE | ANY_CPU)) === 0;
    // A stop of this CPU alone does not matter to a continuation that may run on another CPU.
    const { phase } = isTied ? this.#cpu.dispatcher : this.#cpu;
    const isNowhere = cpu !== null && !kc._wq.perCpu;
    // Then `schedule` checks the state bits, in the same compareExchange that changes them.
    if ((kc._state & REMOTE) !== 0 && !isNowhere && phase === OPEN) return REMOTE_REQUIRED;
    const errno = forbidden(kc, cpu, busy, phase);
    if (errno !== 0) return errno;
    return isHere && (kc._state & ANY_CPU) === 0 ? 0 : REMOTE_REQUIRED;
  }

  schedule(kc: Kcont<unknown>, delayMs: number, cpu: Cpu | null, busy?: number): number {
    const handles = this.#handles;
    if (kc._remote === null && handles.whyNot(kc) !== undefined) return EINVAL;
    const entry = kc._remote ?? handles.publish(kc);
    return entry.schedule(delayMs, cpu, busy ?? INVOKING | HALTING, busy !== undefined);
  }

  stopped(kc: Kcont<unknown>): KcontError | undefined {
    const { phase, index } = this.#cpu;
    if (phase !== OPEN) return undefined;
    const what = `${label(kc)} cannot be scheduled: CPU ${index} is being stopped`;
    return new KcontError('ECPUDIED', what);
  }

  reason(kc: Kcont<unknown>): KcontError {
    const why = this.#handles.whyNot(kc);
    return why ?? new KcontError('EINVAL', `${label(kc)} cannot be scheduled there`);
  }
}
