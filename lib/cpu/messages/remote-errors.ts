/*
 * Errors of functions on their way between CPUs: what a function throws on one CPU is told where its
 * handle was made. What an error consists of is in wire-error.ts. Nothing here throws.
 */

import { reportLater } from '../../core/invoke.ts';
import { KcontError } from '../../base/errors.ts';
import { label } from '../../core/schedule.ts';
import { HOME } from '../memory/control-block.ts';
import { JobRunner } from '../jobs/job-runner.ts';
import type { LocalCpu } from '../local-cpu.ts';
import { FAILED } from './inbox.ts';
import type { RemoteKcont } from '../handles/remote-kcont.ts';
import { errorFrom, postError } from './wire-error.ts';

/** Errors of functions that run on another CPU than the one where their handle was made. */
export class RemoteErrors {
  readonly #localCpu: LocalCpu;

  constructor(localCpu: LocalCpu) {
    this.#localCpu = localCpu;
  }

  /** A function has failed here. False: its handle was made here. */
  failed(entry: RemoteKcont, error: unknown): boolean {
    const localCpu = this.#localCpu;
    const home = localCpu.memory.words[entry.block + HOME] as number;
    if (home === localCpu.index) return false;
    const posted = postError(localCpu.ports, home, error);
    localCpu.send(home, FAILED, entry.block, entry.handle, 0, posted);
    return true;
  }

  /** A run was ended from outside, wherever it was. */
  failedAt(entry: RemoteKcont, error: unknown): void {
    if (this.failed(entry, error)) return;
    entry.kc._wq._failed++;
    this.#localCpu.later(() => reportLater(entry.kc, error));
  }

  /** What a function has to be called with is gone, with the CPU that knew it. */
  lost(entry: RemoteKcont): void {
    const what = `${label(entry.kc)} was stopped: the CPU that knew its argument has died`;
    reportLater(entry.kc, new KcontError('ECPUDIED', what));
  }

  /** A function has failed elsewhere, whose handle was made here. */
  reported(block: number, handle: number, claimed: [unknown] | undefined): void {
    const localCpu = this.#localCpu;
    // Found at once: the next message may say that its block is somebody else's.
    const kc = localCpu.handles.handleOf(block, handle);
    localCpu.later(() => reportLater(kc, errorFrom(claimed, label(kc))));
  }

  /** Something went wrong with what another CPU has sent about a handle: it concerns that one only. */
  mishap(block: number, handle: number, error: unknown): void {
    const localCpu = this.#localCpu;
    const entry = localCpu.handles.find(block, handle);
    if (entry instanceof JobRunner) entry.report(error);
    else if (entry !== undefined) this.failedAt(entry, error);
    else localCpu.dispatcher.clock._raise(error);
  }
}
