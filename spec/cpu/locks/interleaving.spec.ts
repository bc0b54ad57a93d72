// Two CPUs at one lock at the same time, simulated by one thread. One is interrupted between any two of
// its steps on shared memory, and the other does something without interruption. Then the first goes on,
// or dies.

import { expect } from 'chai';
import { describe, it } from 'mocha';
import { Arena, MUTEX, RW, type Kind } from '../../../lib/cpu/locks/arena.ts';
import { ThreadGate } from '../../../lib/cpu/locks/thread-gate.ts';
import type { Lock } from '../../../lib/index.ts';
import { Lab, settled } from '../../support/lab.ts';
import {
  KINDS,
  NAMES,
  PlayedCpus,
  dieAfter,
  interleave,
  silentWaker,
  sidesOf,
  type Sides,
} from '../../support/played-cpus.ts';

type Side = 'read' | 'write';
type Three = [Sides, Sides, Sides];

/** Three CPUs at a lock, and the number of waiters. */
class Table {
  readonly cpus: PlayedCpus = new PlayedCpus(3);
  readonly all: Three;
  waiting = 0;

  constructor(kind: Kind) {
    this.all = this.cpus.lock(kind) as Three;
  }

  /** Code that waits, and leaves in a later turn. */
  wait(cpu: number, side: Side): void {
    this.waiting++;
    this.#lock(cpu, side)
      .enter()
      .then(() => this.waiting--)
      .catch(() => undefined);
  }

  try(cpu: number, side: Side): void {
    this.#lock(cpu, side).tryEnter();
  }

  exit(cpu: number, side: Side): void {
    this.#lock(cpu, side).exit();
  }

  /** A continuation that runs, or waits and is stopped. */
  run(cpu: number, side: Side): void {
    const lab = new Lab();
    const kc = lab.sync('kc', { lock: this.#lock(cpu, side) });
    kc.schedule(0);
    lab.clock.tick(0);
    kc.stop();
  }

  #lock(cpu: number, side: Side): Lock {
    return (this.all[cpu] as Sides)[side];
  }

  expectExclusion(what: string): void {
    const writers = this.cpus.gates.filter(({ writing }) => writing).length;
    const readers = this.cpus.gates.filter((gate) => gate.readers > 0).length;
    expect(writers === 0 || (writers === 1 && readers === 0), `${what}: exclusion`).to.equal(true);
  }

  /** Lets all living CPUs leave, until nobody waits. */
  async expectEnd(what: string, alive: readonly number[]): Promise<void> {
    for (let idle = 0; idle < 2; idle++) {
      this.cpus.settle();
      await soon;
      await soon;
      this.expectExclusion(what);
      for (const cpu of alive) {
        const gate = this.cpus.gates[cpu];
        if (gate === undefined) continue;
        while (gate.writing || gate.readers > 0) {
          idle = -1;
          this.exit(cpu, gate.writing ? 'write' : 'read');
        }
      }
    }
    for (const cpu of alive) {
      const { turnstile } = this.cpus.gates[cpu] as ThreadGate;
      expect(turnstile?.best, `${what}: ${cpu} still waits`).to.equal(undefined);
    }
    const [last] = alive as [number];
    expect(this.#lock(last, 'write').tryEnter(), `${what}: free`).to.equal(true);
    this.exit(last, 'write');
  }
}

/** A microtask. */
const soon: Promise<void> = Promise.resolve();

type Act = [name: string, act: (table: Table) => void];

/** The state at the beginning. */
const SITUATIONS: readonly Act[] = [
  ['free', () => undefined],
  ['0 writes', (table) => table.try(0, 'write')],
  ['0 reads', (table) => table.try(0, 'read')],
  ['1 writes', (table) => table.try(1, 'write')],
  [
    '0 and 1 read',
    (table) => {
      table.try(0, 'read');
      table.try(1, 'read');
    },
  ],
  [
    '0 writes, 2 waits to write',
    (table) => {
      table.try(0, 'write');
      table.wait(2, 'write');
    },
  ],
  [
    '0 writes, 2 waits to read',
    (table) => {
      table.try(0, 'write');
      table.wait(2, 'read');
    },
  ],
  [
    '0 and 1 read, 2 waits to write',
    (table) => {
      table.try(0, 'read');
      table.try(1, 'read');
      table.wait(2, 'write');
    },
  ],
  [
    '0 reads, 0 and 1 wait to write',
    (table) => {
      table.try(0, 'read');
      table.wait(0, 'write');
      table.wait(1, 'write');
    },
  ],
];

/** The actions of a CPU. */
function actsOf(cpu: number, sides: readonly Side[]): Act[] {
  return sides.flatMap((side): Act[] => [
    [`${cpu} tries to ${side}`, (table) => table.try(cpu, side)],
    [`${cpu} waits to ${side}`, (table) => table.wait(cpu, side)],
    [`${cpu} runs a continuation that ${side}s`, (table) => table.run(cpu, side)],
  ]);
}

/** The same, or it releases what it holds, or is woken. */
function acts(cpu: number, kind: Kind): Act[] {
  return [
    ...actsOf(cpu, kind === MUTEX ? ['write'] : ['read', 'write']),
    [
      `${cpu} exits`,
      (table) => {
        const gate = table.cpus.gates[cpu];
        if (gate?.writing === true) table.exit(cpu, 'write');
        else if (gate !== undefined && gate.readers > 0) table.exit(cpu, 'read');
      },
    ],
    [`${cpu} hears`, (table) => table.cpus.hear(cpu)],
  ];
}

describe('two CPUs at a lock at once', function () {
  this.timeout(120_000);

  for (const kind of KINDS) {
    it(`exclude each other, and lose no waiter, whichever interrupts the other: ${NAMES[kind]}`, async () => {
      let rounds = 0;
      for (const [situation, before] of SITUATIONS) {
        for (const [first, act] of acts(0, kind)) {
          for (const [second, between] of acts(1, kind)) {
            for (let steps = 0, came = true; came; steps++) {
              const what = `${situation}; ${first}, after ${steps} steps ${second}`;
              const table = new Table(kind);
              before(table);
              came = interleave(
                steps,
                () => act(table),
                () => between(table),
              );
              rounds++;
              table.expectExclusion(what);
              await table.expectEnd(what, [0, 1, 2]);
              expect(table.waiting, `${what}: still waiting`).to.equal(0);
            }
          }
        }
      }
      expect(rounds).to.be.greaterThan(300);
    });

    it(`recover if one dies when the other has interrupted it: ${NAMES[kind]}`, async () => {
      let deaths = 0;
      for (const [situation, before] of SITUATIONS) {
        for (const [first, act] of acts(0, kind)) {
          for (const [second, between] of acts(1, kind)) {
            // At the step at which it was interrupted, or when it has taken one more.
            for (let steps = 0, died = true; died; steps += 0.5) {
              const what = `${situation}; ${first}, after ${steps} steps ${second}, 0 is dead`;
              const table = new Table(kind);
              before(table);
              died = dieAfter(
                Math.ceil(steps),
                () => act(table),
                () => between(table),
                Math.ceil(steps) - Math.floor(steps),
              );
              if (!died) break;
              deaths++;
              table.cpus.bury(0, 2);
              // What the dead CPU held is gone.
              Object.assign(table.cpus.gates[0] ?? {}, { writing: false, readers: 0 });
              await table.expectEnd(what, [1, 2]);
            }
          }
        }
      }
      expect(deaths).to.be.greaterThan(150);
    });
  }
});

describe('a CPU that was granted a lock and does not know it yet', () => {
  it('keeps the order of its continuations', async () => {
    const cpus = new PlayedCpus(2);
    const [a, b] = cpus.lock(MUTEX) as [Sides, Sides];
    const lab = new Lab();
    a.write.tryEnter();
    lab.sync('first', { lock: b.write }).schedule(0);
    lab.clock.tick(0);
    a.write.exit();
    lab.sync('second', { lock: b.write }).schedule(0);
    lab.clock.tick(0);
    cpus.settle();
    lab.clock.tick(0);
    expect(lab.take()).to.deep.equal(['first', 'second']);
  });

  it('does not let later code pass', async () => {
    const cpus = new PlayedCpus(2);
    const [a, b] = cpus.lock(MUTEX) as [Sides, Sides];
    const ran: string[] = [];
    const enter = async (name: string): Promise<void> => {
      await b.write.enter();
      ran.push(name);
      b.write.exit();
    };
    a.write.tryEnter();
    const first = enter('first');
    a.write.exit();
    const second = enter('second');
    cpus.settle();
    await Promise.all([first, second]);
    await settled();
    expect(ran).to.deep.equal(['first', 'second']);
  });
});

describe('a CPU that asks to read', () => {
  for (const side of ['read', 'write'] as const) {
    it(`may ${side} at the moment when the lock is free`, async () => {
      for (let steps = 0, came = true; came; steps++) {
        const table = new Table(RW);
        table.try(1, 'write');
        came = interleave(
          steps,
          () => table.exit(1, 'write'),
          () => table.wait(0, 'read'),
          () => table.try(0, side),
        );
        table.expectExclusion(`${steps} steps`);
        await table.expectEnd(`${steps} steps`, [0, 1, 2]);
        expect(table.waiting).to.equal(0);
      }
    });
  }
});

describe('a CPU that is started again', () => {
  it('asks for nothing that the dead one asked for', async () => {
    const cpus = new PlayedCpus(2);
    const [a, b] = cpus.lock(RW) as [Sides, Sides];
    const [first] = cpus.gates as [ThreadGate];
    a.write.tryEnter();
    void b.write.enter();
    cpus.bury(1, 0);
    const arena = Arena.play(first.arena.buffer, { cpu: 2, waker: silentWaker });
    const { read } = sidesOf(new ThreadGate(arena, first.at, RW));
    const entered = read.enter();
    a.write.exit();
    arena.look();
    await entered;
    read.exit();
    expect(a.write.tryEnter()).to.equal(true);
    a.write.exit();
  });
});
