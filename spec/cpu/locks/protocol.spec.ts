// The protocol of the locks between CPUs, with CPUs that are simulated by one thread.

import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { MUTEX, RM, RW } from '../../../lib/cpu/locks/arena.ts';
import { LOCAL_HAND_OVERS } from '../../../lib/cpu/locks/thread-gate.ts';
import type { Lock } from '../../../lib/index.ts';
import { Lab, codeOf, settled, soak } from '../../support/lab.ts';
import { KINDS, NAMES, PlayedCpus, dieAfter, type Sides } from '../../support/played-cpus.ts';

/** A microtask. */
const soon: Promise<void> = Promise.resolve();

/** Awaits a lock and records when it has it. */
function wait(ran: string[], lock: Lock, name: string, signal?: AbortSignal): void {
  lock.enter(signal === undefined ? {} : { signal }).then(
    () => ran.push(name),
    () => ran.push(`${name} aborted`),
  );
}

type Pair = [Sides, Sides];
type Three = [Sides, Sides, Sides];

describe('a lock between CPUs', function () {
  this.timeout(60_000);

  for (const kind of KINDS) {
    describe(NAMES[kind], () => {
      it('reads as held on all CPUs when one CPU holds it', () => {
        const [a, b] = new PlayedCpus(2).lock(kind) as Pair;
        expect(a.write.tryEnter()).to.equal(true);
        expect([a.write.held, b.write.held]).to.deep.equal([true, true]);
        expect(b.write.tryEnter()).to.equal(false);
        expect(b.read.tryEnter()).to.equal(false);
        a.write.exit();
        expect([a.write.held, b.write.held]).to.deep.equal([false, false]);
        expect(b.write.tryEnter()).to.equal(true);
        b.write.exit();
      });

      it('can be released only on the CPU that holds it', () => {
        const [a, b] = new PlayedCpus(2).lock(kind) as Pair;
        a.write.tryEnter();
        expect(codeOf(() => b.write.exit())).to.equal('EPERM');
        expect(a.write.held).to.equal(true);
        a.write.exit();
      });

      it('goes to a waiter on another CPU at once, and wakes that CPU', async () => {
        const cpus = new PlayedCpus(2);
        const [a, b] = cpus.lock(kind) as Pair;
        const ran: string[] = [];
        a.write.tryEnter();
        wait(ran, b.write, 'b');
        expect(cpus.keptAlive).to.deep.equal([false, true]);
        a.write.exit();
        expect(a.write.tryEnter(), 'it is handed over').to.equal(false);
        expect([...cpus.woken]).to.deep.equal([1]);
        cpus.settle();
        await settled();
        expect(ran).to.deep.equal(['b']);
        expect(cpus.keptAlive).to.deep.equal([false, false]);
      });

      it('is passed on by a CPU on which nobody waits any more when it arrives', async () => {
        const cpus = new PlayedCpus(3);
        const [a, b, c] = cpus.lock(kind) as Three;
        const ran: string[] = [];
        const abort = new AbortController();
        a.write.tryEnter();
        wait(ran, b.write, 'b', abort.signal);
        wait(ran, c.write, 'c');
        a.write.exit();
        abort.abort();
        expect(cpus.keptAlive, 'it has nothing to wait for').to.deep.equal([false, false, true]);
        cpus.settle();
        await settled();
        expect(ran).to.deep.equal(['b aborted', 'c']);
        c.write.exit();
        expect(b.write.held).to.equal(false);
      });

      it('is not offered to a CPU whose only waiter has aborted', async () => {
        const cpus = new PlayedCpus(2);
        const [a, b] = cpus.lock(kind) as Pair;
        const ran: string[] = [];
        const abort = new AbortController();
        a.write.tryEnter();
        wait(ran, b.write, 'b', abort.signal);
        abort.abort();
        a.write.exit();
        expect([...cpus.woken]).to.deep.equal([]);
        expect(a.write.tryEnter()).to.equal(true);
        a.write.exit();
      });

      it('goes round between CPUs', async () => {
        const cpus = new PlayedCpus(3);
        const locks = cpus.lock(kind) as Three;
        const [a, b, c] = locks;
        const ran: string[] = [];
        a.write.tryEnter();
        for (const name of ['1', '2']) {
          wait(ran, c.write, `c${name}`);
          wait(ran, b.write, `b${name}`);
        }
        // The waiters on the CPU of the holder come after those on the other CPUs.
        for (let n = 0; n < LOCAL_HAND_OVERS; n++) wait(ran, a.write, 'a');
        let holder = a;
        for (let turns = 0; turns < LOCAL_HAND_OVERS + 4; turns++) {
          const before = ran.length;
          holder.write.exit();
          cpus.settle();
          await settled();
          expect(ran.length).to.equal(before + 1);
          const name = ran.at(-1)?.[0];
          holder = name === 'a' ? a : name === 'b' ? b : c;
        }
        holder.write.exit();
        expect(ran).to.deep.equal([
          ...Array.from({ length: LOCAL_HAND_OVERS }, () => 'a'),
          'b1',
          'b2',
          'c1',
          'c2',
        ]);
      });

      it(`goes to ${LOCAL_HAND_OVERS} on one CPU, and then to another that waits`, async () => {
        const cpus = new PlayedCpus(2);
        const [a, b] = cpus.lock(kind) as Pair;
        const ran: string[] = [];
        a.write.tryEnter();
        wait(ran, b.write, 'b');
        for (let n = 0; n < 2 * LOCAL_HAND_OVERS; n++) wait(ran, a.write, 'a');
        while (ran.at(-1) !== 'b') {
          a.write.exit();
          cpus.settle();
          await settled();
        }
        expect(ran.length).to.equal(LOCAL_HAND_OVERS + 1);
        b.write.exit();
        cpus.settle();
        await settled();
        expect(ran.at(-1), 'and back').to.equal('a');
        for (let n = LOCAL_HAND_OVERS; n > 0; n--) {
          a.write.exit();
          await settled();
        }
        expect(ran.length).to.equal(2 * LOCAL_HAND_OVERS + 1);
        expect(a.write.held).to.equal(false);
      });

      it('is free again when its CPU has died', () => {
        const cpus = new PlayedCpus(2);
        const [a, b] = cpus.lock(kind) as Pair;
        a.write.tryEnter();
        expect(cpus.bury(0, 1)).to.equal(1);
        expect(b.write.held).to.equal(false);
        expect(b.write.tryEnter()).to.equal(true);
        b.write.exit();
      });

      it('goes to a waiter when its CPU has died', async () => {
        const cpus = new PlayedCpus(3);
        const [a, b] = cpus.lock(kind) as Three;
        const ran: string[] = [];
        a.write.tryEnter();
        wait(ran, b.write, 'b');
        cpus.bury(0, 2);
        cpus.settle();
        await settled();
        expect(ran).to.deep.equal(['b']);
      });

      it('is not offered to a CPU that died while it waited', async () => {
        const cpus = new PlayedCpus(3);
        const [a, b, c] = cpus.lock(kind) as Three;
        const ran: string[] = [];
        a.write.tryEnter();
        wait(ran, b.write, 'b');
        wait(ran, c.write, 'c');
        expect(cpus.bury(1, 0)).to.equal(0);
        a.write.exit();
        cpus.settle();
        await settled();
        expect(ran).to.deep.equal(['c']);
      });

      it('is passed on if it was on its way to a dead CPU', async () => {
        const cpus = new PlayedCpus(3);
        const [a, b, c] = cpus.lock(kind) as Three;
        const ran: string[] = [];
        a.write.tryEnter();
        wait(ran, b.write, 'b');
        wait(ran, c.write, 'c');
        a.write.exit();
        expect(cpus.bury(1, 0)).to.equal(1);
        cpus.settle();
        await settled();
        expect(ran).to.deep.equal(['c']);
      });

      const last = kind === RW || kind === RM ? ['reads', 'writes'] : ['writes'];
      for (const what of last) {
        it(`outlives a CPU that dies at any step while it ${what}, waits or withdraws`, async () => {
          const side = what === 'reads' ? 'read' : 'write';
          const acts: [name: string, act: (a: Sides) => void][] = [
            ['enters', (a) => void a[side].tryEnter()],
            ['waits', (a) => wait([], a[side], 'dead')],
            [
              'runs a continuation, or waits and withdraws',
              (a) => {
                const lab = new Lab();
                const kc = lab.sync('dead', { lock: a[side] });
                kc.schedule(0);
                lab.clock.tick(0);
                kc.stop();
              },
            ],
            [
              'enters and exits',
              (a) => {
                if (a[side].tryEnter()) a[side].exit();
              },
            ],
          ];
          const befores: [name: string, before: (all: Three, ran: string[]) => void][] = [
            ['nobody else', () => undefined],
            ['b holds it', ([, b]) => void b.write.tryEnter()],
            ['b reads', ([, b]) => void b.read.tryEnter()],
            [
              'b reads, c waits',
              ([, b, c], ran) => {
                b.read.tryEnter();
                wait(ran, c.write, 'c');
              },
            ],
            [
              'b holds it, both wait',
              ([, b, c], ran) => {
                b.write.tryEnter();
                wait(ran, b.read, 'b');
                wait(ran, c.read, 'c');
              },
            ],
          ];
          let deaths = 0;
          for (const [named, act] of acts) {
            for (const [situation, before] of befores) {
              let died = true;
              for (let steps = 0; died; steps++) {
                const cpus = new PlayedCpus(3);
                const all = cpus.lock(kind) as Three;
                const ran: string[] = [];
                before(all, ran);
                const waiting = situation.includes('both')
                  ? 2
                  : situation.includes('waits')
                    ? 1
                    : 0;
                died = dieAfter(steps, () => act(all[0]));
                if (!died) break;
                deaths++;
                await expectSound(cpus, all, ran, waiting, `${named} when ${situation}: ${steps}`);
              }
            }
          }
          expect(deaths).to.be.greaterThan(20);
        });

        it(`outlives a CPU that dies at any step while it gives it up (${what})`, async () => {
          const side = what === 'reads' ? 'read' : 'write';
          const befores: [waiting: number, before: (all: Three, ran: string[]) => void][] = [
            [0, () => undefined],
            [1, ([, b], ran) => wait(ran, b.write, 'b')],
            [1, ([, b], ran) => wait(ran, b.read, 'b')],
            [
              2,
              ([, b, c], ran) => {
                wait(ran, c.write, 'c');
                wait(ran, b.read, 'b');
              },
            ],
            [
              2,
              ([, b, c], ran) => {
                wait(ran, b.write, 'b');
                wait(ran, c.write, 'c');
              },
            ],
          ];
          let deaths = 0;
          for (const [waiting, before] of befores) {
            let died = true;
            for (let steps = 0; died; steps++) {
              const cpus = new PlayedCpus(3);
              const all = cpus.lock(kind) as Three;
              const ran: string[] = [];
              all[0][side].tryEnter();
              before(all, ran);
              died = dieAfter(steps, () => all[0][side].exit());
              if (died) {
                deaths++;
                await expectSound(
                  cpus,
                  all,
                  ran,
                  waiting - ran.length,
                  `${waiting} wait: ${steps}`,
                );
              }
            }
          }
          expect(deaths).to.be.greaterThan(8);
        });
      }
    });
  }

  /** CPU 0 is dead: b and c release what they have, and every waiter gets its turn. */
  async function expectSound(
    cpus: PlayedCpus,
    [, b, c]: Three,
    ran: string[],
    waiting: number,
    what: string,
  ): Promise<void> {
    cpus.bury(0, 1);
    for (let rounds = 0; rounds < 8; rounds++) {
      cpus.settle();
      await settled();
      for (const { read, write } of [b, c]) {
        for (const side of [read, write]) {
          try {
            side.exit();
          } catch {
            // CPU 0 did not hold it.
          }
        }
      }
    }
    expect(ran.length, what).to.equal(waiting);
    expect([b.write.held, c.write.held, b.read.held], what).to.deep.equal([false, false, false]);
    expect(c.write.tryEnter(), what).to.equal(true);
    expect(b.write.tryEnter(), what).to.equal(false);
    c.write.exit();
  }
});

for (const kind of [RW, RM] as const) {
  describe(`${NAMES[kind]} between CPUs`, () => {
    it('has readers on several CPUs at once', () => {
      const [a, b] = new PlayedCpus(2).lock(kind) as Pair;
      expect([a.read.tryEnter(), b.read.tryEnter()]).to.deep.equal([true, true]);
      expect([a.write.tryEnter(), b.write.tryEnter()]).to.deep.equal([false, false]);
      a.read.exit();
      expect([a.read.held, a.write.tryEnter()]).to.deep.equal([true, false]);
      b.read.exit();
      expect([a.read.held, a.write.tryEnter()]).to.deep.equal([false, true]);
      a.write.exit();
    });

    it('lets a writer in when the last reader on another CPU has left, and no new reader before that', async () => {
      const cpus = new PlayedCpus(3);
      const [a, b, c] = cpus.lock(kind) as Three;
      const ran: string[] = [];
      a.read.tryEnter();
      b.read.tryEnter();
      wait(ran, c.write, 'c');
      expect([a.read.tryEnter(), b.read.tryEnter(), c.read.tryEnter()]).to.deep.equal([
        false,
        false,
        true,
      ]);
      c.read.exit();
      a.read.exit();
      cpus.settle();
      await settled();
      expect(ran).to.deep.equal([]);
      b.read.exit();
      cpus.settle();
      await settled();
      expect(ran).to.deep.equal(['c']);
    });

    it('lets the readers that wait in between two writers', async () => {
      const cpus = new PlayedCpus(3);
      const [a, b, c] = cpus.lock(kind) as Three;
      const ran: string[] = [];
      a.write.tryEnter();
      wait(ran, b.write, 'writer b');
      wait(ran, c.read, 'reader c');
      wait(ran, c.read, 'reader c');
      a.write.exit();
      cpus.settle();
      await settled();
      expect(ran.splice(0)).to.deep.equal(['reader c', 'reader c']);
      c.read.exit();
      c.read.exit();
      cpus.settle();
      await settled();
      expect(ran).to.deep.equal(['writer b']);
    });

    it('lets in readers that waited for a writer that gave up, beside the readers inside', async () => {
      const cpus = new PlayedCpus(2);
      const [a, b] = cpus.lock(kind) as Pair;
      const ran: string[] = [];
      const abort = new AbortController();
      a.read.tryEnter();
      wait(ran, b.write, 'b', abort.signal);
      wait(ran, a.read, 'a');
      await settled();
      expect(ran).to.deep.equal([]);
      abort.abort();
      cpus.settle();
      await settled();
      expect(ran.toSorted()).to.deep.equal(['a', 'b aborted']);
    });

    it('goes to a writer when a reader on another CPU dies', async () => {
      const cpus = new PlayedCpus(3);
      const [a, b] = cpus.lock(kind) as Three;
      const ran: string[] = [];
      a.read.tryEnter();
      wait(ran, b.write, 'b');
      expect(cpus.bury(0, 2)).to.equal(1);
      cpus.settle();
      await settled();
      expect(ran).to.deep.equal(['b']);
    });
  });
}

describe('any order of events at a lock between CPUs', function () {
  this.timeout(60_000 * soak);

  const CPUS = 3;
  type Event = {
    cpu: number;
    side: 'read' | 'write';
    do: 'try' | 'wait' | 'exit' | 'abort' | 'hear';
  };
  const event = fc.record<Event>({
    cpu: fc.nat(CPUS - 1),
    side: fc.constantFrom('read', 'write'),
    do: fc.constantFrom('try', 'wait', 'wait', 'exit', 'exit', 'exit', 'abort', 'hear', 'hear'),
  });

  for (const kind of KINDS) {
    it(`excludes, loses no waiter and ends free: ${NAMES[kind]}`, async () => {
      const shared = kind === RW || kind === RM;
      await fc.assert(
        fc.asyncProperty(fc.array(event, { maxLength: 60, size: 'max' }), async (events) => {
          const cpus = new PlayedCpus(CPUS);
          const all = cpus.lock(kind);
          const inside = all.map(() => ({ read: 0, write: 0 }));
          const aborts: AbortController[] = [];
          let waiting = 0;

          const check = (): void => {
            const writers = inside.reduce((sum, { write }) => sum + write, 0);
            const readers = inside.reduce((sum, { read }) => sum + read, 0);
            if (writers > 1 || (writers === 1 && readers > 0)) {
              throw new Error(`${writers} writers, ${readers} readers`);
            }
          };
          for (const { cpu, side: asked, do: what } of events) {
            const side = shared ? asked : 'write';
            const lock = (all[cpu] as Sides)[side];
            const mine = inside[cpu] as { read: number; write: number };
            if (what === 'hear') cpus.hear(cpu);
            else if (what === 'abort') aborts.shift()?.abort();
            else if (what === 'try') {
              if (lock.tryEnter()) mine[side]++;
            } else if (what === 'wait') {
              const abort = new AbortController();
              aborts.push(abort);
              waiting++;
              lock.enter({ signal: abort.signal }).then(
                () => {
                  waiting--;
                  mine[side]++;
                },
                () => waiting--,
              );
            } else if (mine[side] > 0) {
              mine[side]--;
              lock.exit();
            }
            // Grants are visible after the promises have settled.
            await soon;
            await soon;
            check();
          }
          for (let idle = 0; idle < 3;) {
            cpus.settle();
            await soon;
            await soon;
            check();
            const at = inside.findIndex(({ read, write }) => read + write > 0);
            const mine = inside[at];
            if (mine === undefined) {
              idle++;
              continue;
            }
            idle = 0;
            const side = mine.write > 0 ? 'write' : 'read';
            mine[side]--;
            (all[at] as Sides)[side].exit();
          }
          expect(waiting, 'still waiting').to.equal(0);
          for (const { read, write } of all) {
            expect([read.held, write.held]).to.deep.equal([false, false]);
          }
          expect(cpus.keptAlive).to.deep.equal([false, false, false]);
        }),
        { numRuns: 500 * soak },
      );
    });
  }
});

describe('the layout of a lock', () => {
  it("keeps the words of an RMLock's readers 64 bytes from those of every other CPU", async () => {
    const { LockProtocol } = await import('../../../lib/cpu/locks/protocol.ts');
    const [first] = new PlayedCpus(1).arenas;
    if (first === undefined) throw new Error('no CPU');
    const at = first.allocate(RM);
    const next = first.allocate(MUTEX);
    const words = new LockProtocol(first, at, RM);
    const presences = Array.from({ length: 32 }, (_, cpu) => words.presenceOf(cpu) * 4);
    const others = [at, at + 5, words.slotOf(31), next].map((word) => word * 4);
    for (const [cpu, byte] of presences.entries()) {
      for (const other of [...others, ...presences.toSpliced(cpu, 1)]) {
        expect(Math.abs(byte - other)).to.be.at.least(64);
      }
    }
  });

  it('packs the presences of an RWLock', async () => {
    const { LockProtocol } = await import('../../../lib/cpu/locks/protocol.ts');
    const [first] = new PlayedCpus(1).arenas;
    if (first === undefined) throw new Error('no CPU');
    const words = new LockProtocol(first, first.allocate(RW), RW);
    expect(words.presenceOf(31) - words.presenceOf(0)).to.equal(31);
  });
});
