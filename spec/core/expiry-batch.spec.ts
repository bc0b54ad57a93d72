import { expect } from 'chai';
import fc from 'fast-check';
import { nothing } from '../../lib/base/nothing.ts';
import { Kcont, Kernel, VirtualClock } from '../../lib/index.ts';
import { FAR, TICKS_PER_MS } from '../../lib/time/timing-wheel.ts';

type Op = 'timer' | 'later' | 'touch' | 'stop' | 'job' | 'collect' | 'run';

interface Step {
  readonly op: Op;
  readonly at: number;
  readonly queue: number;
  readonly ticks: number;
}

/** Does what `touch` does: the timer keeps its sequence number and its slot. */
function moveOutward(kc: Kcont<number>, ticks: number): void {
  if (kc._due + ticks < FAR) kc._due += ticks;
}

/** Collects timers of three priorities as a pass does after a stall, without calling their functions. */
class Program {
  readonly ran: string[] = [];
  readonly #queues;
  readonly #dispatcher;
  readonly #kcs: Kcont<number>[] = [];
  #tick: number;
  #jobTick = 0;

  constructor(batches: boolean) {
    const { wq } = new Kernel({ clock: new VirtualClock() });
    this.#queues = [wq.softnet, wq.softclock, wq.prilow];
    this.#dispatcher = wq.softclock._dispatcher;
    this.#dispatcher.collector.batches = batches;
    this.#tick = this.#dispatcher.wheel.tick;
  }

  step({ op, at, queue, ticks }: Step): void {
    const { collector } = this.#dispatcher;
    const kc = this.#kcs[at % Math.max(this.#kcs.length, 1)];
    if (op === 'collect') collector.collect((this.#tick += ticks));
    else if (op === 'run') this.run();
    else if (op === 'timer') this.timer(queue, ticks);
    else if (op === 'job') this.#job(queue, ticks);
    else if (op === 'stop') kc?.stop();
    else if (kc?.pending !== true) return;
    else if (op === 'touch') moveOutward(kc, ticks);
    else kc.schedule((this.#dispatcher.wheel.dueTick(kc) + ticks) / TICKS_PER_MS);
  }

  timer(queue: number, ticks: number): Kcont<number> {
    const kc = this.#create(queue);
    // The virtual clock stands still, while the wheel advances.
    kc.schedule((this.#dispatcher.wheel.tick + ticks) / TICKS_PER_MS);
    return kc;
  }

  #job(queue: number, ticks: number): void {
    const kc = this.#create(queue);
    kc.schedule();
    this.#jobTick = Math.max(this.#jobTick, this.#dispatcher.wheel.tick + (ticks % 64));
    kc._due = this.#jobTick - this.#dispatcher.wheel.base;
  }

  #create(queue: number): Kcont<number> {
    const kc = new Kcont(this.#queues[queue]!, null, nothing, this.#kcs.length);
    this.#kcs.push(kc);
    return kc;
  }

  /** Takes all from the run queue. */
  run(): string[] {
    const { runq } = this.#dispatcher;
    for (let kc = runq.shift(); kc !== undefined; kc = runq.shift()) {
      kc._prev = kc;
      kc._state = 0;
      this.ran.push(`${kc._wq.name} ${String(kc._arg)}@${kc._due}`);
    }
    return this.ran;
  }
}

const step = fc.record({
  op: fc.constantFrom<Op>(
    'timer',
    'timer',
    'timer',
    'later',
    'touch',
    'touch',
    'stop',
    'job',
    'collect',
    'run',
  ),
  at: fc.nat(31),
  queue: fc.nat(2),
  ticks: fc.oneof(
    fc.constantFrom(1, 2, 63, 64, 65, 127, 128, 4095, 4096, 4097, 8192, 2 ** 18, 2 ** 30),
    fc.nat(200).map((ticks) => ticks + 1),
  ),
});

describe('ExpiryBatch', () => {
  it('has timers expire in the order in which they expire one by one', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const [batched, single] = [new Program(true), new Program(false)];
        for (const program of [batched, single]) {
          for (const next of steps) program.step(next);
          program.step({ op: 'collect', at: 0, queue: 0, ticks: 9000 });
        }
        expect(batched.run()).to.deep.equal(single.run());
      }),
      { numRuns: 300 },
    );
  });

  it('sorts by priority, then by tick, then by the order of the calls', () => {
    const program = new Program(true);
    for (const [queue, ticks] of [
      [1, 5000],
      [0, 4200],
      [1, 4999],
      [2, 4100],
      [1, 5000],
      [0, 4199],
    ] as const) {
      program.timer(queue, ticks);
    }
    program.step({ op: 'collect', at: 0, queue: 0, ticks: 6000 });
    expect(program.run()).to.deep.equal([
      'softnet 5@4199',
      'softnet 1@4200',
      'softclock 2@4999',
      'softclock 0@5000',
      'softclock 4@5000',
      'prilow 3@4100',
    ]);
  });

  it('leaves timers in the wheel that are not due, or have been moved to another slot', () => {
    const program = new Program(true);
    program.timer(1, 4200);
    program.timer(1, 6001);
    program.timer(1, 4300).schedule(9000 / TICKS_PER_MS);
    program.step({ op: 'collect', at: 0, queue: 0, ticks: 6000 });
    expect(program.run()).to.deep.equal(['softclock 0@4200']);
    program.step({ op: 'collect', at: 0, queue: 0, ticks: 4000 });
    expect(program.run().slice(1)).to.deep.equal(['softclock 1@6001', 'softclock 2@9000']);
  });

  it('sorts the timers of a tick whose deadlines were moved outward', () => {
    const program = new Program(true);
    const [first, second] = [program.timer(1, 100), program.timer(1, 200)];
    program.timer(1, 5000);
    moveOutward(second, 4800);
    moveOutward(first, 4900);
    program.timer(1, 4999);
    program.step({ op: 'collect', at: 0, queue: 0, ticks: 300 });
    program.step({ op: 'collect', at: 0, queue: 0, ticks: 6000 });
    expect(program.run()).to.deep.equal([
      'softclock 3@4999',
      'softclock 0@5000',
      'softclock 1@5000',
      'softclock 2@5000',
    ]);
  });

  it('puts jobs that became runnable before a timer ahead of it', () => {
    const program = new Program(true);
    program.timer(1, 100);
    program.timer(1, 80);
    program.step({ op: 'collect', at: 0, queue: 0, ticks: 1 });
    program.step({ op: 'job', at: 0, queue: 1, ticks: 63 });
    program.step({ op: 'collect', at: 0, queue: 0, ticks: 9 });
    program.step({ op: 'collect', at: 0, queue: 0, ticks: 10 });
    program.step({ op: 'collect', at: 0, queue: 0, ticks: 6 });
    program.step({ op: 'job', at: 0, queue: 1, ticks: 60 });
    program.step({ op: 'collect', at: 0, queue: 0, ticks: 200 });
    expect(program.run()).to.deep.equal([
      'softclock 2@64',
      'softclock 1@80',
      'softclock 3@86',
      'softclock 0@100',
    ]);
  });
});
