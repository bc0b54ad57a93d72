// Fake timers of all kinds are installed and removed in one process: what is scheduled before, during and
// after this runs by the time of the current globals.

import { mock } from 'node:test';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import sinon from 'sinon';
import { HostClock } from '../../lib/time/host-clock.ts';
import { restartTimerFrom } from '../../lib/core/schedule.ts';
import { Kcont, Kernel } from '../../lib/index.ts';
import { runLate, runModule } from '../support/child.ts';
import { byHand, kinds, ofNode, ofSinon, type Installed, type Kind } from '../support/fakes.ts';

const realTimeout = setTimeout;

/** Waits in real time until `count` have run. */
async function until(ran: readonly string[], count: number): Promise<void> {
  while (ran.length < count) {
    await new Promise((resolve) => {
      realTimeout(resolve, 1);
    });
  }
}

/** Kinds that do not affect kernels on the host. */
const apart: Kind[] = [
  ofSinon(['setImmediate']),
  ofSinon(['Date', 'performance', 'hrtime']),
  ofNode(['setImmediate']),
  ofNode(['setInterval', 'Date']),
];

/** A kernel, and a record of what ran on it. */
class Lab {
  readonly kernel: Kernel = new Kernel();
  readonly ran: string[] = [];
  #now = -Infinity;

  make(name: string): Kcont<string> {
    const { ran } = this;
    return new Kcont(this.kernel.wq.softclock, null, (arg: string) => void ran.push(arg), name);
  }

  schedule(name: string, ms: number): Kcont<string> {
    const kc = this.make(name);
    kc.schedule(ms);
    return kc;
  }

  /** Reads the clock, and checks that it does not go back. */
  now(): number {
    const now = this.kernel.now();
    expect(now).to.be.at.least(this.#now);
    this.#now = now;
    return now;
  }
}

/** Installs fakes for the duration of a synchronous test. */
function under<T>(kind: Kind, body: (fakes: Installed) => T): T {
  const fakes = kind.install();
  try {
    return body(fakes);
  } finally {
    fakes.restore();
  }
}

describe('fake timers', function () {
  this.timeout(60_000);

  for (const kind of kinds) {
    describe(kind.name, () => {
      it('run a continuation after tick(1000), and not after tick(999)', () => {
        const lab = new Lab();
        under(kind, ({ tick }) => {
          lab.schedule('a', 1000);
          tick(999);
          expect(lab.ran).to.deep.equal([]);
          tick(1);
          expect(lab.ran).to.deep.equal(['a']);
        });
      });

      it('run each of many timers at its ms, by deadline, in steps and at once', () => {
        const lab = new Lab();
        under(kind, ({ tick }) => {
          for (const ms of [700, 64, 4097, 65, 300, 64]) lab.schedule(String(ms), ms);
          tick(63);
          expect(lab.ran).to.deep.equal([]);
          tick(1);
          expect(lab.ran).to.deep.equal(['64', '64']);
          lab.schedule('late', 235);
          tick(235);
          expect(lab.ran).to.deep.equal(['64', '64', '65', 'late']);
          tick(10_000);
          expect(lab.ran.slice(4)).to.deep.equal(['300', '700', '4097']);
        });
      });

      it('count from the touch and from the last schedule', () => {
        const lab = new Lab();
        under(kind, ({ tick }) => {
          const touched = lab.schedule('touched', 1000);
          const again = lab.schedule('again', 1000);
          const sooner = lab.schedule('sooner', 1000);
          tick(600);
          touched.touch();
          again.schedule(1000);
          sooner.schedule(100);
          tick(100);
          expect(lab.ran).to.deep.equal(['sooner']);
          tick(899);
          expect(lab.ran).to.deep.equal(['sooner']);
          tick(1);
          expect(lab.ran).to.deep.equal(['sooner', 'touched', 'again']);
        });
      });

      it('follow a deadline that is moved because it was estimated', () => {
        const lab = new Lab();
        under(kind, ({ tick }) => {
          const kc = lab.schedule('a', 1000);
          restartTimerFrom(kc, lab.now() + 2);
          tick(1001);
          expect(lab.ran).to.deep.equal([]);
          tick(1);
          expect(lab.ran).to.deep.equal(['a']);
        });
      });

      it('do not run what was stopped, and let runAll() end', () => {
        const lab = new Lab();
        under(kind, ({ runAll }) => {
          lab.schedule('a', 1000);
          lab.schedule('stopped', 500).stop();
          lab.schedule('at once', 5).schedule();
          let times = 0;
          const kc: Kcont<null> = new Kcont(
            lab.kernel.wq.prilow,
            null,
            () => {
              lab.ran.push('again');
              if (times++ < 2) kc.reset(700);
            },
            null,
          );
          kc.schedule(700);
          for (let turns = 0; turns < 5; turns++) runAll();
          const names = lab.ran.filter((name) => name !== 'at once');
          expect(names.toSorted()).to.deep.equal(['a', 'again', 'again', 'again']);
          expect(lab.kernel.inspect().pending).to.equal(0);
        });
      });

      it('run a continuation whose delay is longer than that of a host timer', () => {
        const lab = new Lab();
        under(kind, ({ tick }) => {
          lab.schedule('far', 2 ** 33 + 5);
          // In node:test, a timer that is set during a tick counts from the end of that tick.
          for (let longest = 0; longest < 4; longest++) tick(2 ** 31 - 1);
          tick(8);
          expect(lab.ran).to.deep.equal([]);
          tick(1);
          expect(lab.ran).to.deep.equal(['far']);
        });
      });

      it('round fractions up', () => {
        const lab = new Lab();
        under(kind, ({ tick }) => {
          lab.schedule('a', 0.25);
          lab.schedule('b', 1.5);
          tick(1);
          expect(lab.ran).to.deep.equal(['a']);
          tick(1);
          expect(lab.ran).to.deep.equal(['a', 'b']);
        });
      });

      it('have no timers left when everything is stopped', () => {
        const lab = new Lab();
        under(kind, () => {
          const clock = (setTimeout as { clock?: { countTimers(): number } }).clock;
          const kc = lab.schedule('a', 1000);
          kc.touch();
          kc.schedule(2000);
          expect(clock?.countTimers() ?? 1).to.equal(1);
          kc.stop();
          expect(clock?.countTimers() ?? 0).to.equal(0);
        });
      });

      it('are followed by real time, even if nothing else happens', async () => {
        const lab = new Lab();
        lab.schedule('before', 20);
        lab.now();
        const fakes = kind.install();
        try {
          lab.schedule('under', 40);
          lab.schedule('soon', 0);
          lab.now();
          fakes.tick(5);
        } finally {
          fakes.restore();
        }
        await until(lab.ran, 3);
        lab.now();
        expect(lab.ran.toSorted()).to.deep.equal(['before', 'soon', 'under']);
        lab.schedule('after', 5);
        lab.schedule('and soon', 0);
        await until(lab.ran, 5);
        expect(lab.ran.slice(3)).to.deep.equal(['and soon', 'after']);
      });

      it('may be installed unnoticed: what was due before runs in real time', async () => {
        const lab = new Lab();
        lab.schedule('before', 10);
        // The host's timer is armed.
        await new Promise((resolve) => {
          setImmediate(() => setImmediate(resolve));
        });
        const fakes = kind.install();
        try {
          await until(lab.ran, 1);
          expect(lab.ran).to.deep.equal(['before']);
        } finally {
          fakes.restore();
        }
      });

      it('run what is runnable and what functions schedule', () => {
        const lab = new Lab();
        const { wq } = lab.kernel;
        under(kind, ({ tick }) => {
          new Kcont(wq.softnet, null, () => void lab.schedule('inner', 10), null).schedule(5);
          lab.schedule('job', 0);
          tick(5);
          expect(lab.ran).to.deep.equal(['job']);
          tick(9);
          expect(lab.ran).to.deep.equal(['job']);
          tick(1);
          expect(lab.ran).to.deep.equal(['job', 'inner']);
        });
      });

      it('may be advanced by a continuation', () => {
        const lab = new Lab();
        const { wq } = lab.kernel;
        under(kind, ({ tick }) => {
          lab.schedule('b', 20);
          const seen: boolean[] = [];
          const outer = new Kcont(
            wq.prilow,
            null,
            () => {
              tick(15);
              seen.push(outer.running);
              void outer.halt().catch(() => seen.push(true));
              lab.ran.push('outer');
            },
            null,
          );
          outer.schedule(10);
          tick(10);
          expect(lab.ran).to.deep.equal(['b', 'outer']);
          expect(seen).to.deep.equal([true]);
          expect(outer.running).to.equal(false);
        });
      });
    });
  }

  for (const kind of apart) {
    it(`do not affect kernels on the host: ${kind.name}`, async () => {
      const lab = new Lab();
      const fakes = kind.install();
      try {
        lab.schedule('timer', 10);
        lab.schedule('job', 0);
        await until(lab.ran, 2);
        expect(lab.ran).to.deep.equal(['job', 'timer']);
      } finally {
        fakes.restore();
      }
    });
  }

  it('may follow each other and be nested; time never goes back', async () => {
    const lab = new Lab();
    const names: string[] = [];
    for (const kind of [...kinds, ...kinds.toReversed()]) {
      const fakes = kind.install();
      lab.now();
      lab.schedule(kind.name, 100);
      names.push(kind.name);
      fakes.tick(50);
      lab.now();
      fakes.tick(50);
      lab.now();
      fakes.restore();
      lab.now();
    }
    expect(lab.ran).to.deep.equal(names);
    // Those of sinon that leave Date alone can be installed over others.
    const outer = ofNode(['setTimeout', 'Date']).install();
    lab.schedule('outer', 100);
    outer.tick(40);
    const inner = ofSinon(['setTimeout', 'clearTimeout']).install();
    lab.schedule('inner', 30);
    inner.tick(30);
    inner.restore();
    lab.now();
    outer.restore();
    expect(lab.ran.slice(names.length)).to.deep.equal(['inner']);
    await until(lab.ran, names.length + 2);
    expect(lab.ran.slice(names.length)).to.deep.equal(['inner', 'outer']);
  });

  it('may include a Date that does not go with them', () => {
    const lab = new Lab();
    under(ofNode(['setTimeout', 'Date']), () =>
      under(byHand(), ({ tick }) => {
        lab.schedule('a', 65);
        tick(64);
        lab.schedule('b', 20);
        tick(1);
        expect(lab.ran).to.deep.equal(['a']);
        tick(18);
        expect(lab.ran).to.deep.equal(['a']);
        tick(1);
        expect(lab.ran).to.deep.equal(['a', 'b']);
      }),
    );
  });

  it('may include a performance of their own, or meet that of others', () => {
    const lab = new Lab();
    const run = (name: string, tick: (ms: number) => void): void => {
      lab.schedule(name, 100);
      tick(99);
      expect(lab.ran).not.to.include(name);
      tick(1);
      expect(lab.ran).to.include(name);
    };
    under(byHand(), ({ tick }) => {
      const before = Object.getOwnPropertyDescriptor(globalThis, 'performance') ?? {};
      let now = 7.5;
      Object.defineProperty(globalThis, 'performance', {
        configurable: true,
        writable: true,
        value: { now: () => now },
      });
      try {
        run('own', (ms) => {
          now += ms;
          tick(ms);
        });
      } finally {
        Object.defineProperty(globalThis, 'performance', before);
      }
    });
    under(ofSinon(['performance']), () => under(byHand(), ({ tick }) => run('of others', tick)));
    under(ofSinon(['Date']), () => under(byHand(), ({ tick }) => run('and a Date', tick)));
  });

  it('are noticed in the middle of a dense burst of calls', () => {
    const lab = new Lab();
    const touched = lab.schedule('touched', 500);
    lab.schedule('stopped', 100).stop();
    for (let call = 0; call < 60; call++) touched.touch();
    under(ofSinon(undefined), ({ tick }) => {
      lab.schedule('a', 1000);
      touched.stop();
      tick(999);
      expect(lab.ran).to.deep.equal([]);
      tick(1);
      expect(lab.ran).to.deep.equal(['a']);
    });
  });

  it('are not confused with a wrapper of the host, where bursts are as cheap', () => {
    const lab = new Lab();
    const before = globalThis.setTimeout;
    const wrapper = ((...args: Parameters<typeof before>) =>
      before(...args)) as unknown as typeof setTimeout;
    globalThis.setTimeout = wrapper;
    try {
      const kc = lab.schedule('a', 500);
      const from = lab.now();
      for (let call = 0; call < 60; call++) kc.touch();
      expect(kc.deadline).to.be.within(from + 500, lab.now() + 502);
      kc.stop();
    } finally {
      globalThis.setTimeout = before;
    }
  });

  it('are asked once per job, even after other fakes were installed over them', () => {
    const lab = new Lab();
    under(ofNode(['setTimeout', 'setImmediate', 'Date']), ({ tick }) => {
      lab.schedule('job', 0);
      under(byHand(), () => lab.now());
      tick(1);
      tick(1);
      expect(lab.ran).to.deep.equal(['job']);
    });
  });

  it('may return undefined', () => {
    const lab = new Lab();
    const before = globalThis.setTimeout;
    globalThis.setTimeout = (() => null) as unknown as typeof setTimeout;
    try {
      const kc = lab.schedule('a', 500);
      kc.touch();
      expect(kc.stop()).to.equal(false);
    } finally {
      globalThis.setTimeout = before;
    }
  });

  it('may go back in time', () => {
    const lab = new Lab();
    under(ofNode(['setTimeout', 'Date'], 5000), ({ tick }) => {
      lab.schedule('a', 1000);
      const before = lab.now();
      mock.timers.setTime(0);
      expect(lab.now()).to.equal(before);
      mock.timers.setTime(5000);
      tick(1000);
      expect(lab.ran).to.deep.equal(['a']);
      lab.now();
    });
  });
});

describe('a clock that does not obey fakes', () => {
  it('continues in real time', async () => {
    const kernel = new Kernel({ clock: new HostClock(false) });
    const ran: string[] = [];
    const make = (name: string, ms: number): boolean =>
      new Kcont(kernel.wq.softclock, null, () => void ran.push(name), null).schedule(ms);
    make('before', 5);
    const fakes = sinon.useFakeTimers();
    try {
      make('under', 10);
      make('soon', 0);
      fakes.tick(1000);
      expect(ran).to.deep.equal([]);
      await until(ran, 3);
      expect(ran).to.deep.equal(['soon', 'before', 'under']);
    } finally {
      fakes.restore();
    }
  });
});

describe('kcont imported while fakes are installed', function () {
  this.timeout(60_000);

  /** Prints what ran after each tick, and in real time afterwards; then real `performance.now()` counts. */
  const program = (install: string, tick: string, restore: string): string => `
    const realTimeout = setTimeout;
    ${install}
    const { Kcont, Kernel, VirtualClock, kernel, wq } = await load();
    const ran = [];
    const schedule = (name, ms) => new Kcont(wq.softclock, null, () => ran.push(name), null).schedule(ms);
    schedule('a', 1000); schedule('rest', 1020);
    ${tick}(999); console.log('999', ran.join());
    ${tick}(1); console.log('1000', ran.join());
    const virtual = new VirtualClock();
    const before = kernel.now();
    ${restore}
    const seen = setTimeout === realTimeout;
    while (ran.length < 2) await new Promise((resolve) => realTimeout(resolve, 1));
    console.log(seen, ran.join(), kernel.now() >= before);
    const from = performance.now();
    await new Promise((resolve) => new Kcont(wq.prilow, null, resolve, null).schedule(20));
    console.log(performance.now() - from >= 20, await new Kernel({ clock: virtual }).wq.prilow.stats().queued);
    await virtual.advance(5); console.log(virtual.now);
  `;
  const expected = ['999 ', '1000 a', 'true a,rest true', 'true 0', '5'];

  const sinonIs = `const { default: sinon } = await import(${JSON.stringify(import.meta.resolve('sinon'))});`;
  const mockIs = `const { mock } = await import('node:test');`;
  const ways: Record<string, [string, string, string]> = {
    'by sinon, all': [
      `${sinonIs} const clock = sinon.useFakeTimers();`,
      'clock.tick',
      'clock.restore();',
    ],
    'by sinon, setTimeout alone': [
      `${sinonIs} const clock = sinon.useFakeTimers({ toFake: ['setTimeout'] });`,
      'clock.tick',
      'clock.restore();',
    ],
    'by node:test, all': [
      `${mockIs} mock.timers.enable({ apis: ['setTimeout', 'setImmediate', 'Date'] });`,
      'mock.timers.tick',
      'mock.timers.reset();',
    ],
    'by node:test, setTimeout alone': [
      `${mockIs} mock.timers.enable({ apis: ['setTimeout'] });`,
      'mock.timers.tick',
      'mock.timers.reset();',
    ],
  };
  for (const [name, [install, tick, restore]] of Object.entries(ways)) {
    it(`obeys them, and afterwards the host: ${name}`, async () => {
      const { code, out } = await runLate(program(install, tick, restore));
      expect({ code, out }).to.deep.equal({ code: 0, out: expected });
    });
  }
});

describe('fake timers and the process', function () {
  this.timeout(60_000);
  const sinonIs = `const { default: sinon } = await import(${JSON.stringify(import.meta.resolve('sinon'))});`;

  it('keep it alive, once removed, for what was scheduled under them', async () => {
    const { code, out } = await runModule(`
      ${sinonIs}
      const { Kcont, kernel, wq } = kcont;
      const say = (name, ref) => new Kcont(wq.softclock, null, () => console.log(name), null, { ref });
      say('before', true).schedule(10);
      const clock = sinon.useFakeTimers();
      say('under', true).schedule(50);
      say('unref', false).schedule(20);
      say('never', false).schedule(1e6);
      say('job', true).schedule();
      clock.restore();
    `);
    expect({ code, out: out.toSorted() }).to.deep.equal({
      code: 0,
      out: ['before', 'job', 'under', 'unref'],
    });
  });

  it('do not keep it alive while installed, as their own timers do not', async () => {
    const { code, out } = await runModule(`
      ${sinonIs}
      const { Kcont, wq } = kcont;
      sinon.useFakeTimers();
      new Kcont(wq.softclock, null, () => console.log('never'), null).schedule(5);
    `);
    expect({ code, out }).to.deep.equal({ code: 0, out: [] });
  });

  it('are not confused with a function that calls the host: one timer serves all', async () => {
    const { code, out } = await runModule(`
      const inner = setTimeout;
      const { Kcont, wq } = kcont;
      let calls = 0;
      globalThis.setTimeout = function setTimeout(...args) { calls++; return inner.apply(this, args); };
      let ran = 0;
      for (let i = 0; i < 100; i++) {
        new Kcont(wq.softclock, null, () => { if (++ran === 100) console.log(ran, calls); }, null).schedule(10 + i % 3);
      }
    `);
    expect({ code, out }).to.deep.equal({ code: 0, out: ['100 1'] });
  });

  it('are not confused with the global functions of kcont', async () => {
    const { code, out } = await runModule(`
      const { Kcont, wq } = kcont;
      const timers = await import(${JSON.stringify(new URL('../../lib/compat/timers/index.js', import.meta.url).href)});
      globalThis.setTimeout = timers.setTimeout;
      globalThis.setImmediate = timers.setImmediate;
      new Kcont(wq.softclock, null, () => console.log('bare'), null).schedule(5);
      setTimeout(() => console.log('timeout'), 10);
      const inner = setTimeout;
      globalThis.setTimeout = (...args) => inner(...args);
      new Kcont(wq.softclock, null, () => console.log('wrapped'), null).schedule(20);
    `);
    expect({ code, out: out.toSorted() }).to.deep.equal({
      code: 0,
      out: ['bare', 'timeout', 'wrapped'],
    });
  });

  it('may be stubs that call back immediately, or throw', async () => {
    const { code, out } = await runModule(`
      const real = setTimeout;
      const { Kcont, wq } = kcont;
      const say = (name) => new Kcont(wq.softclock, null, () => console.log(name), null);
      globalThis.setTimeout = (func) => { func(); return 0; };
      say('at once').schedule(1e6);
      console.log('scheduled');
      await new Promise((resolve) => real(resolve, 20));
      globalThis.setTimeout = () => { throw new Error('stub'); };
      process.on('uncaughtException', (error) => console.log(error.message));
      say('later').schedule(10);
      globalThis.setTimeout = real;
    `);
    expect({ code, out }).to.deep.equal({
      code: 0,
      out: ['scheduled', 'at once', 'stub', 'later'],
    });
  });

  it('call functions in an empty async context', async () => {
    const { code, out } = await runModule(`
      ${sinonIs}
      const { AsyncLocalStorage } = await import('node:async_hooks');
      const storage = new AsyncLocalStorage();
      const { Kcont, wq } = kcont;
      const clock = sinon.useFakeTimers();
      storage.run('request', () => {
        new Kcont(wq.softclock, null, () => console.log(storage.getStore()), null).schedule(5);
        new Kcont(wq.softclock, null, () => console.log(storage.getStore()), null).schedule();
        clock.tick(5);
      });
      clock.restore();
    `);
    expect({ code, out }).to.deep.equal({ code: 0, out: ['undefined', 'undefined'] });
  });
});
