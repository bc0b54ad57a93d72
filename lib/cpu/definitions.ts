/*
 * What a CPU has to know of a handle and cannot read from its control block: an argument that is
 * cloned, and a name. It is sent ahead of the first entry that goes to that CPU. A CPU that finds
 * itself without (its thread is new, or the argument was changed elsewhere) asks the one that made the
 * handle, and keeps the entry aside until the answer comes.
 */

import { reportLater } from '../enter.ts';
import { label } from '../schedule.ts';
import { SCHEDULED } from '../state.ts';
import { PORTED, uncloneable } from './argument.ts';
import { ANY, ARG_TAG, ARG_VERSION, CPU, HANDLE } from './block.ts';
import { decode, encode } from './codec.ts';
import { JobFace } from './job-face.ts';
import type { CpuMachine } from './machine.ts';
import { DEFINE, SETTLED } from './mail.ts';
import type { RemoteHandle } from './remote-handle.ts';

/** What a block cannot hold. */
export interface Definition {
  readonly arg: unknown;
  readonly name: string | undefined;
}

/** One CPU's part in it. */
export class Definitions {
  readonly #machine: CpuMachine;

  constructor(machine: CpuMachine) {
    this.#machine = machine;
  }

  /** The same, before anything is changed for it; and finds out if nobody is there to be told. */
  prepare(remote: RemoteHandle, cpu: number): void {
    const machine = this.#machine;
    if (cpu === machine.index || (remote.told & (1 << cpu)) !== 0) return;
    if (remote instanceof JobFace) return;
    this.tell(remote, cpu);
    if ((remote.told & (1 << cpu)) === 0 && this.#knows(remote)) {
      machine.blocks.probe(remote.kc._arg, label(remote.kc));
    }
  }

  /** Whether this CPU has the argument as it is now. */
  #knows(remote: RemoteHandle): boolean {
    return remote.version === this.#machine.memory.words[remote.block + ARG_VERSION];
  }

  /**
   * Lets another CPU know what it has to, before it is sent something of the handle. Throws KcontError
   * EINVAL for an argument that cannot be cloned.
   */
  tell(remote: RemoteHandle, cpu: number): void {
    const machine = this.#machine;
    const { words } = machine.memory;
    const { block, handle, version, kc } = remote;
    const name = kc._details?.name;
    const ported = (words[block + ARG_TAG] as number) >= PORTED;
    const isNeeded =
      !(remote instanceof JobFace) && (ported ? this.#knows(remote) : name !== undefined);
    if (isNeeded) {
      let posted: number;
      try {
        posted = machine.bells.post(cpu, {
          arg: ported ? encode(machine, kc._arg) : undefined,
          name,
        } satisfies Definition);
      } catch (error) {
        throw uncloneable(label(kc), error);
      }
      if (posted === 0) return;
      machine.mail.send(cpu, DEFINE, block, handle, version, 0, posted);
    }
    remote.told |= 1 << cpu;
  }

  /** The same, where it is too late to refuse. Returns why it cannot be told. */
  tryToTell(remote: RemoteHandle, cpu: number): unknown {
    try {
      this.tell(remote, cpu);
      return undefined;
    } catch (error) {
      return error;
    }
  }

  /** What another CPU has told. */
  define(block: number, handle: number, version: number, message: [unknown] | undefined): void {
    const machine = this.#machine;
    const { words } = machine.memory;
    if (words[block + HANDLE] !== handle) return;
    const remote = machine.blocks.face(block);
    const { kc } = remote;
    if (message === undefined) {
      // Lost with the thread that sent it: whoever has the handle now is asked.
      machine.resumeIfAside(kc);
      return;
    }
    const { arg, name } = message[0] as Definition;
    if (remote instanceof JobFace) {
      remote.given(decode(machine, arg), version);
      machine.resumeIfAside(kc);
      return;
    }
    if (name !== undefined) (kc._details as { name: string | undefined }).name = name;
    if (version <= remote.version || (words[block + ARG_TAG] as number) < PORTED) return;
    remote.version = version;
    kc._arg = decode(machine, arg);
    machine.resumeIfAside(kc);
  }

  /** Another CPU needs to be told. */
  answer(block: number, handle: number, cpu: number): void {
    const machine = this.#machine;
    const { words } = machine.memory;
    if (words[block + HANDLE] !== handle) return;
    const remote = machine.blocks.face(block);
    if (remote instanceof JobFace) machine.jobs.answer(remote, cpu);
    else if (this.#knows(remote)) {
      const error = this.tryToTell(remote, cpu);
      if (error === undefined) machine.ring(cpu);
      else this.#giveUp(remote, cpu, () => reportLater(machine.dispatcher, remote.kc, error));
    } else this.#giveUp(remote, cpu, () => machine.faults.lost(remote));
  }

  /** It can never run there: stops it, and says so. */
  #giveUp(remote: RemoteHandle, cpu: number, report: () => void): void {
    const machine = this.#machine;
    machine.later(() => {
      remote.stop();
      if (cpu !== machine.index) machine.send(cpu, SETTLED, remote.block, remote.handle);
      report();
    });
  }

  /** A CPU has a new thread: tells it what it needs for what has been left there. */
  retell(cpu: number): void {
    const machine = this.#machine;
    const { words } = machine.memory;
    for (const remote of this.#machine.blocks) {
      const target = words[remote.block + CPU];
      if ((target !== cpu && target !== ANY) || (remote.bits & SCHEDULED) === 0) continue;
      if (remote instanceof JobFace) machine.jobs.offer(remote, cpu);
      else this.tryToTell(remote, cpu);
    }
  }

  /** A thread has taken the place of another: it has to be told everything anew. */
  untell(cpu: number): void {
    for (const remote of this.#machine.blocks) remote.told &= ~(1 << cpu);
  }
}
