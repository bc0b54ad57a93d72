import { expect } from 'chai';
import fc from 'fast-check';
import lodash from 'lodash';
import { Kcont, Kernel, type Workqueue } from '../../lib/index.ts';
import { debounce, throttle, type DebounceOptions } from '../../lib/limits/index.ts';
import { Lab, codeOf, soak } from '../support/lab.ts';

/** Time and timers of lodash, in one program. */
class Timers {
  now = 0;
  #seq = 0;
  #timers = new Map<number, { readonly atMs: number; readonly func: () => void }>();

  set(func: () => void, ms: number): number {
    this.#timers.set(++this.#seq, { atMs: this.now + ms, func });
    return this.#seq;
  }

  /** Runs the timers that are due up to a time; those of the time itself after `first`. */
  runTo(endMs: number, first: () => void): void {
    this.#run(endMs, (atMs) => atMs < endMs);
    this.now = endMs;
    first();
    this.#run(endMs, (atMs) => atMs <= endMs);
  }

  get pendingIds(): number[] {
    return [...this.#timers.keys()];
  }

  drop(ids: readonly number[]): void {
    for (const id of ids) this.#timers.delete(id);
  }

  #run(endMs: number, isDue: (atMs: number) => boolean): void {
    for (;;) {
      const due = [...this.#timers]
        .filter(([, { atMs }]) => isDue(atMs))
        .toSorted(([a, { atMs: x }], [b, { atMs: y }]) => x - y || a - b)[0];
      if (due === undefined) return;
      const [id, { atMs, func }] = due;
      this.#timers.delete(id);
      this.now = Math.min(Math.max(this.now, atMs), endMs);
      func();
    }
  }
}

let timers = new Timers();

/** lodash with these timers. */
const peer = lodash.runInContext({
  Date: { now: () => timers.now },
  setTimeout: (func: () => void, ms: number) => timers.set(func, ms),
  clearTimeout: (id: number) => timers.drop([id]),
});

type Step =
  | { readonly do: 'call' }
  | { readonly do: 'cancel' }
  | { readonly do: 'flush' }
  /** `first`: the call comes before the timers of the same instant. */
  | { readonly do: 'pass'; readonly ms: number; readonly first: boolean };

interface Program {
  readonly waitMs: number;
  readonly leading: boolean | undefined;
  readonly trailing: boolean | undefined;
  readonly maxWaitMs: number | undefined;
  /** The numbers of the invocations that call again, as the last thing they do. */
  readonly again: readonly number[];
  readonly steps: readonly Step[];
}

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.constant({ do: 'call' } as const) },
  { weight: 1, arbitrary: fc.constantFrom({ do: 'cancel' } as const, { do: 'flush' } as const) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      ms: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constantFrom(30, 50, 100)),
      first: fc.boolean(),
    }),
  },
);
const program: fc.Arbitrary<Program> = fc.record({
  waitMs: fc.constantFrom(1, 5, 10, 30),
  leading: fc.constantFrom(undefined, true, false),
  trailing: fc.constantFrom(undefined, true, false),
  maxWaitMs: fc.constantFrom(undefined, undefined, 1, 10, 17, 30, 60),
  again: fc.array(fc.integer({ min: 1, max: 8 }), { maxLength: 2 }),
  steps: fc.array(step, { maxLength: 40 }),
});

/** Without what is undefined: lodash looks whether an option is there. */
function given<T extends object>(options: T): { [N in keyof T]: Exclude<T[N], undefined> } {
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as never;
}

/** What happened: each invocation with its time and argument, and what each call returned. */
type Log = string[];

function playOurs({ waitMs, steps, again, ...options }: Program): Log {
  const log: Log = [];
  const lab = new Lab();
  let calls = 0;
  let invoked = 0;
  const { softclock: wq, softserial } = lab.wq;
  const func = (n: number): number => {
    log.push(`${lab.clock.now}: ${n}`);
    if (again.includes(++invoked)) log.push(`again ${ours(++calls)}`);
    return n;
  };
  const ours = debounce(func, waitMs, { ...given(options), wq });
  for (const each of steps) {
    if (each.do === 'call') log.push(`returned ${ours(++calls)}`);
    else if (each.do === 'flush') log.push(`flushed ${ours.flush()}`);
    else if (each.do === 'cancel') ours.cancel();
    else {
      if (each.first) {
        new Kcont(softserial, null, () => void log.push(`returned ${ours(++calls)}`), 0).schedule(
          each.ms,
        );
      }
      lab.clock.tick(each.ms);
    }
  }
  lab.clock.tick(1000);
  expect([ours.pending(), lab.kernel.inspect().pending]).to.deep.equal([false, 0]);
  return log;
}

function playLodash({ waitMs, steps, again, leading, trailing, maxWaitMs }: Program): Log {
  const log: Log = [];
  timers = new Timers();
  let calls = 0;
  let invoked = 0;
  const func = (n: number): number => {
    log.push(`${timers.now}: ${n}`);
    if (again.includes(++invoked)) log.push(`again ${theirs(++calls)}`);
    return n;
  };
  const options = given({ leading, trailing, maxWait: maxWaitMs });
  const theirs = peer.debounce(func, waitMs, options);
  for (const each of steps) {
    if (each.do === 'call') log.push(`returned ${theirs(++calls)}`);
    else if (each.do === 'flush') {
      log.push(`flushed ${flushAndClear(theirs)}`);
    } else if (each.do === 'cancel') theirs.cancel();
    else {
      timers.runTo(timers.now + each.ms, () => {
        if (each.first) log.push(`returned ${theirs(++calls)}`);
      });
    }
  }
  timers.runTo(timers.now + 1000, () => undefined);
  return log;
}

/** lodash leaves the timer of a wait that was flushed running, which is the one thing done otherwise here. */
function flushAndClear(theirs: { flush(): number | undefined }): number | undefined {
  const before = timers.pendingIds;
  const result = theirs.flush();
  timers.drop(before);
  return result;
}

describe('debounce', () => {
  let lab: Lab;
  let options: { wq: Workqueue };
  beforeEach(() => {
    lab = new Lab();
    options = { wq: lab.wq.softclock };
  });

  const note = (value: string): string => {
    lab.ran.push(`${lab.clock.now} ${value}`);
    return value;
  };

  it('has the results of lodash in random programs, with and without a limit', () => {
    fc.assert(
      fc.property(program, (played) => {
        expect(playOurs(played)).to.deep.equal(playLodash(played));
      }),
      { numRuns: 1500 * soak },
    );
  });

  it('invokes the function when its calls have paused, with the last arguments', () => {
    const save = debounce(note, 100, options);
    expect([save('a'), save.pending()]).to.deep.equal([undefined, true]);
    lab.clock.tick(99);
    save('b');
    lab.clock.tick(99);
    expect(lab.take()).to.deep.equal([]);
    lab.clock.tick(1);
    expect([lab.take(), save.pending()]).to.deep.equal([['199 b'], false]);
    expect(save('c')).to.equal('b');
  });

  it('puts it off no longer than its limit', () => {
    const save = debounce(note, 100, { ...options, maxWaitMs: 250 });
    for (let i = 0; i < 60; i++) {
      save(`${i}`);
      lab.clock.tick(10);
    }
    expect(lab.take()).to.deep.equal(['250 24', '500 49']);
  });

  it('passes `this` on', () => {
    const seen: unknown[] = [];
    const object = {
      save: debounce(
        function (this: object) {
          seen.push(this);
        },
        10,
        options,
      ),
    };
    object.save();
    lab.clock.tick(10);
    expect(seen).to.deep.equal([object]);
  });

  it('reports errors at the end of the wait, and throws those of the leading edge', () => {
    const fail = (): never => {
      throw new Error('failed');
    };
    const late = debounce(fail, 10, options);
    late();
    lab.clock.tick(10);
    expect(lab.reported).to.deep.equal(['failed']);
    const early = debounce(fail, 10, { ...options, leading: true });
    expect(() => early()).to.throw('failed');
    lab.clock.tick(10);
    late();
    lab.clock.tick(10);
    expect(lab.reported).to.deep.equal(['failed', 'failed']);
  });

  it('reports a function that returns a promise: that is what debounceAsync is for', () => {
    const save = debounce(async () => undefined, 10, options);
    void save();
    lab.clock.tick(10);
    expect(lab.reported).to.deep.equal(['ENOTSUP']);
  });

  it('keeps a call apart that comes when its wait is over, but before the timer', () => {
    const save = debounce(note, 100, options);
    save('a');
    new Kcont(lab.wq.softserial, null, () => void save('b'), 0).schedule(100);
    lab.clock.tick(199);
    expect(lab.take()).to.deep.equal([]);
    lab.clock.tick(1);
    expect(lab.take()).to.deep.equal(['200 b']);
  });

  it('drops what waits when it is disposed or its kernel is closed, and does nothing afterwards', async () => {
    const save = debounce(note, 100, { ...options, maxWaitMs: 100 });
    save('a');
    save[Symbol.dispose]();
    expect([save('b'), save.pending(), save.flush()]).to.deep.equal([undefined, false, undefined]);
    const other = debounce(note, 100, { ...options, leading: true });
    other('c');
    other('d');
    void lab.kernel.close();
    await lab.clock.advance(1000);
    expect([other('e'), other.pending()]).to.deep.equal(['c', false]);
    expect(lab.take()).to.deep.equal(['0 c']);
  });

  it('refuses bad arguments', () => {
    for (const bad of [-1, NaN, Infinity, '5']) {
      expect(codeOf(() => debounce(note, bad as number))).to.equal('EINVAL');
      expect(codeOf(() => throttle(note, bad as number))).to.equal('EINVAL');
    }
    expect(codeOf(() => debounce(5 as never, 5))).to.equal('EINVAL');
    expect(codeOf(() => throttle(note, 5, { maxWaitMs: 5 } as object))).to.equal('EINVAL');
  });

  describe('by key', () => {
    const keyed = (own: DebounceOptions<[string]> = {}) =>
      debounce(note, 100, { ...own, wq: lab.wq.softclock, keyBy: (value) => value[0] });

    it('keeps the calls of keys apart, and frees a key after its wait', () => {
      const save = keyed();
      save('a1');
      lab.clock.tick(50);
      save('b1');
      save('a2');
      expect([save.size, save.pending('a'), save.pending('c'), save.pending()]).to.deep.equal([
        2,
        true,
        false,
        true,
      ]);
      lab.clock.tick(100);
      expect([lab.take(), save.size, save.pending()]).to.deep.equal([
        ['150 a2', '150 b1'],
        0,
        false,
      ]);
    });

    it('cancels and flushes one key or all', () => {
      const save = keyed();
      for (const value of ['a', 'b', 'c', 'd']) save(value);
      save.cancel('a');
      expect([save.flush('b'), save.flush('z'), save.size]).to.deep.equal(['b', undefined, 3]);
      expect(save.flush()).to.equal(undefined);
      expect(lab.take()).to.deep.equal(['0 b', '0 c', '0 d']);
      lab.clock.tick(100);
      expect(save.size).to.equal(0);
      save('e');
      save.cancel();
      expect([save.size, save('f'), save[Symbol.dispose](), save('g'), save.size]).to.deep.equal([
        0,
        undefined,
        undefined,
        undefined,
        0,
      ]);
      lab.clock.tick(1000);
      expect(lab.take()).to.deep.equal([]);
    });

    it('remembers a key whose limit has passed until its wait has', () => {
      const save = keyed({ maxWaitMs: 150 });
      const plain = debounce(note, 100, { ...options, maxWaitMs: 150 });
      for (const [ms, value] of [
        [0, 'a1'],
        [90, 'a2'],
        [70, 'a3'],
        [200, 'a4'],
      ] as const) {
        lab.clock.tick(ms);
        save(value);
        plain(value);
      }
      lab.clock.tick(500);
      const ran = lab.take();
      expect(ran.filter((_, index) => index % 2 === 0)).to.deep.equal(
        ran.filter((_, index) => index % 2 === 1),
      );
      expect([ran.length, save.size, lab.kernel.inspect().pending]).to.deep.equal([6, 0, 0]);
    });

    it('keeps a key that its own function calls again', () => {
      let calls = 0;
      const again: { (value: string): string | undefined; size: number } = debounce(
        (value: string): string => {
          note(value);
          if (++calls < 3) again(value);
          return value;
        },
        100,
        { wq: lab.wq.softclock, keyBy: (value) => value },
      );
      again('a');
      lab.clock.tick(1000);
      expect([lab.take(), again.size]).to.deep.equal([['100 a', '200 a', '300 a'], 0]);
    });
  });

  it('works on the clock of the host', async () => {
    const kernel = new Kernel();
    const begun = kernel.now();
    const elapsed = await new Promise<number>((resolve) => {
      const end = debounce(() => resolve(kernel.now() - begun), 20, { wq: kernel.wq.softclock });
      for (let i = 0; i < 1000; i++) end();
    });
    expect(elapsed).to.be.at.least(20);
  });
});

describe('throttle', () => {
  it('has the results of lodash in random programs', () => {
    fc.assert(
      fc.property(program, (played) => {
        const { waitMs, leading, trailing } = played;
        const own = { ...played, maxWaitMs: waitMs, leading: leading ?? true };
        expect(playOurs(own)).to.deep.equal(playLodash({ ...own, trailing }));
      }),
      { numRuns: 1000 * soak },
    );
  });

  it('invokes the function at once, and then once in each wait', () => {
    const lab = new Lab();
    const times: string[] = [];
    const draw = throttle((n: number) => void times.push(`${lab.clock.now}: ${n}`), 100, {
      wq: lab.wq.softclock,
    });
    for (let i = 0; i < 25; i++) {
      draw(i);
      lab.clock.tick(10);
    }
    lab.clock.tick(1000);
    expect(times).to.deep.equal(['0: 0', '100: 9', '200: 19', '300: 24']);
    expect([draw.pending(), draw.size]).to.deep.equal([false, 1]);
  });
});
