/*
 * The handle table of a CPU: maps the control blocks that this CPU has made or knows to its handles.
 *
 *   publish      gives a local handle a control block, with its state bits, its entry and its argument
 *   findOrMake   gives a block that another CPU has made a Kcont on this CPU: the handle that functions
 *                on this CPU get, and the entry in this CPU's wheel and run queue
 *   reclaim      frees the block of a handle that was destroyed
 *
 * Only the home of a block, the CPU that made it, reuses it. It first tells the CPUs that know the old
 * handle to forget it.
 */

import { KcontError } from '../../base/errors.ts';
import { Kcont } from '../../core/kcont.ts';
import { makeOwn } from '../../core/own-kcont.ts';
import type { BaseLock } from '../../locks/lock.ts';
import { label, lastDelay } from '../../core/schedule.ts';
import { TICKS_PER_MS } from '../../time/timing-wheel.ts';
import { QUIET, REMOTE, SCHEDULED, STOPPING, TASK, UNREF } from '../../core/state.ts';
import type { Workqueue } from '../../core/workqueue.ts';
import { ABSENT, CLONED, tagOf } from '../messages/value-tags.ts';
import {
  AFFINITIES,
  ANY,
  ARG,
  ARG_TAG,
  ARG_VERSION,
  BLOCK_SHIFT,
  CARRIED,
  CPU,
  DEADLINE,
  DELAY,
  FUNCTION,
  HALTERS,
  HANDLE,
  HANDLE_KIND,
  HOME,
  JOB_KIND,
  KNOWN,
  LOCK,
  LOCK_GENERATION,
  LOCK_SIDE,
  LOCK_VERSION,
  MAX_ACTIVE,
  PATIENCE,
  RAN,
  RUN,
  SEQ,
  SLACK,
  SPEC,
  TIED,
  WAITERS,
  affinityOf,
  isPerCpu,
  kindOf,
  nextGeneration,
  packSpec,
  priorityOf,
  sharesOf,
} from '../memory/control-block.ts';
import { grabBlocks } from '../memory/block-allocator.ts';
import { Codec, Sent, uncloneable, type TokenHandles } from '../messages/tokens.ts';
import {
  attachLock,
  isSharedIn,
  pinLock,
  readLock,
  unpinLock,
  type WrittenLock,
} from '../memory/block-lock.ts';
import { contextual, locked, tied, type AnyFunction } from '../threads/cpu-module.ts';
import type { CpuContext } from '../cpu-context.ts';
import { JobRunner, JobTask, runJob, type JobHost } from '../jobs/job-runner.ts';
import { GoneHandles } from './gone-handles.ts';
import { FORGET, FREE, type Message } from '../messages/inbox.ts';
import { SEQUENCE } from '../memory/shared-memory.ts';
import { RemoteEntry } from './remote-entry.ts';

/** The handles that one CPU knows. */
export class HandleTable implements TokenHandles {
  /** Encodes and decodes values with handles and locks in them. */
  readonly codec: Codec;
  readonly #cpu: CpuContext;
  readonly #host: JobHost;
  /** The handles that this CPU knows, by block. */
  readonly #entries: (RemoteEntry | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #queues = new Map<string, Workqueue>();

  /**
   * The last job that was dropped. It is kept only for its hidden classes: if no object of them survives
   * a full garbage collection, V8 discards all code compiled for them, and the next thousands of runs
   * cost ten times as much.
   */
  lastJob: JobRunner | undefined = undefined;

  readonly #gone = new GoneHandles();

  /** `host`: what the entries of this table ask of this CPU. */
  constructor(cpu: CpuContext, host: JobHost) {
    this.#cpu = cpu;
    this.#host = host;
    this.codec = new Codec(cpu, this);
  }

  /** Returns the entry of a handle that this CPU knows. */
  find(block: number, handle: number): RemoteEntry | undefined {
    const entry = this.#entries[block >> BLOCK_SHIFT];
    return entry?.handle === handle ? entry : undefined;
  }

  /** Enumerates the handles that this CPU knows. */
  *[Symbol.iterator](): Generator<RemoteEntry, void, undefined> {
    for (const entry of this.#entries) if (entry !== undefined) yield entry;
  }

  /** Returns why a continuation cannot run on another CPU; undefined if it can. */
  whyNot(kc: Kcont<unknown>): KcontError | undefined {
    if (this.#cpu.module.indexOf(kc._func) === undefined) {
      return new KcontError('EINVAL', tied(label(kc)));
    }
    if (kc._lock !== null && !isSharedIn(this.#cpu.arena, kc._lock)) {
      return new KcontError('EINVAL', locked(label(kc)));
    }
    const policy = kc._extras?.policy ?? 'none';
    if (policy !== 'none') {
      return new KcontError('EINVAL', contextual(label(kc)));
    }
    return this.#uncloneable(kc._arg, `the argument of ${label(kc)}`);
  }

  #uncloneable(value: unknown, what: string): KcontError | undefined {
    if (tagOf(value) < CLONED) return undefined;
    const probe = new Sent();
    try {
      structuredClone(this.codec.encode(value, { keep: (sent) => probe.adopt(sent) }));
      return undefined;
    } catch (error) {
      const problem = uncloneable(what, error);
      if (problem.code === 'ENOMEM') throw problem;
      return problem;
    } finally {
      probe.end();
    }
  }

  /** Throws for a value that cannot be cloned. */
  probe(value: unknown, what: string): void {
    const problem = this.#uncloneable(value, what);
    if (problem !== undefined) throw problem;
  }

  /** Gives a handle a control block. */
  publish(kc: Kcont<unknown>): RemoteEntry {
    const number = this.#cpu.module.indexOf(kc._func) as number;
    return this.#giveBlock(kc, HANDLE_KIND, number, kc._arg, RemoteEntry);
  }

  /** Gives a job a control block. Its argument may be absent. */
  publishJob(kc: Kcont<unknown>, number: number, arg: unknown, hasArg: boolean): JobRunner {
    const entry = this.#giveBlock(kc, JOB_KIND, number, arg, JobRunner);
    if (!hasArg) this.#cpu.memory.words[entry.block + ARG_TAG] = ABSENT;
    return entry;
  }

  #giveBlock<R extends RemoteEntry>(
    kc: Kcont<unknown>,
    kind: number,
    number: number,
    arg: unknown,
    Made: new (
      host: JobHost,
      kc: Kcont<unknown>,
      block: number,
      handle: number,
      version: number,
    ) => R,
  ): R {
    const { memory, dispatcher, index } = this.#cpu;
    const lock = pinLock(kc._lock);
    const block = this.#free.pop() ?? this.#grab(lock);
    const { words, floats } = memory;
    const { wq } = kc;
    const extras = kc._needExtras();
    words[block + CPU] = index;
    words[block + SEQ] = (Atomics.add(words, SEQUENCE, 1) + 1) | 0;
    words[block + RAN] = index;
    words[block + RUN] =
      (((words[block + RUN] as number) + 2) & ~1) | ((kc._state & STOPPING) === 0 ? 0 : 1);
    words[block + WAITERS] = 0;
    words[block + HALTERS] = extras.halts > 0 ? 1 << index : 0;
    words[block + KNOWN] = 1 << index;
    words[block + TIED] = ANY;
    words[block + HOME] = index;
    words[block + FUNCTION] = number;
    words[block + SPEC] = packSpec(wq, AFFINITIES.indexOf(extras.affinity), kind);
    words[block + MAX_ACTIVE] = wq.maxActive === Infinity ? 0 : wq.maxActive;
    words[block + PATIENCE] = wq.patienceMs < 2 ** 31 ? wq.patienceMs : -1;
    words[block + SLACK] = extras.slackTicks;
    words[block + ARG_TAG] = tagOf(arg);
    words[block + ARG_VERSION] = 0;
    words[block + LOCK] = lock.at;
    words[block + LOCK_SIDE] = lock.side;
    words[block + LOCK_GENERATION] = lock.generation;
    words[block + LOCK_VERSION] = 0;
    floats[(block + ARG) >> 1] = typeof arg === 'number' ? arg : 0;
    const deadline = kc.pending ? kc.deadline + this.#cpu.sharedMs() - dispatcher.clock.now : 0;
    floats[(block + DEADLINE) >> 1] = deadline;
    floats[(block + DELAY) >> 1] = lastDelay(kc);
    const word = nextGeneration(words[block] as number, kc._state & CARRIED);
    const entry = new Made(this.#host, kc, block, words[block + HANDLE] as number, 0);
    entry.assume(word, words[block + SEQ] as number, deadline);
    entry.told = 1 << index;
    // From here on it is counted by KeepAlive for all CPUs, no longer by this dispatcher.
    if ((kc._state & SCHEDULED) !== 0 && (kc._state & UNREF) === 0) dispatcher.unref();
    extras.remote = entry;
    this.#entries[block >> BLOCK_SHIFT] = entry;
    kc._state |= REMOTE | UNREF;
    Atomics.store(words, block, word);
    this.#host.alive.count(0, word);
    return entry;
  }

  #grab(lock: WrittenLock): number {
    try {
      return grabBlocks(this.#cpu.memory, this.#cpu.index, this.#free);
    } catch (error) {
      unpinLock(this.#cpu.arena, lock);
      throw error;
    }
  }

  /** Returns the entry of a handle that is to be sent to another CPU; publishes the handle if necessary. */
  entryFor(kc: Kcont<unknown>): RemoteEntry {
    return (kc._remote as RemoteEntry | null) ?? this.publish(kc);
  }

  /** Returns the entry of the handle in a token. If the handle is gone by now, it reads as destroyed. */
  entryOf(block: number, handle: number): RemoteEntry {
    const { words } = this.#cpu.memory;
    const known = this.find(block, handle);
    if (known !== undefined) return known;
    const entry = this.#make(block, handle);
    return words[block + HANDLE] === handle ? this.keep(entry) : entry;
  }

  /** Returns the entry of the current handle of a block. If that goes meanwhile, it reads as destroyed. */
  entryAt(block: number): RemoteEntry {
    const { words } = this.#cpu.memory;
    const handle = words[block + HANDLE] as number;
    const known = this.find(block, handle);
    if (known !== undefined) return known;
    const isJob = kindOf(words[block + SPEC] as number) === JOB_KIND;
    return this.keep(isJob ? this.#makeJob(block, handle) : this.#make(block, handle));
  }

  /** Returns the handle whose function has failed on another CPU, even if it was destroyed since. */
  handleOf(block: number, handle: number): Kcont<unknown> {
    const entry = this.findOrMake(block, handle);
    return entry?.kc ?? this.#gone.find(block, handle, this.#cpu.kernel.wq.prilow);
  }

  /** Returns the entry of the handle that a message is about; undefined if the handle is gone by now. */
  findOrMake(block: number, handle: number): RemoteEntry | undefined {
    if (this.#cpu.memory.words[block + HANDLE] === handle) this.entryAt(block);
    return this.find(block, handle);
  }

  #make(block: number, handle: number): RemoteEntry {
    const { words } = this.#cpu.memory;
    const func = this.functionOf(block);
    const wq = this.#workqueueOf(block);
    const kc = new Kcont<unknown>(wq, this.#lockOf(block), func, undefined, {
      ref: false,
      slackMs: (words[block + SLACK] as number) / TICKS_PER_MS,
      affinity: AFFINITIES[affinityOf(words[block + SPEC] as number)] ?? 'none',
    });
    const entry = new RemoteEntry(this.#host, kc, block, handle, -1);
    link(entry);
    return entry;
  }

  #makeJob(block: number, handle: number): JobRunner {
    const { memory, module } = this.#cpu;
    const wq = this.#workqueueOf(block);
    const kc = makeOwn<unknown>(QUIET | TASK, wq, this.#lockOf(block), runJob, undefined, {
      ref: false,
      name: module.names[memory.words[block + FUNCTION] as number] ?? '',
    });
    const entry = new JobRunner(this.#host, kc, block, handle, -1);
    entry.func = this.functionOf(block);
    kc._arg = new JobTask(entry);
    link(entry);
    return entry;
  }

  #lockOf(block: number): BaseLock | null {
    const { arena, memory } = this.#cpu;
    return attachLock(arena, readLock(memory, block));
  }

  /**
   * Adds a handle that another CPU has made. If the handle is destroyed at the same time, its home may
   * not have seen that this CPU has to be told; so the number in the block is checked afterwards.
   */
  keep(entry: RemoteEntry): RemoteEntry {
    const { block } = entry;
    const { words } = this.#cpu.memory;
    const before = this.#entries[block >> BLOCK_SHIFT];
    if (before !== undefined) this.#drop(before);
    this.#entries[block >> BLOCK_SHIFT] = entry;
    Atomics.or(words, block + KNOWN, 1 << this.#cpu.index);
    if (Atomics.load(words, block + HANDLE) !== entry.handle) this.#drop(entry);
    return entry;
  }

  /** Returns this CPU's function for a block. */
  functionOf(block: number): AnyFunction {
    const { module, memory, index } = this.#cpu;
    const number = memory.words[block + FUNCTION] as number;
    const name = module.names[number] ?? '';
    const missing = (): never => {
      throw new KcontError('ENOENT', `the CPU module exports no function ${name} on CPU ${index}`);
    };
    return module.at(number) ?? missing;
  }

  /** Returns this CPU's workqueue for a block. Workqueues are acquired once and cached. */
  #workqueueOf(block: number): Workqueue {
    const { kernel, memory } = this.#cpu;
    const { words } = memory;
    const spec = words[block + SPEC] as number;
    const maxActive = words[block + MAX_ACTIVE] as number;
    const patience = words[block + PATIENCE] as number;
    const shares = sharesOf(spec);
    const criteria = `${priorityOf(spec)} ${isPerCpu(spec)} ${maxActive} ${patience} ${shares}`;
    const known = this.#queues.get(criteria);
    if (known !== undefined) return known;
    const queue = kernel.acquire(priorityOf(spec), {
      perCpu: isPerCpu(spec),
      maxActive: maxActive || Infinity,
      patienceMs: patience < 0 ? Infinity : patience,
      ...(shares !== undefined && { shares }),
    });
    this.#queues.set(criteria, queue);
    return queue;
  }

  /** The number of continuations that are runnable or running on the workqueues used for other CPUs. */
  get load(): number {
    let load = 0;
    for (const queue of this.#queues.values()) load += queue._load;
    return load;
  }

  /** Handles an ENTRY message: a handle is scheduled on this CPU. */
  filed({ block, handle, generation, seq, from, value: posted }: Message): void {
    const entry = this.findOrMake(block, handle);
    if (entry !== undefined) {
      // The posted argument has to be claimed, even if the entry turns out to be stale.
      if (posted !== 0) entry.posted = posted;
      entry.file(generation, seq);
    } else if (posted !== 0 && this.#cpu.ports.claim(from, posted) === undefined) {
      this.#cpu.ports.isBroken(from, posted);
    }
  }

  /** Frees the block of a handle that was destroyed or of a job that has ended. */
  release(block: number, handle: number): void {
    const home = this.#cpu.memory.words[block + HOME] as number;
    if (home === this.#cpu.index) this.reclaim(block, handle);
    else this.#cpu.send(home, FREE, block, handle);
  }

  /** Frees the block of a handle that was made here and is not needed any more. */
  reclaim(block: number, handle: number): void {
    const { memory, index, arena } = this.#cpu;
    const { words } = memory;
    if (words[block + HANDLE] !== handle) return;
    const home = words[block + HOME] as number;
    if (home !== index) {
      // CPU 0 has inherited the block meanwhile.
      this.#cpu.inbox.send(home, FREE, block, handle, 0, 0, 0);
      return;
    }
    const entry = this.find(block, handle);
    const ran = words[block + RAN] as number;
    const mayFail = entry !== undefined && !(entry instanceof JobRunner);
    if (mayFail && ran !== ANY && ran !== index) this.#gone.add(entry);
    unpinLock(arena, readLock(memory, block));
    words[block + LOCK] = 0;
    // The order matters: a CPU that adds the handle now either sees the new number, or its bit in KNOWN
    // is seen here.
    Atomics.store(words, block + HANDLE, handle + 1);
    let known = Atomics.load(words, block + KNOWN) & ~(1 << index);
    Atomics.store(words, block, nextGeneration(words[block] as number, 0));
    while (known !== 0) {
      const cpu = 31 - Math.clz32(known);
      known &= ~(1 << cpu);
      this.#cpu.inbox.send(cpu, FORGET, block, handle, 0, 0, 0);
    }
    if (entry !== undefined) this.#drop(entry);
    this.#free.push(block);
  }

  /** Drops the entry of a handle that was destroyed. */
  forget(block: number, handle: number): void {
    const entry = this.find(block, handle);
    if (entry !== undefined) this.#drop(entry);
  }

  #drop(entry: RemoteEntry): void {
    const { kc, block } = entry;
    entry.dropped();
    this.#entries[block >> BLOCK_SHIFT] = undefined;
    if ((kc._state & SCHEDULED) !== 0) this.#cpu.dispatcher.withdraw(kc);
    kc._finalizeDestroy();
    if (entry instanceof JobRunner) this.lastJob = entry;
  }
}

function link(entry: RemoteEntry): void {
  const { kc } = entry;
  kc._needExtras().remote = entry;
  kc._state |= REMOTE | UNREF;
}
