import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import {
  Kcont,
  Mutex,
  RWLock,
  Scope,
  kernel as processKernel,
  type Kernel,
} from '../../lib/index.ts';
import { entries, list, type ListEntry, type ListFilter } from '../support/observe.ts';
import { numberOf } from '../../lib/observe/numbers.ts';
import { codeOf, Lab, settled, soak } from '../support/lab.ts';

/** One entry in a few words. */
function brief({ name, state, waitsFor }: ListEntry): string {
  return waitsFor === null ? `${name} ${state}` : `${name} ${state} ${waitsFor}`;
}

function listed(kernel: Kernel, filter?: ListFilter): string[] {
  return list(kernel, filter).map(brief);
}

/** A kernel with one continuation in each state. */
function everyState(): Lab {
  const lab = new Lab();
  list(lab.kernel);
  const lock = new Mutex({ name: 'journal' });
  const narrow = lab.kernel.acquire(120, { maxActive: 1, name: 'narrow' });
  const holder = lab.async('holder', { lock, options: { name: 'holder' } });
  const active = lab.async('active', { wq: narrow, options: { name: 'active' } });
  holder.schedule();
  active.schedule();
  lab.clock.tick(10);
  lab.sync('waiter', { lock, options: { name: 'waiter' } }).schedule();
  lab.sync('next', { wq: narrow, options: { name: 'next' } }).schedule();
  active.reset();
  lab.clock.tick(0);
  lab.sync('late', { options: { name: 'late' } }).schedule(200);
  lab.sync('soon', { options: { name: 'soon', ref: false } }).schedule(100);
  lab.sync('low', { wq: lab.wq.prilow, options: { name: 'low' } }).schedule();
  lab.sync('high', { wq: lab.wq.softnet, options: { name: 'high' } }).schedule();
  return lab;
}

describe('list()', () => {
  it('is empty for a kernel with nothing in hand', () => {
    expect(listed(new Lab().kernel)).to.deep.equal([]);
  });

  it('has what runs, what is runnable by priority, what waits, and timers by deadline', () => {
    expect(listed(everyState().kernel)).to.deep.equal([
      'holder running',
      'active running',
      'high runnable',
      'low runnable',
      'next waiting maxActive',
      'waiter waiting lock',
      'active waiting run',
      'soon pending',
      'late pending',
    ]);
  });

  it('tells name, function, workqueue, priority, times, lock, CPU, scope and reference', () => {
    const lab = new Lab();
    const scope = new Scope();
    const lock = new Mutex({ name: 'journal' });
    lab.clock.tick(5);
    const kc = new Kcont(lab.wq.softclock, lock, function closeIdle() {}, 0, {
      name: 'idle',
      scope,
    });
    kc.schedule(30);
    lab.clock.tick(10);
    const [entry] = list(lab.kernel);
    expect(entry).to.deep.include({
      kind: 'continuation',
      name: 'idle',
      function: 'closeIdle',
      state: 'pending',
      waitsFor: null,
      workqueue: 'softclock',
      priority: 199,
      sinceMs: 5,
      deadlineMs: 35,
      lateMs: 0,
      lock: 'journal',
      cpu: 0,
      ref: true,
    });
    expect([entry?.id, entry?.scope].every((id) => Number.isInteger(id))).to.equal(true);
    const [again] = list(lab.kernel);
    expect([again?.id, again?.scope]).to.deep.equal([entry?.id, entry?.scope]);
    kc.unref();
    expect(list(lab.kernel)[0]?.ref).to.equal(false);
  });

  it('counts a pending timer from the last schedule or touch', () => {
    const lab = new Lab();
    const kc = lab.sync('a');
    kc.schedule(50);
    lab.clock.tick(20);
    kc.touch();
    lab.clock.tick(1);
    expect(list(lab.kernel)[0]).to.deep.include({ sinceMs: 20, deadlineMs: 70 });
  });

  it('counts a job from its schedule, and a timer from its deadline', () => {
    const lab = new Lab();
    list(lab.kernel);
    const held = new Mutex();
    held.tryEnter();
    lab.sync('timer', { lock: held, options: { name: 'timer' } }).schedule(40);
    lab.clock.tick(100);
    lab.sync('job', { options: { name: 'job' } }).schedule();
    expect(list(lab.kernel, { name: 'timer' })[0]).to.deep.include({
      state: 'waiting',
      sinceMs: 40,
      lateMs: 60,
    });
    expect(list(lab.kernel, { name: 'job' })[0]).to.deep.include({
      state: 'runnable',
      sinceMs: 100,
      lateMs: 0,
    });
  });

  it('names a lock without a name by its class and a number', () => {
    const lab = new Lab();
    const { read } = new RWLock();
    lab.sync('a', { lock: read }).schedule(1);
    lab.sync('b', { lock: new Mutex() }).schedule(2);
    const [a, b] = list(lab.kernel).map(({ lock }) => lock);
    expect(a).to.match(/^ReadSide #\d+$/);
    expect(b).to.match(/^Mutex #\d+$/);
  });

  it('names one without a name anonymous', () => {
    const lab = new Lab();
    new Kcont(lab.wq.prilow, null, () => undefined, 0).schedule(1);
    expect(list(lab.kernel)[0]).to.deep.include({ name: '(anonymous)', function: '' });
  });

  it('has code that awaits a lock', async () => {
    const lock = new Mutex({ name: 'code lock' });
    lock.tryEnter();
    const entered = lock.enter({ priority: 7 });
    const code = list(processKernel, { waitsFor: 'lock' }).find((one) => one.lock === 'code lock');
    expect(code).to.deep.include({
      kind: 'code',
      name: '(code)',
      function: '',
      state: 'waiting',
      waitsFor: 'lock',
      workqueue: null,
      priority: 7,
      sinceMs: null,
      lateMs: 0,
      cpu: 0,
      scope: null,
      ref: false,
    });
    const isCode = ({ kind }: ListEntry): boolean => kind === 'code';
    expect(list(processKernel, { workqueue: 'prilow' }).some(isCode)).to.equal(false);
    expect(list(processKernel, { state: 'running' }).some(isCode)).to.equal(false);
    expect(list(new Lab().kernel)).to.deep.equal([]);
    lock.exit();
    await entered;
    lock.exit();
  });

  it('names one-shot runs by their functions', async () => {
    const lab = new Lab();
    const done = lab.wq.prilow.run(function thumbnail() {});
    expect(list(lab.kernel)[0]).to.deep.include({ name: 'thumbnail', function: 'thumbnail' });
    await lab.clock.advance(0);
    await done;
  });

  it('finds the function on the stack, which has not settled', () => {
    const lab = new Lab();
    let seen: string[] = [];
    lab
      .sync('a', {
        options: { name: 'a' },
        body: () => {
          seen = listed(lab.kernel);
        },
      })
      .schedule();
    lab.clock.tick(0);
    expect(seen).to.deep.equal(['a running']);
    expect(listed(lab.kernel)).to.deep.equal([]);
  });

  it('has one that is running and scheduled again once for each', async () => {
    const lab = new Lab();
    const kc = lab.async('a', { options: { name: 'a' } });
    kc.schedule();
    lab.clock.tick(0);
    kc.reset(10);
    expect(listed(lab.kernel)).to.deep.equal(['a running', 'a pending']);
    lab.clock.tick(10);
    expect(listed(lab.kernel)).to.deep.equal(['a running', 'a waiting run']);
    await lab.end(kc);
    expect(listed(lab.kernel)).to.deep.equal(['a runnable']);
  });

  it('is JSON-safe', () => {
    const all = list(everyState().kernel);
    expect(JSON.parse(JSON.stringify(all))).to.deep.equal(all);
  });

  describe('with a filter', () => {
    it('contains what matches all of it', () => {
      const { kernel } = everyState();
      expect(listed(kernel, { state: 'waiting' })).to.deep.equal([
        'next waiting maxActive',
        'waiter waiting lock',
        'active waiting run',
      ]);
      expect(listed(kernel, { waitsFor: 'maxActive' })).to.deep.equal(['next waiting maxActive']);
      expect(listed(kernel, { workqueue: 'narrow' })).to.deep.equal([
        'active running',
        'next waiting maxActive',
        'active waiting run',
      ]);
      expect(listed(kernel, { name: 'active', state: 'running' })).to.deep.equal([
        'active running',
      ]);
      expect(listed(kernel, { state: 'pending', limit: 1 })).to.deep.equal(['soon pending']);
      expect(listed(kernel, { state: 'pending', lateMs: 1 })).to.deep.equal([]);
    });
  });

  it('refuses what is not a kernel', () => {
    for (const wrong of [undefined, null, {}, 1, 'kernel']) {
      expect(codeOf(() => list(wrong as never))).to.equal('EINVAL');
      expect(codeOf(() => entries(wrong as never))).to.equal('EINVAL');
    }
  });
});

describe('entries()', () => {
  async function all(kernel: Kernel, filter?: ListFilter): Promise<string[]> {
    const found: string[] = [];
    for await (const entry of entries(kernel, filter)) found.push(brief(entry));
    return found;
  }

  it('has the same entries as list()', async () => {
    const { kernel } = everyState();
    expect(await all(kernel)).to.have.members(listed(kernel));
    expect(await all(kernel, { state: 'pending', limit: 1 })).to.have.length(1);
    expect(await all(kernel, { name: 'low' })).to.deep.equal(['low runnable']);
  });

  it('lets the event loop go on between slices', async () => {
    const lab = new Lab();
    for (let ms = 1; ms <= 20_000; ms++) lab.sync(`t${ms}`).schedule(ms);
    let turns = 0;
    let done = false;
    const turn = (): void => {
      turns++;
      if (!done) setImmediate(turn);
    };
    setImmediate(turn);
    let count = 0;
    for await (const entry of entries(lab.kernel)) if (entry.state === 'pending') count++;
    done = true;
    expect(count).to.equal(20_000);
    expect(turns).to.be.above(1);
  });

  it('leaves out what has changed its state since', async () => {
    const lab = new Lab();
    const kcs = [1, 2, 3].map((ms) => lab.sync(`${ms}`, { options: { name: `${ms}` } }));
    for (const [index, kc] of kcs.entries()) kc.schedule(10 + index);
    const found: string[] = [];
    for await (const entry of entries(lab.kernel)) {
      found.push(entry.name);
      for (const kc of kcs) if (kc.name !== entry.name) kc.stop();
      await settled();
    }
    expect(found).to.have.length(1);
  });

  /** Counts the entries of each name, while something is done for each entry. */
  async function countAll(kernel: Kernel, each: () => unknown): Promise<Map<string, number>> {
    const counts = new Map<string, number>();
    for await (const { name } of entries(kernel)) {
      counts.set(name, (counts.get(name) ?? 0) + 1);
      await each();
    }
    return counts;
  }

  it('has each timer once that is pending all the time, while timers are moved, stopped and added', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 2 ** 30 }), async (seed) => {
        const lab = new Lab();
        let state = seed;
        const random = (below: number): number => {
          state = (state * 48_271) % 2_147_483_647;
          return state % below;
        };
        const delays = [1, 2, 8, 50, 600, 40_000, 3_000_000, 200_000_000, 400_000_000];
        const delay = (): number => (delays[random(delays.length)] as number) + random(5);
        const stays = new Set<string>();
        const kcs = Array.from({ length: 60 }, (_, n) => {
          const kc = lab.sync(`${n}`, { options: { name: `${n}` } });
          kc.schedule(delay() + 60);
          stays.add(kc.name);
          return kc;
        });
        let added = 0;
        const counts = await countAll(lab.kernel, async () => {
          const kc = kcs[random(kcs.length)] as Kcont<string>;
          const what = random(6);
          if (what === 0) {
            stays.delete(kc.name);
            kc.stop();
          } else if (what === 1) {
            const name = `new ${added++}`;
            lab.sync(name, { options: { name } }).schedule(delay());
          } else if (what === 2) kc.touch();
          else if (what < 5 && kc.pending) kc.reset(delay() + 60);
          else {
            lab.clock.tick(random(3) === 0 ? 70 : 1);
            for (const name of lab.take()) stays.delete(name);
          }
          if (random(8) === 0) await settled();
        });
        for (const name of stays) expect(counts.get(name), name).to.equal(1);
        for (const [name, count] of counts) expect(count, name).to.equal(1);
        await lab.kernel.close({ graceMs: 0 });
      }),
      { numRuns: 60 * soak },
    );
  });

  it('has each once that runs, waits for a lock or for a place all the time, while others come and go', async () => {
    const lab = new Lab();
    list(lab.kernel);
    const lock = new Mutex();
    const narrow = lab.kernel.acquire(120, { maxActive: 1 });
    const made = (name: string): Kcont<string>[] =>
      Array.from({ length: 3000 }, (_, n) => {
        const where = name === 'place' ? { wq: narrow } : name === 'lock' ? { lock } : {};
        return lab.async(`${name} ${n}`, { ...where, options: { name: `${name} ${n}` } });
      });
    const kinds = [made('run'), made('lock'), made('place')] as const;
    for (const kcs of kinds) for (const kc of kcs) kc.schedule();
    lab.clock.tick(1);
    const changed = new Set<string>();
    let at = 0;
    const counts = await countAll(lab.kernel, async () => {
      at += 7;
      if (at % 70 !== 0) return;
      for (const kcs of kinds) {
        const kc = kcs[at % kcs.length] as Kcont<string>;
        changed.add(kc.name);
        if (kc.running) await lab.end(kc);
        else kc.stop();
        lab.clock.tick(0);
        for (const other of kcs.filter(({ running }) => running).slice(0, 2))
          changed.add(other.name);
        kc.schedule();
      }
      lab.clock.tick(1);
    });
    for (const { name } of kinds.flat())
      if (!changed.has(name)) expect(counts.get(name), name).to.equal(1);
    for (const kc of kinds.flat()) kc.destroy();
  });

  it('finds the runs that began before the kernel was observed', async () => {
    const { kernel, clock, wq } = new Lab();
    const { _dispatcher: dispatcher } = wq.softclock;
    dispatcher.observer = null;
    const never = (): Promise<void> => new Promise(() => undefined);
    const old = new Kcont(wq.prilow, null, never, 0, { name: 'old' });
    old.schedule();
    clock.tick(1);
    list(kernel);
    new Kcont(wq.prilow, null, never, 0, { name: 'new' }).schedule();
    clock.tick(1);
    old.reset();
    clock.tick(1);
    expect(await all(kernel)).to.have.members(['old running', 'old waiting run', 'new running']);
  });

  it('leaves out code that has got its lock meanwhile', async () => {
    const lock = new Mutex({ name: 'passed on' });
    lock.tryEnter();
    const waits = [1, 2].map(async () => {
      await lock.enter();
      lock.exit();
    });
    const found: string[] = [];
    for await (const entry of entries(processKernel, { waitsFor: 'lock' })) {
      if (entry.lock !== 'passed on') continue;
      found.push(entry.kind);
      if (found.length === 1) lock.exit();
      await Promise.all(waits);
    }
    expect(found).to.deep.equal(['code']);
  });
});

describe('the id of an entry', () => {
  it('stays the same, and tells 100,000 apart', () => {
    const objects = Array.from({ length: 100_000 }, () => ({}));
    const ids = objects.map(numberOf);
    expect(objects.map(numberOf)).to.deep.equal(ids);
    expect(new Set(ids).size).to.equal(ids.length);
  });
});
