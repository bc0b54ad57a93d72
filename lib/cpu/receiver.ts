/*
 * The receiver: reads the inbox of a CPU, and hands each message to the part that it is for.
 */

import type { CpuContext } from './cpu-context.ts';
import type { HandleTable } from './handles/handle-table.ts';
import type { Submission } from './handles/submission.ts';
import type { JobCaller } from './jobs/job-caller.ts';
import type { KeepAlive } from './keep-alive.ts';
import type { HandleSync } from './messages/handle-sync.ts';
import {
  ABORT,
  DEFINE,
  ENTRY,
  FAILED,
  FORGET,
  FREE,
  NEED,
  RELOCK,
  RESULT,
  SETTLED,
  TRACE,
  type Message,
} from './messages/inbox.ts';
import type { RemoteErrors } from './messages/remote-errors.ts';
import type { Placement } from './placement.ts';

/** The parts of a CPU that messages are for. */
export interface Recipients {
  readonly handles: HandleTable;
  readonly submission: Submission;
  readonly handleSync: HandleSync;
  readonly jobs: JobCaller;
  readonly remoteErrors: RemoteErrors;
  readonly placement: Placement;
  readonly alive: KeepAlive;
}

/** Reads the inbox of one CPU. */
export class Receiver {
  readonly #cpu: CpuContext;
  readonly #parts: Recipients;
  readonly #read: (message: Message) => void;
  /** The inbox is being read. */
  #taking = false;

  constructor(cpu: CpuContext, parts: Recipients) {
    this.#cpu = cpu;
    this.#parts = parts;
    this.#read = (message) => this.#receive(message);
  }

  /** Empties the inbox. True: there were messages. */
  take(): boolean {
    const { inbox } = this.#cpu;
    if (!inbox.waiting || this.#taking) return false;
    this.#taking = true;
    this.#parts.placement.taken();
    try {
      do inbox.take(this.#read);
      while (inbox.waiting);
    } finally {
      this.#taking = false;
    }
    return true;
  }

  /** Handles one message. An error is reported with the handle the message is about; other messages go on. */
  #receive(message: Message): void {
    const { block, handle } = message;
    try {
      this.#carryOut(message);
    } catch (error) {
      this.#cpu.later(() => this.#parts.remoteErrors.mishap(block, handle, error));
    }
  }

  #carryOut(message: Message): void {
    const { block, handle, from } = message;
    const { handles, submission, handleSync, jobs, remoteErrors, alive } = this.#parts;
    const { memory, ports } = this.#cpu;
    memory.reach(block + 31);
    switch (message.kind) {
      case ENTRY:
        if (submission.accepts(block)) handles.filed(message);
        break;
      case SETTLED:
        handles.find(block, handle)?.settledElsewhere();
        break;
      case FREE:
        handles.reclaim(block, handle);
        break;
      case FORGET:
        handles.forget(block, handle);
        break;
      case DEFINE:
        handleSync.define(message);
        break;
      case TRACE:
        handleSync.traced(message);
        break;
      case NEED:
        handleSync.answer(block, handle, from);
        break;
      case ABORT:
        jobs.aborted(block, handle, ports.claim(from, message.value));
        break;
      case RESULT:
        jobs.ended(message);
        break;
      case RELOCK:
        handles.find(block, handle)?.relocked();
        break;
      case FAILED:
        remoteErrors.reported(block, handle, ports.claim(from, message.value));
        break;
      default:
        alive.told();
    }
  }
}
