import { once } from 'node:events';
import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { SharedMutex, SharedRMLock, SharedRWLock } from '../../lib/cpu/index.ts';
import {
  Kcont,
  Kernel,
  Mutex,
  RMLock,
  RWLock,
  type Lock,
  type Workqueue,
} from '../../lib/index.ts';
import { burn } from '../support/busy.ts';
import { elapse, Lab } from '../support/lab.ts';

/** The CPU time of this process, in ms. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

describe('starvation', function () {
  this.timeout(30_000);

  it('of I/O does not happen: an HTTP server answers beside a self-feeding softserial', async () => {
    const kernel = new Kernel({ budgetMs: 2 });
    let fed = 0;
    const feed = new Kcont(
      kernel.wq.softserial,
      null,
      (_, kc) => {
        fed++;
        kc.reset();
      },
      null,
    );
    const server = createServer((_, response) => response.end('ok')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const ask = async (): Promise<number> => {
      const beganMs = cpuMs();
      const request = get({ port, host: '127.0.0.1', agent: false });
      const [response] = await once(request, 'response');
      response.resume();
      await once(response, 'end');
      return cpuMs() - beganMs;
    };
    feed.schedule();
    const tookMs: number[] = [];
    for (let i = 0; i < 100; i++) tookMs.push(await ask());
    feed.destroy();
    server.close();
    expect(fed).to.be.above(1000);
    // A request takes about ten turns, each at most one budget long. CPU time of other processes does not
    // count.
    expect(tookMs.toSorted((a, b) => a - b)[50]).to.be.below(200);
    await kernel.close();
  });

  it('of a low priority ends with its patience: prilow runs beside a saturated prihigh', async () => {
    const kernel = new Kernel({ budgetMs: 1 });
    const patient = kernel.acquire(100, { patienceMs: 20 });
    const ran: string[] = [];
    const hog = new Kcont(
      kernel.wq.prihigh,
      null,
      (_, kc) => {
        burn(0.2);
        kc.reset();
      },
      null,
    );
    hog.schedule();
    const began = performance.now();
    await new Promise<void>((resolve) => {
      let left = 5;
      for (let i = 0; i < 5; i++) {
        new Kcont(
          patient,
          null,
          (name) => {
            ran.push(name);
            if (--left === 0) resolve();
          },
          `low${i}`,
        ).schedule();
      }
    });
    hog.destroy();
    expect(ran).to.deep.equal(['low0', 'low1', 'low2', 'low3', 'low4']);
    expect(performance.now() - began).to.be.at.least(19);
    await kernel.close();
  });
});

const LOCKS: Record<string, () => { flood: Lock; starved: Lock }> = {
  Mutex: () => both(new Mutex()),
  SharedMutex: () => both(new SharedMutex()),
  ...sides('RWLock', () => new RWLock()),
  ...sides('RMLock', () => new RMLock()),
  ...sides('SharedRWLock', () => new SharedRWLock()),
  ...sides('SharedRMLock', () => new SharedRMLock()),
};

function both(lock: Lock): { flood: Lock; starved: Lock } {
  return { flood: lock, starved: lock };
}

function sides(
  name: string,
  make: () => { read: Lock; write: Lock },
): Record<string, () => { flood: Lock; starved: Lock }> {
  return {
    [`the write side of ${name}, of readers,`]: () => {
      const { read, write } = make();
      return { flood: read, starved: write };
    },
    [`the read side of ${name}, of writers,`]: () => {
      const { read, write } = make();
      return { flood: write, starved: read };
    },
    [`the write side of ${name}, of writers,`]: () => both(make().write),
  };
}

describe('starvation of the waiters of', () => {
  let lab: Lab;
  let flooding: boolean;

  beforeEach(() => {
    lab = new Lab();
    flooding = true;
  });

  /** Holds the lock for 4 ms, repeatedly; the next one requests it before the release, or after. */
  function flood(lock: Lock, overlaps: boolean): void {
    const hold = async (): Promise<void> => {
      if (overlaps) void elapse(lab.wq.softclock, 2).then(again);
      lab.ran.push('high');
      await elapse(lab.wq.softclock, 4);
      if (!overlaps) again();
    };
    const again = (): void => {
      if (flooding) new Kcont(lab.wq.prihigh, lock, hold, null).schedule();
    };
    again();
  }

  /** The times at which the low ones were entered. */
  async function watch(): Promise<number[]> {
    const enteredMs: number[] = [];
    for (let atMs = 0; atMs < 400; atMs++) {
      await lab.clock.advance(1);
      while (lab.ran.includes('low')) {
        lab.ran.splice(lab.ran.indexOf('low'), 1);
        enteredMs.push(lab.kernel.now());
      }
    }
    flooding = false;
    await lab.clock.advance(1000);
    return enteredMs;
  }

  for (const [name, make] of Object.entries(LOCKS)) {
    for (const overlaps of [true, false]) {
      const how = overlaps ? 'that queue up' : 'that come one by one';

      it(`${name} by higher priorities ${how} ends with their patience`, async () => {
        const { flood: high, starved } = make();
        const low = lab.kernel.acquire(100, { patienceMs: 50 });
        flood(high, overlaps);
        await lab.clock.advance(1);
        const entered = (): void => void lab.ran.push('low');
        for (let i = 0; i < 3; i++) new Kcont(low, starved, entered, null).schedule();
        const enteredMs = await watch();
        expect(enteredMs).to.have.length(3);
        expect(enteredMs[0]).to.be.within(51, 61);
        // The others have waited as long. Between any two of them a high one has its turn.
        expect(enteredMs[2]).to.be.within(51, 81);
      });
    }
  }

  const MUTEXES: Record<string, () => Lock> = {
    Mutex: () => new Mutex(),
    SharedMutex: () => new SharedMutex(),
    'write side of an RWLock': () => new RWLock().write,
    'write side of a SharedRWLock': () => new SharedRWLock().write,
  };

  for (const [name, make] of Object.entries(MUTEXES)) {
    const low = (lock: Lock, kernel: Kernel = lab.kernel): void => {
      const queue = kernel.acquire(100, { patienceMs: 50 });
      new Kcont(queue, lock, () => void lab.ran.push('low'), null).schedule();
    };

    it(`a ${name} ends even behind awaiting code, which has no patience`, async () => {
      const lock = make();
      flood(lock, true);
      await lab.clock.advance(1);
      void lock.enter({ priority: 100 }).then(() => lock.exit());
      low(lock);
      const [enteredMs] = await watch();
      expect(enteredMs).to.be.within(51, 61);
    });

    it(`a ${name} ends even behind a continuation of infinite patience`, async () => {
      const lock = make();
      flood(lock, true);
      await lab.clock.advance(1);
      const strict = lab.kernel.acquire(100, { patienceMs: Infinity });
      new Kcont(strict, lock, () => void lab.ran.push('strict'), null).schedule();
      low(lock);
      const [enteredMs] = await watch();
      expect(enteredMs).to.be.within(51, 61);
      expect(lab.ran.at(-1)).to.equal('strict');
    });

    for (const overlaps of [true, false]) {
      const how = overlaps ? 'that queue up' : 'that come one by one';
      it(`a ${name} by waiters ${how} ends for a continuation of another kernel too`, async () => {
        const lock = make();
        const other = new Kernel({ clock: lab.clock });
        flood(lock, overlaps);
        await lab.clock.advance(1);
        low(lock);
        low(lock, other);
        const enteredMs = await watch();
        expect(enteredMs).to.have.length(2);
        expect(enteredMs[1]).to.be.within(51, 71);
      });
    }

    for (const [how, take] of Object.entries({
      enter: (lock: Lock): unknown => lock.enter({ priority: 200 }),
      tryEnter: (lock: Lock): unknown => lock.tryEnter(),
    })) {
      it(`a ${name} that code takes repeatedly by ${how} ends`, async () => {
        const lock = make();
        // The heir is woken by each exit, and dispatched after this one.
        const taker: Kcont<null> = new Kcont<null>(
          lab.wq.prihigh,
          null,
          async () => {
            if ((await take(lock)) !== false) {
              await elapse(lab.wq.softclock, 4);
              lock.exit();
            }
            if (flooding) taker.reset();
          },
          null,
        );
        taker.schedule();
        await lab.clock.advance(1);
        low(lock);
        const [enteredMs] = await watch();
        expect(enteredMs).to.be.within(51, 65);
      });
    }
  }

  for (const [name, make] of Object.entries({
    RWLock: () => new RWLock(),
    SharedRWLock: () => new SharedRWLock(),
  })) {
    it(`the read side of ${name}: one reader is promoted, then the waiting writer goes`, async () => {
      const { read, write } = make();
      const queue = lab.kernel.acquire(100, { patienceMs: 20 });
      const reader = (i: number): Kcont<string> =>
        new Kcont(
          queue,
          read,
          async (what: string) => {
            lab.ran.push(what);
            await elapse(lab.wq.softclock, 40 + i);
          },
          `r${i}`,
        );
      const writer = (what: string): Kcont<string> =>
        new Kcont(
          lab.wq.prihigh,
          write,
          async () => {
            lab.ran.push(what);
            await elapse(lab.wq.softclock, 12);
          },
          what,
        );
      writer('w1').schedule();
      writer('w2').schedule();
      writer('w3').schedule();
      for (let i = 1; i <= 4; i++) reader(i).schedule(1);
      writer('w4').schedule(5);
      await lab.clock.advance(1000);
      const ran = lab.ran.join(' ');
      expect(ran).to.match(/^w1 w2 w3 r1 w4/);
      expect(lab.ran).to.have.length(8);
    });
  }

  for (const [name, make] of Object.entries(MUTEXES)) {
    it(`a ${name} ends in order of arrival, even for a continuation that is already the heir`, async () => {
      const lock = make();
      const queue = lab.kernel.acquire(50, { patienceMs: 20 });
      const high: Kcont<null> = new Kcont<null>(
        lab.wq.prihigh,
        lock,
        async () => {
          if (flooding) void elapse(lab.wq.softclock, 1).then(() => high.reset());
          await elapse(lab.wq.softclock, 3);
        },
        null,
      );
      high.schedule();
      await lab.clock.advance(1);
      for (let i = 0; i < 5; i++) {
        const hold = async (what: string): Promise<void> => {
          lab.ran.push(what);
          await elapse(lab.wq.softclock, 3);
        };
        new Kcont(queue, lock, hold, `low ${i}`).schedule();
      }
      await lab.clock.advance(200);
      flooding = false;
      await lab.clock.advance(100);
      expect(lab.ran).to.deep.equal(['low 0', 'low 1', 'low 2', 'low 3', 'low 4']);
    });
  }

  it('a lock does not delay higher priorities that do not want it', async () => {
    const locks = Array.from({ length: 20 }, () => new Mutex());
    const low = lab.kernel.acquire(100, { patienceMs: 20 });
    const note = (what: string): void => void lab.ran.push(what);
    for (const lock of locks) {
      expect(lock.tryEnter()).to.equal(true);
      new Kcont(low, lock, note, 'low').schedule();
      new Kcont(lab.wq.prihigh, lock, note, 'high').schedule();
    }
    await lab.clock.advance(0);
    // All have been passed over by code, and have run out of patience.
    for (let i = 0; i < 2; i++) {
      for (const lock of locks) {
        lock.exit();
        expect(lock.tryEnter()).to.equal(true);
      }
      await lab.clock.advance(50);
    }
    for (const lock of locks) lock.exit();
    new Kcont(lab.wq.softserial, null, note, 'softserial').schedule();
    new Kcont(lab.wq.prihigh, null, note, 'beside').schedule();
    await lab.clock.advance(0);
    const { ran } = lab;
    expect(ran).to.have.length(42);
    // One is promoted per pass; the others run when it is their turn.
    expect(ran[0]).to.equal('softserial');
    const early = ran.slice(0, ran.lastIndexOf('high')).filter((it) => it === 'low');
    expect(early).to.have.length(1);
    expect(ran.slice(0, 23)).to.include('beside');
  });

  for (const [name, make] of Object.entries(MUTEXES)) {
    it(`a ${name} ends for the one that is woken, not for the next one behind it`, async () => {
      // On the host's clock: time passes while the woken one is in the run queue, and others take the lock.
      const kernel = new Kernel({ budgetMs: 1 });
      const lock = make();
      const queue = kernel.acquire(50, { patienceMs: 10 });
      const ran: number[] = [];
      const all = 4;
      const hog: Kcont<null> = new Kcont<null>(
        kernel.wq.prihigh,
        lock,
        () => {
          burn(1);
          if (ran.length < all) hog.reset();
        },
        null,
      );
      await lock.enter();
      for (let i = 0; i < all; i++) {
        new Kcont(queue, lock, (index) => void ran.push(index), i).schedule();
      }
      // They wait for the lock before the others come.
      await new Promise((resolve) => new Kcont(queue, null, resolve, undefined).schedule());
      hog.schedule();
      lock.exit();
      await kernel.drain();
      expect(ran).to.deep.equal([0, 1, 2, 3]);
      await kernel.close();
    });
  }

  it('the write side of an RWLock lets those of higher priority than all before go first', async () => {
    const { read, write } = new RWLock();
    const queue = lab.kernel.acquire(100, { patienceMs: 20 });
    const reader = (wq: Workqueue, what: string, ms: number): Kcont<string> =>
      new Kcont(
        wq,
        read,
        async () => {
          lab.ran.push(what);
          await elapse(lab.wq.softclock, ms);
        },
        what,
      );
    reader(lab.wq.prihigh, 'r1', 60).schedule();
    reader(lab.wq.prihigh, 'r2', 10).schedule();
    const writer = new Kcont(queue, write, (what) => void lab.ran.push(what), 'w');
    writer.schedule(1);
    // Each goes past the writer; when one of them leaves, its patience is over.
    reader(lab.wq.prihigh, 'r3', 10).schedule(5);
    reader(lab.wq.prihigh, 'r4', 10).schedule(25);
    await lab.clock.advance(40);
    // Promoted now, it goes before all readers of that priority, and not before a higher one.
    reader(lab.wq.prihigh, 'r5', 10).schedule();
    new Kcont(lab.wq.softnet, read, (what) => void lab.ran.push(what), 'soft').schedule();
    await lab.clock.advance(100);
    expect(lab.ran).to.deep.equal(['r1', 'r2', 'r3', 'r4', 'soft', 'w', 'r5']);
  });

  it('a lock is forgotten with the one that is stopped when it was to go first', async () => {
    const { read, write } = new RWLock();
    const queue = lab.kernel.acquire(100, { patienceMs: 20 });
    expect([read.tryEnter(), read.tryEnter(), read.tryEnter()]).to.deep.equal([true, true, true]);
    const writer = new Kcont(queue, write, () => void lab.ran.push('w'), null);
    writer.schedule();
    await lab.clock.advance(0);
    for (let i = 0; i < 2; i++) {
      expect(read.tryEnter()).to.equal(true);
      read.exit();
      await lab.clock.advance(30);
    }
    // Readers would queue up behind it.
    const reader = new Kcont(lab.wq.prihigh, read, () => void lab.ran.push('r'), null);
    reader.schedule();
    await lab.clock.advance(0);
    expect(lab.ran).to.deep.equal([]);
    expect(writer.stop()).to.equal(false);
    await lab.clock.advance(0);
    expect(lab.ran).to.deep.equal(['r']);
  });

  it('a lock ends, too, for one that has waited for so long that ticks count from later', async () => {
    const DAY_MS = 86_400_000;
    const lock = new Mutex();
    const queue = lab.kernel.acquire(100, { patienceMs: 20 });
    const note = (what: string): void => void lab.ran.push(what);
    const pass = async (days: number): Promise<void> => {
      for (let day = 0; day < days; day++) {
        new Kcont(lab.wq.softclock, null, () => undefined, null).schedule(DAY_MS);
        await lab.clock.advance(DAY_MS);
      }
    };
    expect(lock.tryEnter()).to.equal(true);
    await pass(11);
    new Kcont(queue, lock, note, 'low').schedule();
    await pass(3);
    new Kcont(lab.wq.prihigh, lock, note, 'high').schedule();
    await lab.clock.advance(0);
    // Passed over from now on.
    for (const ms of [25, 5]) {
      lock.exit();
      expect(lock.tryEnter()).to.equal(true);
      await lab.clock.advance(ms);
    }
    lock.exit();
    await lab.clock.advance(0);
    expect(lab.ran).to.deep.equal(['low', 'high']);
  });

  it('nobody ends for those of endless patience, though others of their priority have less', async () => {
    const kernel = new Kernel({ budgetMs: 1 });
    const ran: string[] = [];
    const strict = kernel.acquire(100, { patienceMs: Infinity });
    kernel.acquire(100, { patienceMs: 5 });
    let turns = 0;
    const hog: Kcont<null> = new Kcont<null>(
      kernel.wq.prihigh,
      null,
      () => {
        burn(1);
        if (turns++ < 30) hog.reset();
        else ran.push('hog');
      },
      null,
    );
    hog.schedule();
    for (let i = 0; i < 3; i++)
      new Kcont(strict, null, () => void ran.push('strict'), null).schedule();
    await kernel.drain();
    expect(ran).to.deep.equal(['hog', 'strict', 'strict', 'strict']);
    await kernel.close();
  });

  it('a priority does not stand behind one of endless patience in the run queue', async () => {
    const kernel = new Kernel({ budgetMs: 1 });
    let isFlooding = true;
    const hog = new Kcont(
      kernel.wq.prihigh,
      null,
      (_, kc) => {
        burn(0.2);
        if (isFlooding) kc.reset();
      },
      null,
    );
    hog.schedule();
    const ran: string[] = [];
    const strict = kernel.acquire(100, { patienceMs: Infinity });
    const patient = kernel.acquire(100, { patienceMs: 5 });
    new Kcont(strict, null, () => void ran.push('strict'), null).schedule();
    await new Promise<void>((resolve) => {
      new Kcont(patient, null, resolve, undefined).schedule();
    });
    expect(ran).to.deep.equal([]);
    isFlooding = false;
    await kernel.drain();
    expect(ran).to.deep.equal(['strict']);
    await kernel.close();
  });

  it('a Mutex leaves high priorities at least every second turn', async () => {
    const lock = new Mutex();
    const low = lab.kernel.acquire(100, { patienceMs: 20 });
    flood(lock, true);
    for (let i = 0; i < 40; i++) {
      const entered = async (): Promise<void> => {
        lab.ran.push('low');
        await elapse(lab.wq.softclock, 4);
      };
      new Kcont(low, lock, entered, null).schedule();
    }
    await lab.clock.advance(200);
    flooding = false;
    const ran = lab.ran.join(' ');
    expect(ran).to.not.include('low low');
    expect(ran).to.include('low high low high low');
    await lab.clock.advance(1000);
    expect(lab.ran.filter((it) => it === 'low')).to.have.length(40);
  });

  it('a Mutex ends only after the patience, and never if it is infinite', async () => {
    const lock = new Mutex();
    flood(lock, true);
    const strict = lab.kernel.acquire(100, { patienceMs: Infinity });
    new Kcont(strict, lock, () => void lab.ran.push('low'), null).schedule();
    expect(await watch()).to.deep.equal([]);
    expect(lab.ran.at(-1)).to.equal('low');
  });

  it('a Mutex that was held for long does not count: the highest priority is next', async () => {
    const lock = new Mutex();
    expect(lock.tryEnter()).to.equal(true);
    const { prilow, prihigh } = lab.wq;
    new Kcont(prilow, lock, () => void lab.ran.push('low'), null).schedule();
    await lab.clock.advance(5000);
    new Kcont(prihigh, lock, () => void lab.ran.push('high'), null).schedule();
    await lab.clock.advance(0);
    lock.exit();
    await lab.clock.advance(0);
    expect(lab.ran).to.deep.equal(['high', 'low']);
  });
});
