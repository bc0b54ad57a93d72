/*
 * Reports errors between CPUs: an error that a function throws is reported on the CPU that made its
 * handle. How an error is transmitted is in wire-error.ts. Nothing here throws.
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

/** Reports errors of functions that run on another CPU than the home of their handle. */
export class RemoteErrors {
  readonly #localCpu: LocalCpu;

  constructor(localCpu: LocalCpu) {
    this.#localCpu = localCpu;
  }

  /** Sends an error of a function that ran here to the home of its handle; false if that is this CPU. */
  failed(entry: RemoteKcont, error: unknown): boolean {
    const localCpu = this.#localCpu;
    const home = localCpu.memory.words[entry.block + HOME] as number;
    if (home === localCpu.index) return false;
    const posted = postError(localCpu.ports, home, error);
    localCpu.send(home, FAILED, entry.block, entry.handle, 0, posted);
    return true;
  }

  /** Reports the error of a run that did not end by itself, on whichever CPU it was. */
  failedAt(entry: RemoteKcont, error: unknown): void {
    if (this.failed(entry, error)) return;
    entry.kc._wq._failed++;
    this.#localCpu.later(() => reportLater(entry.kc, error));
  }

  /** Reports that an argument was lost with the CPU that knew it. */
  lost(entry: RemoteKcont): void {
    const what = `${label(entry.kc)} was stopped: the CPU that knew its argument has died`;
    reportLater(entry.kc, new KcontError('ECPUDIED', what));
  }

  /** Handles a FAILED message: a function has failed on another CPU, and its handle was made here. */
  reported(block: number, handle: number, claimed: [unknown] | undefined): void {
    const localCpu = this.#localCpu;
    // The handle is looked up now, because the next message may free its block.
    const kc = localCpu.handles.handleOf(block, handle);
    localCpu.later(() => reportLater(kc, errorFrom(claimed, label(kc))));
  }

  /** Reports an error in the handling of a message with the handle that the message was about. */
  mishap(block: number, handle: number, error: unknown): void {
    const localCpu = this.#localCpu;
    const entry = localCpu.handles.find(block, handle);
    if (entry instanceof JobRunner) entry.report(error);
    else if (entry !== undefined) this.failedAt(entry, error);
    else localCpu.dispatcher.clock._raise(error);
  }
}
