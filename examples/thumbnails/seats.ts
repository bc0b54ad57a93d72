// Chooses the CPU for a client's work, by its affinity.
//
//   strong   always the CPU of its first work
//   weak     the CPU of its last work, unless that CPU is behind: then the client moves
//   none     the CPU with the least work

import type { Cpu } from '../../lib/index.ts';

export type Affinity = 'strong' | 'weak' | 'none';

/** Work that has been sent to a CPU and has not finished. */
export interface Work {
  readonly urgent: boolean;
  /** Cancels it: atomically if it has not begun, otherwise between two of its steps. */
  drop(reason: Error): void;
}

/** One CPU, and the work sent to it. */
export class Seat {
  readonly cpu: Cpu;
  readonly urgent: Set<Work> = new Set();
  readonly ahead: Set<Work> = new Set();

  constructor(cpu: Cpu) {
    this.cpu = cpu;
  }
}

/** A CPU is behind if it has this many more urgent requests than another. */
const BEHIND = 3;
/** A CPU is behind if it has not started its work for this time, in ms. */
const LAG_MS = 250;
/** Number of clients that are remembered, the most recent ones. */
const REMEMBERED = 10_000;

export class Seats {
  readonly all: readonly Seat[];
  /** Number of clients that were moved because their CPU was behind. */
  moves = 0;
  #turn = 0;
  readonly #affinity: Affinity;
  readonly #clients = new Map<string, Seat>();
  /** Number of clients of each CPU. */
  readonly #guests = new Map<Seat, number>();

  constructor(cpus: readonly Cpu[], affinity: Affinity) {
    this.all = cpus.map((cpu) => new Seat(cpu));
    this.#affinity = affinity;
  }

  /** Chooses the CPU for the next work of a client. */
  of(client: string): Seat {
    if (this.#affinity === 'none') return this.#least((seat) => seat.urgent.size);
    const seat = this.#clients.get(client);
    if (seat === undefined) return this.#place(client, (one) => this.#guests.get(one) ?? 0);
    if (this.#affinity === 'strong' || !this.#isBehind(seat)) return seat;
    this.moves++;
    this.#guests.set(seat, (this.#guests.get(seat) ?? 1) - 1);
    return this.#place(client, (one) => one.urgent.size);
  }

  #isBehind({ cpu, urgent }: Seat): boolean {
    const least = this.#least((seat) => seat.urgent.size);
    if (least.cpu === cpu) return false;
    return cpu.state !== 'up' || cpu.lagMs > LAG_MS || urgent.size >= least.urgent.size + BEHIND;
  }

  #place(client: string, by: (seat: Seat) => number): Seat {
    const seat = this.#least(by);
    this.#clients.set(client, seat);
    this.#guests.set(seat, (this.#guests.get(seat) ?? 0) + 1);
    if (this.#clients.size > REMEMBERED) this.#forgetOldest();
    return seat;
  }

  #forgetOldest(): void {
    for (const [client, seat] of this.#clients) {
      this.#clients.delete(client);
      this.#guests.set(seat, (this.#guests.get(seat) ?? 1) - 1);
      return;
    }
  }

  /** Returns the running CPU with the least work, round-robin among equals. */
  #least(by: (seat: Seat) => number): Seat {
    const up = this.all.filter(({ cpu }) => cpu.state === 'up');
    const usable = up.length > 0 ? up : this.all;
    const first = this.#turn++ % usable.length;
    return [...usable.slice(first), ...usable.slice(0, first)].reduce((a, b) =>
      by(b) < by(a) ? b : a,
    );
  }
}
