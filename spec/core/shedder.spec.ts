import { expect } from 'chai';
import fc from 'fast-check';
import {
  Kcont,
  KcontError,
  Kernel,
  Mutex,
  ShedError,
  VirtualClock,
  type Workqueue,
} from '../../lib/index.ts';
import { Shedder, type Arrival, type Backlog } from '../../lib/core/shedder.ts';
import type { Dispatcher } from '../../lib/core/dispatcher.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { retry } from '../../lib/retry/index.ts';
import { TICKS_PER_MS } from '../../lib/time/timing-wheel.ts';
import { burn } from '../support/busy.ts';
import { codeOf, rejectionOf, soak } from '../support/lab.ts';

/** The code of a KcontError. */
function codeIn(error: unknown): string {
  return error instanceof KcontError ? error.code : String(error);
}

/** A kernel in virtual time, with a workqueue whose functions take 20 ms each, one at a time. */
class Server {
  readonly clock: VirtualClock = new VirtualClock();
  readonly kernel: Kernel = new Kernel({ clock: this.clock });
  readonly wq: Workqueue = this.kernel.acquire(110, {
    name: 'db',
    maxActive: 1,
    shed: { targetMs: 10, intervalMs: 100 },
  });
  readonly log: string[] = [];
  /** How long each run that was served had waited. */
  readonly waits: number[] = [];

  sleep(ms: number): Promise<unknown> {
    return this.kernel.wq.softclock.run(() => undefined, { delayMs: ms });
  }

  /** Sends a request, and logs when it is served or refused. */
  request(name: string, options: { signal?: AbortSignal; lock?: Mutex } = {}): void {
    const begin = this.clock.now;
    this.wq
      .run(
        () => {
          this.waits.push(this.clock.now - begin);
          return this.sleep(20);
        },
        { name, ...options },
      )
      .then(
        () => this.log.push(`${name} served at ${this.clock.now}`),
        (error: unknown) => this.log.push(`${name} ${codeIn(error)} at ${this.clock.now}`),
      );
  }

  /** Sends a request each `everyMs`, from now for `forMs`; returns how many. */
  async requests(everyMs: number, forMs: number): Promise<number> {
    let sent = 0;
    for (const end = this.clock.now + forMs; this.clock.now < end; sent++) {
      this.request(`r${sent}`);
      await this.clock.advance(everyMs);
    }
    return sent;
  }

  /** Sends requests until one would be refused. */
  async overload(): Promise<void> {
    await this.requests(10, 500);
    for (let i = 0; i < 20 && (this.load.waitMs ?? 0) <= 10; i++) {
      this.request('more');
      await this.clock.advance(5);
    }
    expect(this.load.shedding).to.equal(true);
    expect(this.load.waitMs).to.be.greaterThan(10);
  }

  count(what: string): number {
    return this.log.filter((line) => line.includes(what)).length;
  }

  get load(): { waitMs: number | null; shedding: boolean; shed: number } {
    const found = this.kernel.load().find(({ name }) => name === 'db');
    if (found === undefined) throw new Error('there is no db');
    const { waitMs, shedding, shed } = found;
    return { waitMs, shedding, shed };
  }
}

describe('the option shed', () => {
  it('refuses nothing below the capacity', async () => {
    const server = new Server();
    await server.requests(25, 2000);
    await server.clock.advance(100);
    expect(server.count('served')).to.equal(80);
    expect(server.load).to.deep.equal({ waitMs: 0, shedding: false, shed: 0 });
  });

  it('refuses nothing of a burst that is over within the interval', async () => {
    const server = new Server();
    for (let i = 0; i < 5; i++) server.request(`b${i}`);
    await server.clock.advance(90);
    server.request('later');
    await server.clock.advance(100);
    expect(server.count('served')).to.equal(6);
  });

  it('keeps the wait near the target and the work going when twice as much comes as is done', async () => {
    const server = new Server();
    const sent = await server.requests(10, 4000);
    await server.clock.advance(1000);
    const served = server.count('served');
    expect(served + server.count('ESHED')).to.equal(sent);
    // One function is done each 20 ms, all the time.
    expect(served).to.be.at.least(200);
    // All that came in the first interval were accepted. After that, a run waits for those that came
    // while the oldest had waited for less than the target.
    expect(Math.max(...server.waits.slice(20))).to.be.at.most(40);
    expect(server.load).to.include({ waitMs: 0 });
  });

  it('refuses at once, with a code, a time and a message, and changes nothing', async () => {
    const server = new Server();
    await server.overload();
    const before = server.wq.stats();
    const error: unknown = await server.wq
      .run(() => server.log.push('must not run'))
      .catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(ShedError);
    const { code, retryAfterMs, message, name } = error as ShedError;
    expect([code, name, retryAfterMs]).to.deep.equal(['ESHED', 'KcontError', 100]);
    expect(message).to.match(
      /^workqueue db refuses runs: the oldest one has waited for \d+ ms, the target is 10 ms; try again after 100 ms$/,
    );
    expect(server.wq.stats()).to.deep.equal(before);
    await server.clock.advance(1000);
    expect(server.log).to.not.include('must not run');
  });

  it('accepts everything again after an interval below the target', async () => {
    const server = new Server();
    await server.overload();
    await server.clock.advance(300);
    const seen = [server.load.shedding];
    await server.clock.advance(99);
    seen.push(server.load.shedding);
    await server.clock.advance(1);
    seen.push(server.load.shedding);
    expect(seen).to.deep.equal([true, true, false]);
    server.log.length = 0;
    for (let i = 0; i < 5; i++) server.request(`b${i}`);
    await server.clock.advance(150);
    expect(server.count('served')).to.equal(5);
  });

  it('does not refuse schedule(), delayed runs, or items that a source brings', async () => {
    const server = new Server();
    const { wq, log, clock, kernel } = server;
    await server.overload();
    expect(await rejectionOf(wq.run(() => undefined))).to.equal('ESHED');
    const kc = new Kcont(wq, null, () => void log.push('kc'), null);
    expect(kc.schedule()).to.equal(true);
    void wq.run(() => log.push('delayed'), { delayMs: 1 });
    const items = pipeline<number>('line')
      .stage('db', (n) => n, { wq })
      .start({ kernel });
    expect(await rejectionOf(items.run(1))).to.equal('ESHED');
    expect(codeOf(() => items.push(1))).to.equal('ESHED');
    const read = (async () => {
      for await (const n of items.through([1, 2, 3])) log.push(`item ${n}`);
    })();
    await clock.advance(1000);
    await read;
    expect(log.slice(-5).toSorted()).to.deep.equal(['delayed', 'item 1', 'item 2', 'item 3', 'kc']);
    expect(await Promise.all([items.run(7), clock.advance(10)])).to.deep.include(7);
    await Promise.all([items.close(), clock.advance(10)]);
  });

  it('counts the items that wait for the first stage of a pipeline', async () => {
    const server = new Server();
    const { wq, log, clock, kernel } = server;
    const items = pipeline<number>('line')
      .stage('db', () => server.sleep(20), { wq })
      .start({ kernel });
    for (let i = 0; i < 60; i++) {
      items.run(i).then(
        () => log.push('served'),
        (error: unknown) => log.push(codeIn(error)),
      );
      await clock.advance(10);
    }
    expect(server.count('ESHED')).to.be.greaterThan(5);
    await clock.advance(1000);
    expect(server.count('served') + server.count('ESHED')).to.equal(60);
    expect(server.load.waitMs).to.equal(0);
    await Promise.all([items.close(), clock.advance(10)]);
  });

  it('does not count runs that were aborted', async () => {
    const server = new Server();
    const { clock } = server;
    const controller = new AbortController();
    server.request('runs');
    for (let i = 0; i < 20; i++) server.request('aborted', { signal: controller.signal });
    await clock.advance(5);
    controller.abort(new Error('gone'));
    for (let i = 0; i < 50; i++) {
      server.request(`r${i}`);
      await clock.advance(25);
    }
    expect(server.count('ESHED')).to.equal(0);
    expect(server.load.waitMs).to.equal(0);
  });

  it('does not count runs that wait for a lock, once a later run has been entered', async () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock, shed: { targetMs: 10, intervalMs: 100 } });
    const { prihigh } = kernel.wq;
    const lock = new Mutex();
    await lock.enter();
    const blocked = prihigh.run(() => 'had the lock', { lock });
    const results: string[] = [];
    for (let i = 0; i < 50; i++) {
      results.push(
        await Promise.all([prihigh.run(() => 'served'), clock.advance(10)]).then(([r]) => r),
      );
    }
    expect(new Set(results)).to.deep.equal(new Set(['served']));
    lock.exit();
    expect((await Promise.all([blocked, clock.advance(1)]))[0]).to.equal('had the lock');
    await Promise.all([kernel.close(), clock.advance(1)]);
  });

  it('does not take a blocked event loop for load', async () => {
    const kernel = new Kernel({ shed: { targetMs: 1, intervalMs: 5 } });
    const { prilow } = kernel.wq;
    for (let i = 0; i < 5; i++) {
      const before = prilow.run(() => 'before');
      burn(20);
      expect(await Promise.all([before, prilow.run(() => 'after')])).to.deep.equal([
        'before',
        'after',
      ]);
    }
    expect(kernel.load().map(({ shed }) => shed)).to.deep.equal([0, 0, 0, 0, 0, 0, 0, 0]);
    await kernel.close();
  });

  it('lets kcont/retry come back after the time that the error tells', async () => {
    const server = new Server();
    const { clock, wq, kernel } = server;
    await server.overload();
    const begin = clock.now;
    let attempts = 0;
    const result = retry(
      () => {
        attempts++;
        return wq.run(() => clock.now - begin);
      },
      { wq: kernel.wq.prihigh, attempts: 5, backoff: { baseMs: 1, maxMs: 1 } },
    );
    const [afterMs] = await Promise.all([result, clock.advance(2000)]);
    expect(attempts).to.equal(2);
    expect(afterMs).to.be.at.least(100);
  });

  it('is part of what acquire looks for, with its defaults', () => {
    const { kernel } = new Server();
    const plain = kernel.acquire(50);
    const shed = kernel.acquire(50, { shed: {} });
    expect(kernel.acquire(50, { shed: { targetMs: 5, intervalMs: 100 } })).to.equal(shed);
    const others = [
      kernel.acquire(50, { shed: { targetMs: 6 } }),
      kernel.acquire(50, { shed: { intervalMs: 6 } }),
    ];
    expect(new Set([plain, shed, ...others]).size).to.equal(4);
    expect(kernel.acquire(50)).to.equal(plain);
  });

  it('is refused if it is invalid, and on a workqueue with a queue per CPU', () => {
    const { kernel } = new Server();
    const bad: unknown[] = [
      { targetMs: 0 },
      { intervalMs: -1 },
      { targetMs: NaN },
      { targetMs: '5' },
      { target: 5 },
      5,
      null,
    ];
    for (const shed of bad) {
      expect(
        codeOf(() => kernel.acquire(50, { shed: shed as object })),
        String(shed),
      ).to.equal('EINVAL');
      expect(
        codeOf(() => new Kernel({ shed: shed as object })),
        String(shed),
      ).to.equal('EINVAL');
    }
    expect(codeOf(() => kernel.acquire(50, { perCpu: true, shed: {} }))).to.equal('EINVAL');
  });
});

describe('Kernel.load', () => {
  it('tells how much waits on each workqueue, highest priority first', async () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock, shed: {} });
    kernel.acquire(110, { name: 'db', maxActive: 1 });
    void kernel.wq.prilow.run(() => undefined);
    const load = kernel.load();
    expect(load.map(({ name, waitMs }) => `${name} ${waitMs}`)).to.deep.equal([
      'softserial 0',
      'softnet 0',
      'softbio 0',
      'softclock 0',
      'prihigh 0',
      'primedhigh 0',
      'primedlow 0',
      'db null',
      'prilow 0',
    ]);
    expect(load.at(-1)).to.deep.equal({
      name: 'prilow',
      priority: 103,
      queued: 1,
      running: 0,
      waitMs: 0,
      shedding: false,
      shed: 0,
    });
    await Promise.all([kernel.close(), clock.advance(1)]);
  });
});

/** Time and passes that a spec sets. */
interface FakeTime {
  now: number;
  passes: number;
}

/** A shedder of so many workqueues, with a target of 10 ms and an interval of 100 ms. */
function shedderOf(count: number): { time: FakeTime; backlogs: Backlog[] } {
  const time: FakeTime & { presentTick(): number } = {
    now: 0,
    passes: 0,
    presentTick: () => time.now * TICKS_PER_MS,
  };
  const shedder = new Shedder(time as unknown as Dispatcher, { targetMs: 10, intervalMs: 100 });
  return { time, backlogs: Array.from({ length: count }, (_, i) => shedder.add(`q${i}`)) };
}

/** A run that arrives, and waits if it is accepted; null: it is refused. */
function accepts(backlog: Backlog): Arrival | null {
  try {
    const arrival = backlog.admit();
    backlog.add(arrival);
    return arrival;
  } catch (error) {
    expect(error).to.be.instanceOf(ShedError);
    return null;
  }
}

describe('the shedder of several workqueues', () => {
  /** A run on each of these waits from now on; each ms there is a look, and a pass. */
  function wait(time: FakeTime, look: Backlog, ms: number): void {
    for (let i = 0; i < ms; i++) {
      time.now++;
      time.passes++;
      look.waitMs();
    }
  }

  it('refuses the lowest priority first, and the next one only if it waits itself', () => {
    const { time, backlogs } = shedderOf(3);
    const [low, middle, high] = backlogs as [Backlog, Backlog, Backlog];
    for (const backlog of [middle, high]) expect(accepts(backlog)).to.not.equal(null);
    const depths: number[] = [];
    for (let i = 0; i < 4; i++) {
      wait(time, low, 110);
      depths.push(backlogs.filter(({ shedding }) => shedding).length);
    }
    expect(depths).to.deep.equal([1, 2, 3, 3]);
    expect(backlogs.map(accepts)).to.deep.equal([null, null, null]);
  });

  it('does not refuse a higher priority because of a wait at a lower one', () => {
    const { time, backlogs } = shedderOf(2);
    const [low, high] = backlogs as [Backlog, Backlog];
    expect(accepts(low)).to.not.equal(null);
    wait(time, low, 1000);
    expect(backlogs.map(({ shedding }) => shedding)).to.deep.equal([true, false]);
    expect(accepts(low)).to.equal(null);
    expect(accepts(high)).to.not.equal(null);
  });

  it('accepts one priority more after each interval below the target, the highest first', () => {
    const { time, backlogs } = shedderOf(3);
    const [low, , high] = backlogs as [Backlog, Backlog, Backlog];
    const arrival = high.admit();
    high.add(arrival);
    wait(time, low, 330);
    expect(backlogs.map(({ shedding }) => shedding)).to.deep.equal([true, true, true]);
    high.entered(arrival);
    const seen: string[] = [];
    for (let i = 0; i < 4; i++) {
      seen.push(backlogs.map(({ shedding }) => (shedding ? 'x' : '-')).join(''));
      wait(time, low, 101);
    }
    expect(seen).to.deep.equal(['xxx', 'xx-', 'x--', '---']);
  });

  it('decides as a plain model does, whatever comes and goes', () => {
    interface Step {
      readonly ms: number;
      readonly passes: number;
      readonly at: number;
      /** Which of the oldest runs is entered; null: a run arrives. */
      readonly enters: number | null;
    }
    const step: fc.Arbitrary<Step> = fc.record({
      ms: fc.nat(19),
      passes: fc.nat(2),
      at: fc.nat(2),
      enters: fc.option(fc.nat(1), { freq: 3 }),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 100, maxLength: 400 }), (steps) => {
        const { time, backlogs } = shedderOf(3);
        const waiting: { since: number; pass: number; arrival: Arrival }[][] = [[], [], []];
        let depth = 0;
        let aboveSince = Infinity;
        let belowSince = Infinity;
        let changed = -Infinity;
        const ageOf = (at: number): number => {
          const oldest = waiting[at]?.[0];
          if (oldest === undefined || time.passes < oldest.pass + 2) return 0;
          return time.now - oldest.since;
        };
        const longestFrom = (from: number): number =>
          Math.max(0, ...[0, 1, 2].filter((at) => at >= from).map(ageOf));
        const arrive = (at: number): boolean => {
          const over = longestFrom(depth) - 10;
          const since = Math.max(time.now - over, changed);
          aboveSince = over > 0 ? Math.min(aboveSince, since) : Infinity;
          const isBelow = depth > 0 && longestFrom(depth - 1) <= 10;
          belowSince = isBelow ? Math.min(belowSince, time.now) : Infinity;
          const change = time.now - aboveSince >= 100 ? 1 : time.now - belowSince >= 100 ? -1 : 0;
          if (change !== 0) {
            depth += change;
            changed = time.now;
            aboveSince = Infinity;
            belowSince = Infinity;
          }
          return at >= depth || longestFrom(at) <= 10;
        };
        const expected: boolean[] = [];
        const found: boolean[] = [];
        for (const { ms, passes, at, enters } of steps) {
          time.now += ms;
          time.passes += passes;
          const backlog = backlogs[at] as Backlog;
          const queue = waiting[at] as (typeof waiting)[number];
          if (enters === null) {
            const isAccepted = arrive(at);
            expected.push(isAccepted);
            const arrival = accepts(backlog);
            found.push(arrival !== null);
            if (arrival !== null) queue.push({ since: time.now, pass: time.passes, arrival });
          } else if (enters < queue.length) {
            // The runs before it have been overtaken.
            backlog.entered((queue[enters] as (typeof queue)[number]).arrival);
            queue.splice(0, enters + 1);
          }
        }
        expect(found).to.deep.equal(expected);
      }),
      { numRuns: 200 * soak },
    );
  });
});
