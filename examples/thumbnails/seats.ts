// Which CPU a client's work goes to.
//
//   strong   where its first work went, for ever
//   weak     where its last work went, unless that CPU is behind: then the client moves
//   none     wherever least is waiting

import type { Cpu } from '../../lib/index.ts';

export type Affinity = 'strong' | 'weak' | 'none';

/** Work that has been sent to a CPU, and has not come back. */
export interface Work {
  readonly urgent: boolean;
  /** Withdraws it: atomically if it has not begun, else between two of its steps. */
  drop(reason: Error): void;
}

/** One CPU, and what it has been sent. */
export class Seat {
  readonly cpu: Cpu;
  readonly urgent: Set<Work> = new Set();
  readonly ahead: Set<Work> = new Set();

  constructor(cpu: Cpu) {
    this.cpu = cpu;
  }
}

/** So many more urgent ones than elsewhere, and a CPU is behind. */
const BEHIND = 3;
/** A CPU that has not come to its work for so long is behind, in ms. */
const LAG_MS = 250;
/** The clients that came last are remembered. */
const REMEMBERED = 10_000;

export class Seats {
  readonly all: readonly Seat[];
  /** Clients who were moved to another CPU, since theirs was behind. */
  moves = 0;
  #turn = 0;
  readonly #affinity: Affinity;
  readonly #clients = new Map<string, Seat>();
  /** How many clients each has. */
  readonly #guests = new Map<Seat, number>();

  constructor(cpus: readonly Cpu[], affinity: Affinity) {
    this.all = cpus.map((cpu) => new Seat(cpu));
    this.#affinity = affinity;
  }

  /** Where the next work of a client goes. */
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

  /** The one that is up and has least; among equals they take turns. */
  #least(by: (seat: Seat) => number): Seat {
    const up = this.all.filter(({ cpu }) => cpu.state === 'up');
    const usable = up.length > 0 ? up : this.all;
    const first = this.#turn++ % usable.length;
    return [...usable.slice(first), ...usable.slice(0, first)].reduce((a, b) =>
      by(b) < by(a) ? b : a,
    );
  }
}
