import { expect } from 'chai';
import fc from 'fast-check';
import pDebounce from 'p-debounce';
import { useFakeTimers } from 'sinon';
import { Kcont, Mutex, type Workqueue } from '../../lib/index.ts';
import { debounceAsync, throttleAsync } from '../../lib/limits/index.ts';
import { Lab, codeOf, deferred, settled, soak } from '../support/lab.ts';

/** What a promise came to. */
function outcome(promise: Promise<unknown>): () => string {
  let text = 'pending';
  promise.then(
    (value) => (text = String(value)),
    (error: unknown) => (text = error instanceof Error ? error.message : String(error)),
  );
  return () => text;
}

describe('debounceAsync', () => {
  it('returns a promise of each call with keys, whatever becomes of it', async () => {
    const { wq } = new Lab();
    const save = debounceAsync((key: string) => key, 50, {
      wq: wq.prihigh,
      keyBy: (key) => {
        if (key === 'bad') throw new Error('no key');
        return key;
      },
    });
    expect(outcome(save('a'))()).to.equal('pending');
    const bad = outcome(save('bad'));
    save[Symbol.dispose]();
    const late: unknown = save('a');
    expect(late).to.be.instanceOf(Promise);
    const error = await (late as Promise<unknown>).catch((reason: unknown) => reason);
    expect(error).to.include({ name: 'AbortError' });
    expect(bad()).to.equal('no key');
    expect(save.size).to.equal(0);
  });

  let lab: Lab;
  let options: { wq: Workqueue };
  beforeEach(() => {
    lab = new Lab();
    options = { wq: lab.wq.prihigh };
  });

  const note = async (value: string): Promise<string> => {
    lab.ran.push(`${lab.clock.now} ${value}`);
    return `result of ${value}`;
  };

  /** A function whose runs take some virtual time. */
  const slow =
    (ms: number) =>
    async (value: string): Promise<string> => {
      lab.ran.push(`${lab.clock.now} ${value}`);
      const run = deferred();
      new Kcont(lab.wq.softserial, null, run.resolve, undefined).schedule(ms);
      await run.promise;
      lab.ran.push(`${lab.clock.now} end of ${value}`);
      return value;
    };

  it('gives every call the result of the run that answers it', async () => {
    const search = debounceAsync(note, 100, options);
    const results = ['a', 'b'].map((text) => search(text));
    await lab.clock.advance(100);
    results.push(search('c'));
    await lab.clock.advance(100);
    expect(await Promise.all(results)).to.deep.equal(['result of b', 'result of b', 'result of c']);
    expect(lab.take()).to.deep.equal(['100 b', '200 c']);
  });

  it('rejects them with what that run throws, synchronously or not', async () => {
    for (const fail of [
      () => {
        throw new Error('failed');
      },
      () => Promise.reject(new Error('failed')),
    ]) {
      const call = debounceAsync(fail as () => Promise<void>, 100, options);
      const ends = [outcome(call()), outcome(call())];
      await lab.clock.advance(100);
      expect(ends.map((end) => end())).to.deep.equal(['failed', 'failed']);
      const again = outcome(call());
      await lab.clock.advance(100);
      expect(again()).to.equal('failed');
    }
    expect(lab.errors).to.deep.equal([]);
  });

  it('never overlaps runs, and lets at most one wait, which answers all newer calls', async () => {
    const save = debounceAsync(slow(350), 50, options);
    const ends: (() => string)[] = [];
    for (const value of ['a', 'b', 'c']) {
      ends.push(outcome(save(value)));
      await lab.clock.advance(100);
    }
    expect([save.pending(), ends.map((end) => end())]).to.deep.equal([
      true,
      ['pending', 'pending', 'pending'],
    ]);
    await lab.clock.advance(1000);
    expect(lab.take()).to.deep.equal(['50 a', '400 end of a', '400 c', '750 end of c']);
    expect(ends.map((end) => end())).to.deep.equal(['a', 'c', 'c']);
  });

  it('runs at the leading edge, and answers later calls with that run if there is no trailing edge', async () => {
    const load = debounceAsync(note, 100, { ...options, leading: true, trailing: false });
    const results = [load('a'), load('b')];
    await lab.clock.advance(0);
    expect(await Promise.all(results)).to.deep.equal(['result of a', 'result of a']);
    await lab.clock.advance(50);
    expect(await load('c')).to.equal('result of a');
    await lab.clock.advance(100);
    const later = load('d');
    await lab.clock.advance(0);
    expect(await later).to.equal('result of d');
    expect(lab.take()).to.deep.equal(['0 a', '150 d']);
  });

  it('holds its lock during runs only', async () => {
    const lock = new Mutex();
    const save = debounceAsync(slow(10), 100, { ...options, lock });
    await lock.enter();
    const end = outcome(save('a'));
    await lab.clock.advance(500);
    expect([lab.take(), save.pending()]).to.deep.equal([[], true]);
    lock.exit();
    await lab.clock.advance(10);
    expect([end(), lock.held, lab.take()]).to.deep.equal(['a', false, ['500 a', '510 end of a']]);
  });

  it('passes `this` and all arguments on', async () => {
    const object = {
      name: 'object',
      call: debounceAsync(
        async function (this: { name: string }, ...args: number[]): Promise<string> {
          return `${this.name} ${args.join()}`;
        },
        10,
        options,
      ),
    };
    const result = object.call(1, 2);
    await lab.clock.advance(10);
    expect(await result).to.equal('object 1,2');
  });

  it('cancels calls that wait, and no run in flight', async () => {
    const save = debounceAsync(slow(100), 50, options);
    const first = outcome(save('a'));
    await lab.clock.advance(60);
    const second = outcome(save('b'));
    await lab.clock.advance(60);
    const third = outcome(save('c'));
    save.cancel();
    await lab.clock.advance(1000);
    expect([first(), second(), third()]).to.deep.equal([
      'a',
      'The calls were cancelled',
      'The calls were cancelled',
    ]);
    expect([lab.take(), save.pending()]).to.deep.equal([['50 a', '150 end of a'], false]);
  });

  it('flushes calls that wait, and returns their promise', async () => {
    const save = debounceAsync(slow(10), 50, options);
    expect(save.flush()).to.equal(undefined);
    const result = save('a');
    const flushed = save.flush();
    expect(flushed).to.equal(result);
    await lab.clock.advance(100);
    expect([await result, lab.take()]).to.deep.equal(['a', ['0 a', '10 end of a']]);
  });

  it('rejects calls after it was disposed', async () => {
    const save = debounceAsync(slow(10), 50, options);
    const running = outcome(save('a'));
    await lab.clock.advance(50);
    const waiting = outcome(save('b'));
    save[Symbol.dispose]();
    const late = outcome(save('c'));
    await lab.clock.advance(100);
    expect([running(), waiting(), late()]).to.deep.equal([
      'a',
      'The calls were cancelled',
      'The calls were cancelled',
    ]);
  });

  it('is stopped by a run that never settles, whose calls alone are lost', async () => {
    const other = debounceAsync(note, 50, options);
    const stuck = debounceAsync(() => new Promise<string>(() => undefined), 50, options);
    const ends = [outcome(stuck()), outcome(other('a'))];
    await lab.clock.advance(500);
    expect(ends.map((end) => end())).to.deep.equal(['pending', 'result of a']);
  });

  it('takes a synchronous function too', async () => {
    const double = debounceAsync((n: number) => 2 * n, 50, { wq: lab.wq.softclock });
    const result = double(21);
    await lab.clock.advance(50);
    expect(await result).to.equal(42);
  });

  it('rejects a run that may not be asynchronous', async () => {
    const save = debounceAsync(note, 50, { wq: lab.wq.softclock });
    const end = outcome(save('a'));
    await lab.clock.advance(100);
    expect(end()).to.include('returned a promise');
  });

  it('rejects with ESHUTDOWN what waits when the kernel closes, and later calls', async () => {
    const lock = new Mutex();
    await lock.enter();
    const stuck = debounceAsync(() => new Promise(() => undefined), 10, options);
    const locked = debounceAsync(note, 10, { ...options, lock });
    const waiting = debounceAsync(note, 1000, { ...options, maxWaitMs: 2000 });
    const ends = [stuck(), locked('a'), waiting('b')].map((promise) => outcome(promise));
    await lab.clock.advance(10);
    void lab.kernel.close({ graceMs: 10 });
    ends.push(outcome(waiting('c')));
    await lab.clock.advance(1000);
    ends.push(outcome(waiting('d')));
    await settled();
    for (const end of ends) expect(end()).to.include('closed');
  });

  it('serves a run that is queued when the kernel closes, and rejects only later calls', async () => {
    for (const graceful of [false, true]) {
      const own = new Lab();
      const begun: string[] = [];
      const save = debounceAsync(
        async (text: string) => {
          begun.push(text);
          // The kernel may also close during a run, while the next one is queued behind it.
          if (graceful && begun.length === 1) await gate.promise;
          return text;
        },
        10,
        { wq: own.wq.prihigh, leading: true },
      );
      const gate = deferred();
      const ends = [outcome(save('a'))];
      if (graceful) {
        await own.clock.advance(0);
        ends.push(outcome(save('b')));
        await own.clock.advance(10);
      }
      void own.kernel.close({ graceMs: 50 });
      ends.push(outcome(save('c')));
      gate.resolve();
      await own.clock.advance(100);
      const [late = '', ...served] = ends.map((end) => end()).toReversed();
      expect([begun, served.toReversed()]).to.deep.equal(
        graceful
          ? [
              ['a', 'b'],
              ['a', 'b'],
            ]
          : [['a'], ['a']],
      );
      expect(late).to.include('closed');
      expect(own.reported).to.deep.equal([]);
    }
  });

  it('refuses a function without an edge', () => {
    const none = { ...options, leading: false, trailing: false };
    expect(codeOf(() => debounceAsync(note, 5, none))).to.equal('EINVAL');
    expect(codeOf(() => throttleAsync(note, 5, none))).to.equal('EINVAL');
  });

  it('keeps keys apart, and frees them when they are idle', async () => {
    const save = debounceAsync(slow(200), 50, { ...options, keyBy: (value) => value[0] });
    const ends = ['a1', 'b1', 'a2'].map((value) => outcome(save(value)));
    await lab.clock.advance(60);
    expect([save.size, save.pending('a')]).to.deep.equal([2, false]);
    ends.push(outcome(save('a3')));
    expect(save.pending('a')).to.equal(true);
    await lab.clock.advance(1000);
    expect(ends.map((end) => end())).to.deep.equal(['a2', 'b1', 'a2', 'a3']);
    expect([save.size, lab.kernel.inspect().pending]).to.deep.equal([0, 0]);
    const cancelled = [outcome(save('c')), outcome(save('d'))];
    save.cancel('c');
    await settled();
    expect([cancelled.map((end) => end()), save.size]).to.deep.equal([
      ['The calls were cancelled', 'pending'],
      1,
    ]);
    save[Symbol.dispose]();
    await settled();
    expect([cancelled[1]?.(), save.size]).to.deep.equal(['The calls were cancelled', 0]);
  });

  it('has the results of p-debounce in random programs', async () => {
    const program = fc.record({
      waitMs: fc.constantFrom(5, 20),
      leading: fc.boolean(),
      gaps: fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 15 }),
    });
    await fc.assert(
      fc.asyncProperty(program, async ({ waitMs, leading, gaps }) => {
        const own = new Lab();
        const fake = useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
        try {
          const runs: { ours: string[]; theirs: string[] } = { ours: [], theirs: [] };
          const ours = debounceAsync(
            async (n: number) => {
              runs.ours.push(`${own.clock.now}: ${n}`);
              return n;
            },
            waitMs,
            { wq: own.wq.prihigh, leading, trailing: !leading },
          );
          const theirs = pDebounce(
            async (n: number) => {
              runs.theirs.push(`${fake.now}: ${n}`);
              return n;
            },
            waitMs,
            { before: leading },
          );
          const results: [Promise<number>, Promise<number>][] = [];
          for (const [n, gapMs] of gaps.entries()) {
            results.push([ours(n), theirs(n)]);
            await own.clock.advance(gapMs);
            await fake.tickAsync(gapMs);
          }
          await own.clock.advance(100);
          await fake.tickAsync(100);
          expect(runs.ours).to.deep.equal(runs.theirs);
          for (const [ourResult, theirResult] of results) {
            expect(await ourResult).to.equal(await theirResult);
          }
        } finally {
          fake.restore();
        }
      }),
      { numRuns: 60 * soak },
    );
  });
});

describe('throttleAsync', () => {
  it('begins a run at once, then at most once in each wait, and never overlaps', async () => {
    const lab = new Lab();
    const save = throttleAsync(
      async (n: number) => {
        lab.ran.push(`${lab.clock.now}: ${n}`);
        return n;
      },
      100,
      { wq: lab.wq.prihigh },
    );
    const results: Promise<number>[] = [];
    for (let i = 0; i < 25; i++) {
      results.push(save(i));
      await lab.clock.advance(10);
    }
    await lab.clock.advance(1000);
    expect(lab.take()).to.deep.equal(['0: 0', '100: 9', '200: 19', '300: 24']);
    expect(new Set(await Promise.all(results))).to.deep.equal(new Set([0, 9, 19, 24]));
  });
});
