/*
 * What a CPU has to know of a handle and cannot read from its control block: an argument that is
 * cloned, and a name. It is sent ahead of the first entry that goes to that CPU. A CPU that finds
 * itself without (its thread is new, or the argument was changed elsewhere) asks the one that made the
 * handle, and keeps the entry aside until the answer comes.
 */

import { SCHEDULED } from '../state.ts';
import { PORTED } from './argument.ts';
import { ANY, ARG_TAG, ARG_VERSION, CPU, HANDLE } from './block.ts';
import { decode, encode } from './codec.ts';
import { JobFace } from './job-face.ts';
import type { CpuMachine } from './machine.ts';
import { DEFINE } from './mail.ts';
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

  /** Lets another CPU know what it has to, before it is sent something of the handle. */
  tell(remote: RemoteHandle, cpu: number): void {
    const machine = this.#machine;
    const { words } = machine.memory;
    remote.told |= 1 << cpu;
    const { block, handle, version, kc } = remote;
    const name = kc._details?.name;
    const ported = (words[block + ARG_TAG] as number) >= PORTED;
    if (remote instanceof JobFace || (!ported && name === undefined)) return;
    if (ported && version !== words[block + ARG_VERSION]) return;
    const definition: Definition = { arg: ported ? encode(machine, kc._arg) : undefined, name };
    const posted = machine.bells.post(cpu, definition);
    if (posted === 0) remote.told &= ~(1 << cpu);
    else machine.mail.send(cpu, DEFINE, block, handle, version, 0, posted);
  }

  /** What another CPU has told. */
  define(block: number, handle: number, version: number, message: [unknown] | undefined): void {
    const machine = this.#machine;
    const { words } = machine.memory;
    if (message === undefined || words[block + HANDLE] !== handle) return;
    const remote = machine.blocks.face(block);
    const { kc } = remote;
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
    else if (remote.version === words[block + ARG_VERSION]) {
      this.tell(remote, cpu);
      machine.ring(cpu);
    } else {
      remote.stop();
      machine.later(() => machine.faults.lost(remote));
    }
  }

  /** A CPU has a new thread: tells it what it needs for what has been left there. */
  retell(cpu: number): void {
    const machine = this.#machine;
    const { words } = machine.memory;
    for (const remote of this.#machine.blocks) {
      const target = words[remote.block + CPU];
      if ((target !== cpu && target !== ANY) || (remote.bits & SCHEDULED) === 0) continue;
      if (remote instanceof JobFace) machine.jobs.answer(remote, cpu);
      else this.tell(remote, cpu);
    }
  }

  /** A thread has taken the place of another: it has to be told everything anew. */
  untell(cpu: number): void {
    for (const remote of this.#machine.blocks) remote.told &= ~(1 << cpu);
  }
}
