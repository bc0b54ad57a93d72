/*
 * What a CPU has to know of a handle and cannot read from its control block: an argument that is
 * cloned, and a name. It is sent ahead of the first entry that goes to that CPU. A CPU that finds
 * itself without (its thread is new, or the argument was changed elsewhere) asks the one that made the
 * handle, and keeps the entry aside until the answer comes.
 */

import { KcontError } from '../../base/errors.ts';
import { label } from '../../core/schedule.ts';
import { SCHEDULED } from '../../core/state.ts';
import { CLONED } from './value-tags.ts';
import { ANY, ARG_TAG, ARG_VERSION, CPU } from '../memory/control-block.ts';
import { decode, encode, uncloneable } from './tokens.ts';
import { JobRunner } from '../jobs/job-runner.ts';
import type { LocalCpu } from '../local-cpu.ts';
import { DEFINE, SETTLED, type Message } from './inbox.ts';
import type { RemoteEntry } from '../handles/remote-entry.ts';
import type { RemoteKcont } from '../handles/remote-kcont.ts';

/** What a block cannot hold. */
export interface HandleDefinition {
  readonly arg: unknown;
  readonly name: string | undefined;
}

/** One CPU's part in it. */
export class HandleSync {
  readonly #localCpu: LocalCpu;

  constructor(localCpu: LocalCpu) {
    this.#localCpu = localCpu;
  }

  /**
   * Lets those know what they have to who may run it, before anything is changed for it. Throws KcontError
   * EINVAL for an argument that cannot be cloned, also if nobody is there to be told.
   */
  prepare(entry: RemoteKcont, target: number): void {
    const { placement } = this.#localCpu;
    if (target !== ANY) this.#prepareFor(entry, target);
    else if ((entry.told | 1) !== placement.all) {
      for (const cpu of placement.candidates()) this.#prepareFor(entry, cpu);
    }
  }

  #prepareFor(entry: RemoteKcont, cpu: number): void {
    const localCpu = this.#localCpu;
    if (cpu === localCpu.index || (entry.told & (1 << cpu)) !== 0) return;
    if (entry instanceof JobRunner) return;
    const what = `the argument of ${label(entry.kc)}`;
    try {
      this.#tell(entry, cpu);
    } catch (error) {
      throw uncloneable(what, error);
    }
    if ((entry.told & (1 << cpu)) === 0 && this.#knows(entry)) {
      localCpu.handles.probe(entry.kc._arg, what);
    }
  }

  /** Whether this CPU has the argument as it is now. */
  #knows(entry: RemoteKcont): boolean {
    return entry.version === this.#localCpu.memory.words[entry.block + ARG_VERSION];
  }

  /**
   * Lets another CPU know what it has to, before it is sent something of the handle. Where that fails,
   * for the argument was changed since it was looked at, that CPU asks when it comes to the handle,
   * and then it is an error of the handle.
   */
  tell(entry: RemoteKcont, cpu: number): void {
    try {
      this.#tell(entry, cpu);
    } catch {
      // See above.
    }
  }

  #tell(entry: RemoteKcont, cpu: number): void {
    const localCpu = this.#localCpu;
    const { words } = localCpu.memory;
    const { block, handle, version, kc } = entry;
    const name = kc._details?.name;
    const isCloned = (words[block + ARG_TAG] as number) >= CLONED;
    // At once: a getter in the argument may schedule it.
    entry.told |= 1 << cpu;
    const isNeeded = isCloned ? this.#knows(entry) : name !== undefined;
    if (!isNeeded || entry instanceof JobRunner) return;
    let posted = 0;
    try {
      const arg = isCloned ? encode(localCpu, kc._arg, entry) : undefined;
      posted = localCpu.ports.post(cpu, { arg, name } satisfies HandleDefinition);
    } finally {
      if (posted === 0) entry.told &= ~(1 << cpu);
    }
    if (posted !== 0) localCpu.inbox.send(cpu, DEFINE, block, handle, version, 0, posted);
  }

  /** What another CPU has told. */
  define({ block, handle, generation: version, from, value }: Message): void {
    const localCpu = this.#localCpu;
    const { words } = localCpu.memory;
    const claimed = localCpu.ports.claim(from, value);
    const isBroken = claimed === undefined && localCpu.ports.isBroken(from, value);
    const entry = localCpu.handles.findOrMake(block, handle);
    if (entry === undefined) return;
    const { kc } = entry;
    if (isBroken) {
      this.#unreadable(entry);
      return;
    }
    if (claimed === undefined) {
      // Lost with the thread that sent it: whoever has the handle now is asked.
      localCpu.resumeIfAside(kc);
      return;
    }
    const { arg, name } = claimed[0] as HandleDefinition;
    if (entry instanceof JobRunner) {
      if (entry.receiveWire(arg, version)) localCpu.resumeIfAside(kc);
      return;
    }
    if (name !== undefined) (kc._details as { name: string | undefined }).name = name;
    if (version <= entry.version || (words[block + ARG_TAG] as number) < CLONED) return;
    try {
      kc._arg = decode(localCpu, arg);
      entry.version = version;
    } catch (error) {
      // An older one may name what is gone: the newer one is asked for.
      if (version === words[block + ARG_VERSION]) {
        this.#unreadable(entry, error);
        return;
      }
    }
    localCpu.resumeIfAside(kc);
  }

  /** What came for it cannot be read here: it will not run. */
  #unreadable(entry: RemoteEntry, cause?: unknown): void {
    if (entry instanceof JobRunner) entry.reportUnreadable(cause);
    else {
      const what = `the argument of ${label(entry.kc)} cannot be read on CPU ${this.#localCpu.index}`;
      this.#fail(entry, Object.assign(new KcontError('EINVAL', what), { cause }));
    }
  }

  /** It is stopped, and whoever made it is told; and a CPU that waits with its entry for an answer. */
  #fail(entry: RemoteEntry, error: unknown, cpu: number = this.#localCpu.index): void {
    this.#stop(entry, cpu, () => this.#localCpu.remoteErrors.failedAt(entry, error));
  }

  /**
   * Stops what cannot run, and reports that: once, by whoever has stopped it. An answer may come after
   * a definition that could not be read, and be no better.
   */
  #stop(entry: RemoteEntry, cpu: number, report: () => void): void {
    const localCpu = this.#localCpu;
    const { block, handle } = entry;
    localCpu.later(() => {
      const isFirst = (entry.stop() & SCHEDULED) !== 0;
      if (cpu !== localCpu.index) localCpu.send(cpu, SETTLED, block, handle);
      if (isFirst) report();
    });
  }

  /** Another CPU needs to be told. */
  answer(block: number, handle: number, cpu: number): void {
    const localCpu = this.#localCpu;
    const entry = localCpu.handles.findOrMake(block, handle);
    if (entry === undefined) return;
    if (entry instanceof JobRunner) localCpu.jobs.answer(entry, cpu);
    else if (this.#knows(entry)) {
      try {
        this.#tell(entry, cpu);
        localCpu.wakeCpu(cpu);
      } catch (error) {
        this.#fail(entry, uncloneable(`the argument of ${label(entry.kc)}`, error), cpu);
      }
    } else {
      this.#stop(entry, cpu, () => localCpu.remoteErrors.lost(entry));
    }
  }

  /** A CPU has a new thread: tells it what it needs for what has been left there. */
  retell(cpu: number): void {
    const localCpu = this.#localCpu;
    const { words } = localCpu.memory;
    for (const entry of this.#localCpu.handles) {
      const target = words[entry.block + CPU];
      if ((target !== cpu && target !== ANY) || (entry.bits & SCHEDULED) === 0) continue;
      if (entry instanceof JobRunner) localCpu.jobs.offer(entry, cpu);
      else this.tell(entry, cpu);
    }
  }

  /** A thread has taken the place of another: it has to be told everything anew. */
  untell(cpu: number): void {
    for (const entry of this.#localCpu.handles) entry.told &= ~(1 << cpu);
  }
}
