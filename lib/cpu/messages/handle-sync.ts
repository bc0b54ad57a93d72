/*
 * Sends other CPUs what they need to know of a handle and cannot read from its control block: an
 * argument that has to be cloned, and the name. It is sent before the first entry for that CPU. A CPU
 * that does not have it (its thread is new, or the argument was changed on another CPU) asks the home of
 * the handle, and sets the entry aside until the answer arrives. The trace context of a job is sent in the same
 * way, but not asked for.
 */

import { KcontError } from '../../base/errors.ts';
import { label } from '../../core/schedule.ts';
import { SCHEDULED } from '../../core/state.ts';
import { CLONED } from './value-tags.ts';
import { ANY, ARG_TAG, ARG_VERSION, CPU, HOME } from '../memory/control-block.ts';
import { uncloneable } from './tokens.ts';
import { JobRunner } from '../jobs/job-runner.ts';
import type { CpuContext } from '../cpu-context.ts';
import type { HandleTable } from '../handles/handle-table.ts';
import type { JobCaller } from '../jobs/job-caller.ts';
import { DEFINE, NEED, SETTLED, TRACE, type Message } from './inbox.ts';
import type { Placement } from '../placement.ts';
import type { RemoteErrors } from './remote-errors.ts';
import type { RemoteEntry } from '../handles/remote-entry.ts';
import type { RemoteKcont } from '../handles/remote-kcont.ts';

/** The parts of a handle that its control block cannot hold. */
export interface HandleDefinition {
  readonly arg: unknown;
  readonly name: string | undefined;
}

type TraceCarrier = NonNullable<RemoteKcont['carrier']>;

/** The parts of a CPU that this one uses. */
interface Parts {
  readonly handles: HandleTable;
  readonly jobs: JobCaller;
  readonly placement: Placement;
  readonly remoteErrors: RemoteErrors;
}

/** Sends and receives the definitions of handles, for one CPU. */
export class HandleSync {
  readonly #cpu: CpuContext;
  readonly #handles: HandleTable;
  readonly #jobs: JobCaller;
  readonly #placement: Placement;
  readonly #remoteErrors: RemoteErrors;

  constructor(cpu: CpuContext, { handles, jobs, placement, remoteErrors }: Parts) {
    this.#cpu = cpu;
    this.#handles = handles;
    this.#jobs = jobs;
    this.#placement = placement;
    this.#remoteErrors = remoteErrors;
  }

  /**
   * Sends the definition to the CPUs that may run the continuation, before a schedule changes anything.
   * Throws KcontError EINVAL for an argument that cannot be cloned, even if there is no CPU to send it to.
   */
  prepare(entry: RemoteKcont, target: number): void {
    const placement = this.#placement;
    if (target !== ANY) this.#prepareFor(entry, target);
    else if ((entry.told | 1) !== placement.all) {
      for (const cpu of placement.candidates()) this.#prepareFor(entry, cpu);
    }
  }

  #prepareFor(entry: RemoteKcont, cpu: number): void {
    if (cpu === this.#cpu.index || (entry.told & (1 << cpu)) !== 0) return;
    if (entry instanceof JobRunner) return;
    const what = `the argument of ${label(entry.kc)}`;
    try {
      this.#tell(entry, cpu);
    } catch (error) {
      throw uncloneable(what, error);
    }
    if ((entry.told & (1 << cpu)) === 0 && this.#knows(entry)) {
      this.#handles.probe(entry.kc._arg, what);
    }
  }

  /** Whether this CPU has the current argument. */
  #knows(entry: RemoteKcont): boolean {
    return entry.version === this.#cpu.memory.words[entry.block + ARG_VERSION];
  }

  /**
   * Sends the definition to another CPU, before that CPU is sent an entry. Errors are ignored: the
   * argument may have been changed since it was checked. That CPU then asks when it dispatches the
   * entry, and the error is reported with the handle.
   */
  tell(entry: RemoteKcont, cpu: number): void {
    try {
      this.#tell(entry, cpu);
    } catch {
      // Reported later: see above.
    }
  }

  #tell(entry: RemoteKcont, cpu: number): void {
    const { words } = this.#cpu.memory;
    const { block, handle, version, kc } = entry;
    const name = kc._details?.name;
    const isCloned = (words[block + ARG_TAG] as number) >= CLONED;
    // Set first, because a getter in the argument may schedule this continuation.
    entry.told |= 1 << cpu;
    if (entry.carrier !== undefined) this.#tellTrace(entry, cpu);
    const isNeeded = isCloned ? this.#knows(entry) : name !== undefined;
    if (!isNeeded || entry instanceof JobRunner) return;
    let posted = 0;
    try {
      const arg = isCloned ? this.#handles.codec.encode(kc._arg, entry) : undefined;
      posted = this.#cpu.ports.post(cpu, { arg, name } satisfies HandleDefinition);
    } finally {
      if (posted === 0) entry.told &= ~(1 << cpu);
    }
    if (posted !== 0) this.#cpu.inbox.send(cpu, DEFINE, block, handle, version, 0, posted);
  }

  /** Sends the trace context of a job. If that fails, the job runs without it. */
  #tellTrace({ block, handle, carrier }: RemoteKcont, cpu: number): void {
    const posted = this.#cpu.ports.post(cpu, carrier);
    if (posted !== 0) this.#cpu.inbox.send(cpu, TRACE, block, handle, 0, 0, posted);
  }

  /** Handles a TRACE message. */
  traced({ block, handle, from, value }: Message): void {
    const claimed = this.#cpu.ports.claim(from, value);
    const entry = this.#handles.findOrMake(block, handle);
    if (entry !== undefined && claimed !== undefined) entry.carrier = claimed[0] as TraceCarrier;
  }

  /** Handles a DEFINE message. */
  define({ block, handle, generation: version, from, value }: Message): void {
    const { words } = this.#cpu.memory;
    const claimed = this.#cpu.ports.claim(from, value);
    const isBroken = claimed === undefined && this.#cpu.ports.isBroken(from, value);
    const entry = this.#handles.findOrMake(block, handle);
    if (entry === undefined) return;
    const { kc } = entry;
    if (isBroken) {
      this.#unreadable(entry);
      return;
    }
    if (claimed === undefined) {
      // It was lost with the thread that sent it. The entry asks the CPU that has the handle now.
      entry.resumeIfAside();
      return;
    }
    const { arg, name } = claimed[0] as HandleDefinition;
    if (entry instanceof JobRunner) {
      if (entry.receiveWire(arg, version)) entry.resumeIfAside();
      return;
    }
    if (name !== undefined) (kc._details as { name: string | undefined }).name = name;
    if (version <= entry.version || (words[block + ARG_TAG] as number) < CLONED) return;
    try {
      kc._arg = this.#handles.codec.decode(arg);
      entry.version = version;
    } catch (error) {
      // An older argument may name a lock that was freed. The entry asks for the newer argument.
      if (version === words[block + ARG_VERSION]) {
        this.#unreadable(entry, error);
        return;
      }
    }
    entry.resumeIfAside();
  }

  /** Reports that the argument cannot be read on this CPU: the continuation will not run. */
  #unreadable(entry: RemoteEntry, cause?: unknown): void {
    if (entry instanceof JobRunner) entry.reportUnreadable(cause);
    else {
      const what = `the argument of ${label(entry.kc)} cannot be read on CPU ${this.#cpu.index}`;
      this.#fail(entry, Object.assign(new KcontError('EINVAL', what), { cause }));
    }
  }

  /** Stops a continuation, and tells its home and the CPU whose entry waits for an answer. */
  #fail(entry: RemoteEntry, error: unknown, cpu: number = this.#cpu.index): void {
    this.#stop(entry, cpu, () => this.#remoteErrors.failedAt(entry, error));
  }

  /**
   * Stops a continuation that cannot run. Only the CPU that has stopped it reports that, so it is
   * reported once, even if an answer arrives that cannot be read either.
   */
  #stop(entry: RemoteEntry, cpu: number, report: () => void): void {
    const { block, handle } = entry;
    this.#cpu.later(() => {
      const isFirst = (entry.stop() & SCHEDULED) !== 0;
      if (cpu !== this.#cpu.index) this.#cpu.send(cpu, SETTLED, block, handle);
      if (isFirst) report();
    });
  }

  /** Asks the home of a handle for its definition. */
  need({ block, handle }: RemoteKcont): void {
    const home = this.#cpu.memory.words[block + HOME] as number;
    if (home === this.#cpu.index) this.answer(block, handle, home);
    else this.#cpu.send(home, NEED, block, handle);
  }

  /** Handles a NEED message: another CPU asks for the definition. */
  answer(block: number, handle: number, cpu: number): void {
    const entry = this.#handles.findOrMake(block, handle);
    if (entry === undefined) return;
    if (entry instanceof JobRunner) this.#jobs.answer(entry, cpu);
    else if (this.#knows(entry)) {
      try {
        this.#tell(entry, cpu);
        this.#cpu.wakeCpu(cpu);
      } catch (error) {
        this.#fail(entry, uncloneable(`the argument of ${label(entry.kc)}`, error), cpu);
      }
    } else {
      this.#stop(entry, cpu, () => this.#remoteErrors.lost(entry));
    }
  }

  /** Sends a CPU's new thread the definitions that it needs for the entries left on that CPU. */
  retell(cpu: number): void {
    const { words } = this.#cpu.memory;
    for (const entry of this.#handles) {
      const target = words[entry.block + CPU];
      if ((target !== cpu && target !== ANY) || (entry.bits & SCHEDULED) === 0) continue;
      if (entry instanceof JobRunner) this.#jobs.offer(entry, cpu);
      else this.tell(entry, cpu);
    }
  }

  /** Forgets what a CPU has been sent: its thread has ended, and the next one knows nothing. */
  untell(cpu: number): void {
    for (const entry of this.#handles) entry.told &= ~(1 << cpu);
  }
}
