/*
 * The caller's side of jobs: functions that run once on another CPU and return a result.
 *
 *   caller                                   CPU 2
 *   run(resize, { arg })
 *     Kcont with a block, of the kind JOB
 *     argument: in the block, in its JSON
 *     slot, or posted --------------------> read or claimed when it is entered
 *     message ENTRY -------------------------> filed at its priority; entered: resize(arg, signal)
 *     signal aborted: stop(); too late:
 *     message ABORT -------------------------> the function's signal is aborted
 *   promise <------------------ message RESULT, when the run has settled
 *
 * The caller's CPU keeps the argument until the result has arrived, unless it was moved. If a CPU dies before it has
 * entered the function, another CPU runs it, unless the caller named the CPU or the argument was
 * moved to it.
 */

import { join, leave, type AbortMember } from '../../base/abort-listeners.ts';
import { Cpu } from '../../core/cpu.ts';
import { KcontError, invalid, isA } from '../../base/errors.ts';
import type { RunOptions } from '../../core/one-shot.ts';
import { makeOwn } from '../../core/own-kcont.ts';
import type { BaseLock } from '../../locks/lock.ts';
import { refusal, whyNot } from '../../core/schedule.ts';
import { HALTING, INVOKING, QUIET, RUNNING, TASK } from '../../core/state.ts';
import type { Workqueue } from '../../core/workqueue.ts';
import { MOVED, CLONED, IN_JSON_SLOT, inline, tagOf } from '../messages/value-tags.ts';
import { ANY, ARG, ARG_TAG, RAN } from '../memory/control-block.ts';
import { isSharedIn } from '../memory/block-lock.ts';
import { uncloneable, type Sent, type Wire } from '../messages/tokens.ts';
import { contextual, locked, tied, type AnyFunction } from '../threads/cpu-module.ts';
import { JobTask, THROWN, runJob, type JobRunner } from './job-runner.ts';
import type { CpuContext } from '../cpu-context.ts';
import type { HandleTable } from '../handles/handle-table.ts';
import type { KeepAlive } from '../keep-alive.ts';
import type { Placement } from '../placement.ts';
import { stateOf } from '../cpu-status.ts';
import { ABORT, DEFINE, type Message } from '../messages/inbox.ts';
import { DOWN, EPOCH, STATE } from '../memory/shared-memory.ts';
import { readJson, writeJson } from '../memory/json-slot.ts';
import { refuseDetached } from '../messages/transfer.ts';
import { errorFrom, postError, reasonOf } from '../messages/wire-error.ts';

/** A job whose result a caller waits for. */
interface Waiting extends AbortMember {
  readonly runner: JobRunner;
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
  readonly signal: AbortSignal | undefined;
  /** The transfer list of the argument. */
  readonly transfer: readonly object[];
  /** An argument with a transfer list that has not been sent to any CPU yet. */
  parcel: Parcel | undefined;
  /** The thread to which the argument was moved. It cannot be sent again. */
  movedTo: { readonly cpu: number; readonly epoch: number } | undefined;
}

/** An argument that was taken from the caller, and has not been sent. */
interface Parcel {
  readonly wire: unknown;
  readonly transfer: readonly object[];
}

/** CPUs that run one job at a time, and whose threads can be ended. */
export interface KillableCpus {
  /** Lends a CPU that is up and idle. Rejected if the signal is aborted first. */
  borrow(signal: AbortSignal | undefined): Promise<Cpu>;
  /** Ends the thread of a borrowed CPU, whatever it is doing. */
  kill(cpu: Cpu): void;
  giveBack(cpu: Cpu): void;
}

/** Sends jobs to other CPUs and receives their results, for one CPU. */
export class JobCaller {
  /** The CPUs for jobs with `kill`. Only CPU 0 has them. */
  killable: KillableCpus | null = null;
  readonly #cpu: CpuContext;
  readonly #handles: HandleTable;
  readonly #placement: Placement;
  readonly #alive: KeepAlive;
  /** The jobs that were sent and have not ended, by block. */
  readonly #sent = new Map<number, Waiting>();

  constructor(cpu: CpuContext, handles: HandleTable, placement: Placement, alive: KeepAlive) {
    this.#cpu = cpu;
    this.#handles = handles;
    this.#placement = placement;
    this.#alive = alive;
  }

  /** Runs a function on another CPU; null if it has to run on this one. */
  run(wq: Workqueue, func: AnyFunction, options: RunOptions): Promise<unknown> | null {
    const { cpu = null, lock = null } = options;
    const number = this.#cpu.module.indexOf(func);
    if (options.kill === true) return this.#runKillable(wq, number, func.name, options);
    const isMovable = lock === null || isSharedIn(this.#cpu.arena, lock as BaseLock);
    const problem = number === undefined ? tied(func.name) : isMovable ? '' : locked(func.name);
    const isElsewhere =
      cpu === null
        ? !wq.perCpu && this.#placement.hasOthers && problem === ''
        : wq.perCpu && isA(cpu, Cpu) && cpu.kernel === wq.kernel && cpu !== this.#cpu.here;
    if (!isElsewhere) return null;
    if (problem !== '') return Promise.reject(new KcontError('EINVAL', problem));
    if ((options.context ?? 'none') !== 'none') {
      return Promise.reject(new KcontError('EINVAL', contextual(func.name)));
    }
    return new Promise((resolve, reject) => {
      void this.#send(wq, number as number, func.name, options, resolve, reject);
    });
  }

  /** Runs a function on a CPU of the reserve, whose thread is ended if the function is aborted. */
  async #runKillable(
    wq: Workqueue,
    number: number | undefined,
    name: string,
    options: RunOptions,
  ): Promise<unknown> {
    const { killable } = this;
    const { signal, cpu = null, lock = null } = options;
    if (number === undefined) throw new KcontError('EINVAL', tied(name));
    if (cpu !== null) throw invalid('cpu', 'null with kill, which takes a CPU of its own', cpu);
    if (lock !== null) throw invalid('lock', 'null with kill, which cannot release it', lock);
    if (killable === null) {
      throw new KcontError(
        'ENOTSUP',
        'only CPU 0 can run jobs with kill, because it ends their threads',
      );
    }
    signal?.throwIfAborted();
    const taken = this.#take(options, name);
    const borrowed = await killable.borrow(signal);
    let killed: AbortMember | undefined;
    try {
      return await new Promise((resolve, reject) => {
        const { signal: _, ...others } = taken;
        signal?.throwIfAborted();
        const runner = this.#send(wq, number, name, { ...others, cpu: borrowed }, resolve, reject);
        if (signal === undefined) return;
        killed = {
          _abort: (reason) => {
            killable.kill(borrowed);
            this.settle(runner.block, runner.handle, true, reason);
          },
        };
        join(signal, killed);
      });
    } finally {
      if (signal !== undefined && killed !== undefined) leave(signal, killed);
      killable.giveBack(borrowed);
    }
  }

  /**
   * Clones or moves the argument when `run` is called, because the thread that will receive it may
   * not exist yet.
   */
  #take(options: RunOptions, name: string): RunOptions {
    const { arg, transfer = [] } = options;
    if (tagOf(arg) < CLONED) return options;
    let kept: Sent | undefined;
    try {
      refuseDetached(transfer);
      const wire = this.#handles.codec.encode(arg, { keep: (sent) => void (kept = sent) });
      const [held, moved] = cloneNow(wire, transfer);
      return { ...options, arg: this.#handles.codec.decode(held), transfer: moved };
    } catch (error) {
      throw uncloneable(`the argument of ${options.name ?? name}`, error);
    } finally {
      kept?.end();
    }
  }

  #send(
    wq: Workqueue,
    number: number,
    funcName: string,
    options: RunOptions,
    resolve: (value: unknown) => void,
    reject: (reason: unknown) => void,
  ): JobRunner {
    const {
      arg,
      cpu = null,
      delayMs = 0,
      lock = null,
      name = funcName,
      signal,
      transfer = [],
    } = options;
    signal?.throwIfAborted();
    // A caller that names a CPU wants that CPU's own state: a connection, a cache.
    const affinity = cpu === null || options.kill === true ? 'none' : 'strong';
    const kc = makeOwn<unknown>(QUIET | TASK, wq, lock, runJob, undefined, {
      name,
      affinity,
    });
    const runner = this.#handles.publishJob(kc, number, arg, Object.hasOwn(options, 'arg'));
    runner.func = this.#cpu.module.at(number);
    runner.given(arg, 0);
    kc._arg = new JobTask(runner);
    const waiting: Waiting = {
      runner,
      resolve,
      reject,
      signal,
      transfer,
      parcel: undefined,
      movedTo: undefined,
      _abort: (reason) => this.#abort(waiting, reason),
    };
    try {
      let errno = whyNot(kc, delayMs, null);
      if (errno > 0) throw refusal(kc, errno, delayMs, null);
      const isCloned = tagOf(arg) >= CLONED && (transfer.length > 0 || !this.#write(runner, arg));
      const isFree = lock === null && !isCloned && delayMs === 0;
      const index = cpu?.index ?? (isFree ? ANY : this.#placement.chooseFor(lock));
      const target = cpu ?? this.#cpu.kernel.cpus[index] ?? null;
      if (isCloned) this.#post(waiting, index, arg);
      this.#sent.set(runner.block, waiting);
      this.#alive.hold(1);
      runner.carrier = this.#cpu.dispatcher.observer?.sent(kc);
      errno = runner.schedule(delayMs, target, INVOKING | HALTING, false);
      if (errno !== 0) throw refusal(kc, errno, delayMs, null);
    } catch (error) {
      if (this.#sent.delete(runner.block)) this.#alive.hold(-1);
      kc.destroy();
      throw error;
    }
    if (signal === undefined) return runner;
    // A getter in the argument may have aborted the signal.
    if (signal.aborted) this.#abort(waiting, signal.reason);
    else join(signal, waiting);
    return runner;
  }

  /** Writes the argument to the JSON slot of the block; false if it has to be posted. */
  #write(runner: JobRunner, arg: unknown): boolean {
    const { words, floats } = this.#cpu.memory;
    const length = writeJson(this.#cpu.memory, runner.block, arg);
    if (length === 0) return false;
    words[runner.block + ARG_TAG] = IN_JSON_SLOT;
    floats[(runner.block + ARG) >> 1] = length;
    // The function gets the value at the time of the call, also if it runs on this CPU.
    runner.given(undefined, -1);
    return true;
  }

  /**
   * Posts the argument, which is claimed when the function is about to be entered. If the CPU is not up,
   * or if no CPU is, a clone of the argument is kept here, and the CPU that dispatches the entry asks
   * for it.
   */
  #post(waiting: Waiting, cpu: number, arg: unknown): void {
    const { runner, transfer } = waiting;
    let posted = 0;
    try {
      refuseDetached(transfer);
      const wire = this.#handles.codec.encode(arg, runner);
      if (cpu !== ANY && stateOf(this.#cpu.memory, cpu) === 'up') {
        posted = this.#cpu.ports.post(cpu, wire, transfer);
      }
      if (posted === 0) this.#hold(waiting, wire);
    } catch (error) {
      throw uncloneable(`the argument of ${runner.kc.name}`, error);
    }
    runner.posted = posted;
    this.#cpu.memory.floats[(runner.block + ARG) >> 1] = posted;
    if (posted !== 0 && transfer.length > 0) this.#moved(waiting, cpu);
  }

  #hold(waiting: Waiting, wire: Wire): void {
    const { runner, transfer } = waiting;
    const [held, list] = cloneNow(wire, transfer);
    if (transfer.length > 0) waiting.parcel = { wire: held, transfer: list };
    // An argument with handles or locks in it is encoded again for each CPU that asks.
    else if (held[0] === 0) runner.given(held[1], 0);
  }

  #moved(waiting: Waiting, cpu: number): void {
    const { memory } = this.#cpu;
    const { block } = waiting.runner;
    waiting.parcel = undefined;
    waiting.movedTo = { cpu, epoch: memory.words[memory.slot(cpu) + EPOCH] as number };
    memory.words[block + ARG_TAG] = MOVED;
  }

  /** Answers a CPU that has an entry but not its argument, which was kept here or sent to another CPU. */
  answer(runner: JobRunner, cpu: number): void {
    const waiting = this.#sent.get(runner.block);
    if (waiting?.runner !== runner || tagOf(runner.arg) < CLONED) return;
    if (waiting.movedTo !== undefined) {
      // The moved argument may be on its way to that CPU, or was moved to another one.
      this.#rejectIfArgumentLost(waiting);
      return;
    }
    try {
      this.#give(waiting, cpu);
    } catch (error) {
      // The argument has been changed since the call and can no longer be cloned.
      runner.stop();
      const what = uncloneable(`the argument of ${runner.kc.name}`, error);
      this.settle(runner.block, runner.handle, true, what);
    }
  }

  /** Sends the argument to a CPU's new thread that has an entry for it, before the thread asks. */
  offer(runner: JobRunner, cpu: number): void {
    const waiting = this.#sent.get(runner.block);
    if (waiting?.runner !== runner || tagOf(runner.arg) < CLONED) return;
    // A moved argument would be lost if the thread never comes up.
    if (waiting.transfer.length > 0) return;
    try {
      this.#give(waiting, cpu);
    } catch {
      // The CPU will ask for the argument, and the error is reported then.
    }
  }

  #give(waiting: Waiting, cpu: number): void {
    const { runner, parcel } = waiting;
    const arg = parcel?.wire ?? this.#handles.codec.encode(runner.arg, runner);
    const posted = this.#cpu.ports.post(cpu, { arg, name: undefined }, parcel?.transfer);
    if (posted === 0) return;
    if (parcel !== undefined) {
      this.#moved(waiting, cpu);
      runner.moveTo(cpu);
    }
    this.#cpu.send(cpu, DEFINE, runner.block, runner.handle, 0, posted);
  }

  /** Rejects each job whose argument was moved to a CPU that died before it entered the job. */
  rejectLostArguments(): void {
    for (const waiting of this.#sent.values()) {
      if (waiting.movedTo !== undefined) this.#rejectIfArgumentLost(waiting);
    }
  }

  #rejectIfArgumentLost({ runner, movedTo }: Waiting): void {
    const { memory } = this.#cpu;
    const { cpu, epoch } = movedTo as { cpu: number; epoch: number };
    const slot = memory.slot(cpu);
    const isThere = memory.words[slot + EPOCH] === epoch && memory.words[slot + STATE] !== DOWN;
    if (isThere || (runner.stop() & RUNNING) !== 0) return;
    const what = `${runner.kc.name} cannot run: its argument was moved to CPU ${cpu}, which has died`;
    this.settle(runner.block, runner.handle, true, new KcontError('ECPUDIED', what));
  }

  #abort(waiting: Waiting, reason: unknown): void {
    const { runner } = waiting;
    if ((runner.stop() & RUNNING) === 0) {
      this.settle(runner.block, runner.handle, true, reason);
      return;
    }
    const ran = this.#cpu.memory.words[runner.block + RAN] as number;
    if (ran === this.#cpu.index) {
      runner.abort(reason);
      return;
    }
    const posted = postError(this.#cpu.ports, ran, reason);
    this.#cpu.send(ran, ABORT, runner.block, runner.handle, 0, posted);
  }

  /** Handles an ABORT message: the caller has aborted a job that runs here. */
  aborted(block: number, handle: number, claimed: [unknown] | undefined): void {
    const runner = this.#handles.find(block, handle) as JobRunner | undefined;
    runner?.abort(errorFrom(claimed, runner.kc.name));
  }

  /** Handles a RESULT message. */
  ended(message: Message): void {
    const { block, handle, from, generation, value } = message;
    const thrown = (generation & THROWN) !== 0;
    const tag = generation & ~THROWN;
    if (tag < CLONED) {
      // If nobody waits for the job any more, its JSON slot may already be in use for another job.
      if (this.#sent.get(block)?.runner.handle !== handle) return;
      const { memory } = this.#cpu;
      const result = tag === IN_JSON_SLOT ? readJson(memory, block, value) : inline(tag, value);
      this.settle(block, handle, false, result);
      return;
    }
    const claimed = this.#cpu.ports.claim(from, value);
    const name = this.#sent.get(block)?.runner.kc.name ?? '';
    if (thrown) this.settle(block, handle, true, errorFrom(claimed, name));
    else this.#receive(block, handle, name, claimed);
  }

  #receive(block: number, handle: number, name: string, claimed: [unknown] | undefined): void {
    let result: unknown;
    try {
      if (this.#sent.get(block)?.runner.handle !== handle) return;
      if (claimed === undefined)
        throw new KcontError('EINVAL', 'it arrived, but could not be deserialized');
      result = this.#handles.codec.decode(claimed[0]);
    } catch (cause) {
      const what = `the result of ${name} cannot be read on this CPU: ${reasonOf(cause)}`;
      this.settle(block, handle, true, Object.assign(new KcontError('EINVAL', what), { cause }));
      return;
    }
    this.settle(block, handle, false, result);
  }

  /**
   * Whether a caller could still be waiting for the result of a job. True for jobs sent by other
   * CPUs.
   */
  isAwaited(runner: JobRunner): boolean {
    return runner.home !== this.#cpu.index || this.#sent.get(runner.block)?.runner === runner;
  }

  /** Rejects all jobs that have not ended. */
  abandon(reason: unknown): void {
    for (const { runner } of this.#sent.values())
      this.settle(runner.block, runner.handle, true, reason);
  }

  /** Settles the promise of a job. */
  settle(block: number, handle: number, thrown: boolean, result: unknown): void {
    const waiting = this.#sent.get(block);
    if (waiting === undefined || waiting.runner.handle !== handle) return;
    this.#sent.delete(block);
    this.#alive.hold(-1);
    if (waiting.signal !== undefined) leave(waiting.signal, waiting);
    if (thrown) waiting.reject(result);
    else waiting.resolve(result);
    waiting.runner.kc.destroy();
  }
}

/** Clones an argument and moves what its transfer list names. */
function cloneNow(wire: Wire, transfer: readonly object[]): readonly [Wire, readonly object[]] {
  return structuredClone([wire, transfer] as const, { transfer: transfer as ArrayBuffer[] });
}
