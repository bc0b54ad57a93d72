import type { Cpu } from '../../core/cpu.ts';
import type { CpuContext } from '../cpu-context.ts';
import type { RemoteKcont } from './remote-kcont.ts';

/** What an entry asks of the CPU it is on. LocalCpu implements it. */
export interface EntryHost {
  readonly context: CpuContext;
  readonly alive: {
    /** Updates what keeps the process alive after a change of a state word. */
    count(before: number, after: number): void;
  };
  readonly placement: {
    /** Returns the target CPU of an entry, or ANY. */
    place(entry: RemoteKcont, cpu: Cpu | null, delayed: boolean): number;
  };
  readonly handles: {
    /** Throws for a value that cannot be cloned. */
    probe(value: unknown, what: string): void;
    /** Frees the block of a handle that was destroyed or of a job that has ended. */
    release(block: number, handle: number): void;
  };
  readonly handleSync: {
    /** Sends the definition to the CPUs that may run the continuation. */
    prepare(entry: RemoteKcont, target: number): void;
    /** Asks the home of a handle for its definition. */
    need(entry: RemoteKcont): void;
  };
  readonly remoteErrors: {
    /** Sends an error to the home of a handle; false if that is this CPU. */
    failed(entry: RemoteKcont, error: unknown): boolean;
  };
  readonly submission: {
    /** Files an entry on its target CPU. `silent`: the target need not be woken for it. */
    submit(
      entry: RemoteKcont,
      target: number,
      generation: number,
      seq: number,
      silent: boolean,
    ): void;
  };
}
