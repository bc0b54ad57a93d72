/*
 * Reports errors between CPUs: an error that a function throws is reported on the CPU that made its
 * handle. How an error is transmitted is in wire-error.ts. Nothing here throws.
 */

import { reportLater } from '../../core/invoke.ts';
import { KcontError } from '../../base/errors.ts';
import { label } from '../../core/schedule.ts';
import { HOME } from '../memory/control-block.ts';
import { JobRunner } from '../jobs/job-runner.ts';
import type { CpuContext } from '../cpu-context.ts';
import type { HandleTable } from '../handles/handle-table.ts';
import { FAILED } from './inbox.ts';
import type { RemoteKcont } from '../handles/remote-kcont.ts';
import { errorFrom, postError } from './wire-error.ts';

/** Reports errors of functions that run on another CPU than the home of their handle. */
export class RemoteErrors {
  readonly #cpu: CpuContext;
  readonly #handles: HandleTable;

  constructor(cpu: CpuContext, handles: HandleTable) {
    this.#cpu = cpu;
    this.#handles = handles;
  }

  /** Sends an error of a function that ran here to the home of its handle; false if that is this CPU. */
  failed(entry: RemoteKcont, error: unknown): boolean {
    const { memory, index, ports } = this.#cpu;
    const home = memory.words[entry.block + HOME] as number;
    if (home === index) return false;
    const posted = postError(ports, home, error);
    this.#cpu.send(home, FAILED, entry.block, entry.handle, 0, posted);
    return true;
  }

  /** Reports the error of a run that did not end by itself, on whichever CPU it was. */
  failedAt(entry: RemoteKcont, error: unknown): void {
    if (this.failed(entry, error)) return;
    entry.kc._wq._failed++;
    this.#cpu.later(() => reportLater(entry.kc, error));
  }

  /** Reports that an argument was lost with the CPU that knew it. */
  lost(entry: RemoteKcont): void {
    const what = `${label(entry.kc)} was stopped: the CPU that knew its argument has died`;
    reportLater(entry.kc, new KcontError('ECPUDIED', what));
  }

  /** Handles a FAILED message: a function has failed on another CPU, and its handle was made here. */
  reported(block: number, handle: number, claimed: [unknown] | undefined): void {
    // The handle is looked up now, because the next message may free its block.
    const kc = this.#handles.handleOf(block, handle);
    this.#cpu.later(() => reportLater(kc, errorFrom(claimed, label(kc))));
  }

  /** Reports an error in the handling of a message with the handle that the message was about. */
  mishap(block: number, handle: number, error: unknown): void {
    const entry = this.#handles.find(block, handle);
    if (entry instanceof JobRunner) entry.report(error);
    else if (entry !== undefined) this.failedAt(entry, error);
    else this.#cpu.dispatcher.clock._raise(error);
  }
}
