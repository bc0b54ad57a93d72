/*
 * The reserve: CPUs for jobs with `kill`. Their threads are made on demand, and run one job at a time.
 */

import { join, leave, untilAborted, type AbortMember } from '../../base/abort-listeners.ts';
import type { Cpu } from '../../core/cpu.ts';
import type { KcontError } from '../../base/errors.ts';
import type { Lifecycle } from './lifecycle.ts';

/** A caller that waits for a CPU of the reserve. */
interface Borrower extends AbortMember {
  readonly take: (life: Lifecycle) => void;
}

/** The CPUs that are not in `kernel.cpus`, and run jobs that can be killed. */
export class Reserve {
  readonly #lives = new Map<Cpu, Lifecycle>();
  readonly #idle: Lifecycle[] = [];
  readonly #borrowers = new Set<Borrower>();
  #shut: KcontError | undefined = undefined;

  add(life: Lifecycle): void {
    this.#lives.set(life.cpu, life);
    this.#idle.push(life);
  }

  /** Lends a CPU that is up and idle; it has to be given back. Rejected if the signal is aborted first. */
  async borrow(signal: AbortSignal | undefined): Promise<Cpu> {
    const life = this.#idle.pop() ?? (await this.#waitForIdle(signal));
    try {
      await untilAborted(life.start(), signal);
      return life.cpu;
    } catch (error) {
      // The thread may hang while it starts, so it is not used again.
      if (life.phase !== 'up') void life.kill();
      this.giveBack(life.cpu);
      throw error;
    }
  }

  #waitForIdle(signal: AbortSignal | undefined): Promise<Lifecycle> {
    return new Promise((resolve, reject) => {
      if (this.#shut !== undefined) {
        reject(this.#shut);
        return;
      }
      const end = (): void => {
        this.#borrowers.delete(borrower);
        if (signal !== undefined) leave(signal, borrower);
      };
      const borrower: Borrower = {
        take(life) {
          end();
          resolve(life);
        },
        _abort(reason) {
          end();
          reject(reason);
        },
      };
      this.#borrowers.add(borrower);
      if (signal !== undefined) join(signal, borrower);
    });
  }

  giveBack(cpu: Cpu): void {
    const life = this.#lives.get(cpu) as Lifecycle;
    const [next] = this.#borrowers;
    if (next === undefined) this.#idle.push(life);
    else next.take(life);
  }

  /** Terminates the thread of a borrowed CPU, whatever it is doing. */
  kill(cpu: Cpu): void {
    void this.#lives.get(cpu)?.kill();
  }

  /** Lends no more CPUs, and rejects the callers that wait for one. */
  close(reason: KcontError): void {
    this.#shut = reason;
    for (const borrower of this.#borrowers) borrower._abort(reason);
  }
}
