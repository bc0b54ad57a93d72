/*
 * A job on the CPU that may run it: the entry in that CPU's wheel or run queue, the call of the
 * function, and its result, which is sent to the caller when the run has settled.
 */

import { countFailure, thenOf, whenDone, type Then } from '../../core/invoke.ts';
import { KcontError, asynchronous } from '../../base/errors.ts';
import type { Task } from '../../core/one-shot.ts';
import { ABSENT, CLONED, IN_JSON_SLOT, inline, tagOf } from '../messages/value-tags.ts';
import { ARG, ARG_TAG, ARG_VERSION, HOME } from '../memory/control-block.ts';
import { uncloneable, type Codec } from '../messages/tokens.ts';
import type { AnyFunction } from '../threads/cpu-module.ts';
import { madeFor } from '../../core/stopping.ts';
import { RESULT } from '../messages/inbox.ts';
import { RemoteEntry } from '../handles/remote-entry.ts';
import type { EntryHost } from '../handles/entry-host.ts';
import { readJson, writeJson } from '../memory/json-slot.ts';
import { movedWith, refuseDetached } from '../messages/transfer.ts';
import { postError } from '../messages/wire-error.ts';
import { nothing } from '../../base/nothing.ts';

/** A flag in a RESULT message: the result is an error. */
export const THROWN = 16;

/** What the entry of a job asks of the CPU it is on. */
export interface JobHost extends EntryHost {
  readonly handles: EntryHost['handles'] & {
    /** Encodes and decodes arguments and results. */
    readonly codec: Codec;
  };
  readonly jobs: {
    /** Settles the promise of a job that was sent from this CPU. */
    settle(block: number, handle: number, thrown: boolean, result: unknown): void;
  };
}

/** The entry of a job: a function that runs once. */
export class JobRunner extends RemoteEntry {
  declare readonly host: JobHost;
  func: AnyFunction | undefined = undefined;
  arg: unknown = undefined;
  #hasArg = true;
  #controller: AbortController | undefined = undefined;
  #result: unknown = undefined;
  #thrown = false;
  /** The length of the result in the JSON slot, as writeJson returns it; 0 if it is not there. */
  #jsonLength = 0;

  /** Sets the argument. */
  given(arg: unknown, version: number): void {
    this.arg = arg;
    this.version = version;
  }

  protected override receive(tag: number, value: number, version: number): void {
    this.#hasArg = tag !== ABSENT;
    if (tag >= IN_JSON_SLOT) return;
    this.arg = inline(tag, value);
    this.version = version;
  }

  protected override hasArg(): boolean {
    const { memory } = this.cpu;
    const { words, floats } = memory;
    const tag = words[this.block + ARG_TAG] as number;
    if (tag < IN_JSON_SLOT || this.version >= 0) return true;
    if (tag === IN_JSON_SLOT) {
      const length = floats[(this.block + ARG) >> 1] as number;
      this.given(readJson(memory, this.block, length), words[this.block + ARG_VERSION] as number);
      return true;
    }
    const name = floats[(this.block + ARG) >> 1] as number;
    const claimed = name === 0 ? undefined : this.cpu.ports.claim(this.home, name);
    if (claimed !== undefined)
      return this.receiveWire(claimed[0], words[this.block + ARG_VERSION]!);
    if (name !== 0 && this.cpu.ports.isBroken(this.home, name)) this.reportUnreadable();
    else this.host.handleSync.need(this);
    return false;
  }

  /** Decodes an argument that was posted. If that fails, reports it to the caller and returns false. */
  receiveWire(wire: unknown, version: number): boolean {
    try {
      this.given(this.host.handles.codec.decode(wire), version);
      return true;
    } catch (error) {
      this.reportUnreadable(error);
      return false;
    }
  }

  /** Tells the caller that the argument cannot be read here, and the function will not be called. */
  reportUnreadable(cause?: unknown): void {
    const what = `the argument of ${this.kc.name} cannot be read on CPU ${this.cpu.index}`;
    this.report(
      Object.assign(new KcontError('EINVAL', what), cause === undefined ? {} : { cause }),
    );
  }

  override dropped(): void {
    if (this.posted !== 0 && this.version < 0) {
      const { ports } = this.cpu;
      if (ports.claim(this.home, this.posted) === undefined) ports.isBroken(this.home, this.posted);
    }
    this.endSent();
    // The table keeps the last job alive, so it must not hold objects of the user.
    this.arg = undefined;
    this.#result = undefined;
    this.#controller = undefined;
  }

  /** Aborts the signal of the function. */
  abort(reason: unknown): void {
    this.#controller?.abort(reason);
  }

  /** Calls the function. Returns a promise while it runs on. */
  call(): undefined | Promise<unknown> {
    const { kc } = this;
    const func = this.func as AnyFunction;
    kc._needExtras().settled.push(() => this.#send());
    let result: unknown;
    let then: Then | undefined;
    try {
      const args = this.#hasArg ? [this.arg] : [];
      if (func.length > args.length) {
        this.#controller = new AbortController();
        madeFor(this.#controller.signal, kc);
        args.push(this.#controller.signal);
      }
      result = func(...(args as never[]));
      then = thenOf(result);
    } catch (error) {
      this.#fail(error);
      return undefined;
    }
    if (then === undefined) {
      this.#end(result, false);
      return undefined;
    }
    if (kc.wq.fast) {
      whenDone(result, then, nothing, nothing);
      this.#end(asynchronous(kc.name, kc.wq.name), true);
      return undefined;
    }
    return this.#follow(result, then);
  }

  /** Waits for the result, which may be any thenable. The promise is never rejected. */
  #follow(result: unknown, then: Then): Promise<void> {
    return new Promise((resolve) => {
      const fulfilled = (value: unknown): void => {
        this.#end(value, false);
        resolve();
      };
      const rejected = (error: unknown): void => {
        this.#fail(error);
        resolve();
      };
      whenDone(result, then, fulfilled, rejected);
    });
  }

  #fail(error: unknown): void {
    countFailure(this.kc, error);
    this.#end(error, true);
  }

  #end(result: unknown, thrown: boolean): void {
    this.#result = result;
    this.#thrown = thrown;
    const { cpu, block, home } = this;
    if (thrown || home === cpu.index || tagOf(result) < IN_JSON_SLOT) return;
    // The run has not settled yet, so no other job can use the block.
    if (movedWith(result).length === 0) this.#jsonLength = writeJson(cpu.memory, block, result);
  }

  /** Sends the result. Called when the run has settled and its lock has been released. */
  #send(): void {
    if (this.#thrown) this.report(this.#result);
    else this.#answer(this.#result);
  }

  #answer(value: unknown): void {
    const { cpu, block, handle } = this;
    const { home } = this;
    if (home === cpu.index) {
      this.host.jobs.settle(block, handle, false, value);
      return;
    }
    const tag = tagOf(value);
    if (tag < CLONED) {
      cpu.send(home, RESULT, block, handle, tag, typeof value === 'number' ? value : 0);
      return;
    }
    if (this.#jsonLength !== 0) {
      cpu.send(home, RESULT, block, handle, IN_JSON_SLOT, this.#jsonLength);
      return;
    }
    let posted: number;
    try {
      const moved = movedWith(value);
      refuseDetached(moved);
      posted = cpu.ports.post(home, this.host.handles.codec.encode(value, this), moved);
    } catch (error) {
      this.endSent();
      this.report(uncloneable(`the result of ${this.kc.name}`, error));
      return;
    }
    cpu.send(home, RESULT, block, handle, tag, posted);
  }

  /** Sends the caller an error instead of a result. */
  report(error: unknown): void {
    const { cpu, block, handle, home } = this;
    if (home === cpu.index) this.host.jobs.settle(block, handle, true, error);
    else {
      const posted = postError(cpu.ports, home, error);
      cpu.send(home, RESULT, block, handle, CLONED | THROWN, posted);
    }
  }

  get home(): number {
    return this.cpu.memory.words[this.block + HOME] as number;
  }
}

/** The argument of a job's continuation. A shutdown recognizes jobs by it. */
export class JobTask implements Task {
  readonly runner: JobRunner;

  constructor(runner: JobRunner) {
    this.runner = runner;
  }

  _abort(reason: unknown): void {
    if (this.runner.kc.running) {
      this.runner.stop();
      this.runner.abort(reason);
    } else this.runner.report(reason);
  }

  _misused(error: unknown): void {
    countFailure(this.runner.kc, error);
    this.runner.report(error);
  }
}

/** The function of a job's continuation. */
export function runJob({ runner }: JobTask): undefined | Promise<unknown> {
  return runner.call();
}
