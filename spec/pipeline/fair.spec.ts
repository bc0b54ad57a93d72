import { expect } from 'chai';
import fc from 'fast-check';
import { Kernel } from '../../lib/index.ts';
import { pipeline, type KeyByOptions, type Pipeline } from '../../lib/pipeline/index.ts';
import {
  Lab,
  codeOf,
  deferred,
  rejectionOf,
  settled,
  soak,
  type Deferred,
} from '../support/lab.ts';

interface Entry {
  readonly key: string | null;
  readonly name: string;
}

/** Work that the spec ends explicitly, one item at a time. */
class Work {
  readonly ran: string[] = [];
  readonly #inFlight = new Map<string, Deferred<void>>();

  readonly func = async (entry: Entry): Promise<Entry> => {
    this.ran.push(entry.name);
    const run = deferred();
    this.#inFlight.set(entry.name, run);
    await run.promise;
    return entry;
  };

  end(name: string): void {
    this.#inFlight.get(name)?.resolve();
    this.#inFlight.delete(name);
  }

  /** Ends all that run, the first begun first. */
  endAll(): void {
    for (const name of this.#inFlight.keys()) this.end(name);
  }
}

function keyOf({ key }: Entry): string | null {
  return key;
}

/** Adds `count` items of a key, which are called `a0`, `a1` … */
function add(
  line: Pick<Pipeline<Entry, unknown>, 'push'>,
  key: string | null,
  count: number,
  urgent = false,
): void {
  for (let i = 0; i < count; i++)
    line.push({ key, name: `${key ?? '-'}${i}` }, undefined, { urgent });
}

/** A pipeline of one stage, whose functions take 1 ms, and the order in which they ran. */
function oneStage(
  lab: Lab,
  stage: { limit?: number; buffer?: number; lock?: null } = {},
  options: KeyByOptions<string> = { fair: true },
): Pipeline<Entry, Entry> {
  return pipeline<Entry>()
    .keyBy(keyOf, options)
    .stage(
      'work',
      async (entry) => {
        lab.ran.push(entry.name);
        await lab.wq.softclock.run(() => undefined, { delayMs: 1 });
        return entry;
      },
      stage,
    )
    .start({ kernel: lab.kernel, onError: (error) => void lab.errors.push(error) });
}

describe('keyBy(key, { fair: true })', () => {
  it('lets one item of a key wait for one round, whatever another key has sent', async () => {
    const lab = new Lab();
    const line = oneStage(lab, { limit: 1 });
    add(line, 'a', 1000);
    add(line, 'b', 2);
    add(line, 'c', 1);
    await lab.clock.advance(8);
    expect(lab.ran.join(' ')).to.equal('a0 b0 c0 a1 b1 a2 a3 a4 a5');
    line.abort();
  });

  it('without it, items are taken in the order in which they came', async () => {
    const lab = new Lab();
    const line = oneStage(lab, { limit: 1 }, {});
    add(line, 'a', 5);
    add(line, 'b', 2);
    await lab.clock.advance(6);
    expect(lab.ran.join(' ')).to.equal('a0 a1 a2 a3 a4 b0 b1');
  });

  it('does so on the host', async () => {
    const ran: string[] = [];
    const line = pipeline<Entry>()
      .keyBy(keyOf, { fair: true })
      .stage('work', ({ name }) => void ran.push(name), { wq: 'softnet' })
      .start({ kernel: new Kernel() });
    add(line, 'a', 20_000);
    add(line, 'b', 2);
    await line.drain();
    expect(ran.slice(0, 5)).to.deep.equal(['a0', 'a1', 'b0', 'a2', 'b1']);
    expect(ran).to.have.length(20_002);
    await line.close();
  });

  it('gives keys turns in proportion to their shares', async () => {
    const lab = new Lab();
    const shares = (key: string): number => (key === 'a' ? 4 : 1);
    const line = oneStage(lab, { limit: 1 }, { fair: true, shares });
    for (const key of ['z', 'a', 'b']) add(line, key, 100);
    await lab.clock.advance(59);
    const count = (key: string): number => lab.ran.filter((name) => name.startsWith(key)).length;
    expect([lab.ran.length, count('a'), count('b'), count('z')]).to.deep.equal([60, 39, 10, 11]);
    line.abort();
  });

  it('keeps busy keys from the places of those that could run', async () => {
    const { kernel, clock } = new Lab();
    const work = new Work();
    const line = pipeline<Entry>()
      .keyBy(keyOf, { fair: true })
      .stage('work', work.func, { limit: 3, buffer: 0 })
      .start({ kernel });
    add(line, 'a', 5);
    add(line, 'b', 2);
    add(line, 'c', 1);
    await clock.advance(0);
    expect(work.ran).to.deep.equal(['a0', 'b0', 'c0']);
    const { queued, running } = line.stats().stages[0]!;
    expect([queued, running, line.stats().waiting]).to.deep.equal([0, 3, 5]);
    work.end('b0');
    await clock.advance(0);
    expect(work.ran.slice(3)).to.deep.equal(['b1']);
    line.abort();
    await settled();
  });

  it('gives no turn more to a key whose next item comes while one runs', async () => {
    const { kernel, clock } = new Lab();
    const work = new Work();
    const line = pipeline<Entry>()
      .keyBy(keyOf, { fair: true })
      .stage('work', work.func, { limit: 1 })
      .start({ kernel });
    add(line, 'a', 1);
    add(line, 'b', 3);
    for (let i = 1; i < 4; i++) {
      line.push({ key: 'a', name: `a${i}` });
      work.endAll();
      await clock.advance(0);
      work.endAll();
      await clock.advance(0);
    }
    expect(work.ran.join(' ')).to.equal('a0 b0 a1 b1 a2 b2');
    line.abort();
    await settled();
  });

  it('takes items without a key in turn as one key, which is not kept in order', async () => {
    const lab = new Lab();
    const line = oneStage(lab, { limit: 2 });
    add(line, null, 4);
    add(line, 'b', 2);
    await lab.clock.advance(0);
    expect(lab.ran).to.deep.equal(['-0', '-1']);
    await lab.clock.advance(5);
    expect(lab.ran.join(' ')).to.equal('-0 -1 -2 b0 -3 b1');
  });

  it('counts the items of a key that run at the same time, if the stage has no lock', async () => {
    const lab = new Lab();
    const line = oneStage(lab, { limit: 2, lock: null });
    add(line, 'a', 6);
    add(line, 'b', 2);
    await lab.clock.advance(0);
    expect(lab.ran).to.deep.equal(['a0', 'a1']);
    await lab.clock.advance(1);
    expect(lab.ran.slice(2)).to.deep.equal(['a2', 'b0']);
    await lab.clock.advance(5);
    expect(lab.ran.join(' ')).to.equal('a0 a1 a2 b0 a3 b1 a4 a5');
  });

  it('takes urgent items first, in turn among themselves', async () => {
    const lab = new Lab();
    const line = oneStage(lab, { limit: 1 });
    add(line, 'a', 3);
    add(line, 'x', 3, true);
    add(line, 'y', 1, true);
    add(line, 'b', 1);
    // An ordinary item of its key is ahead of it.
    line.push({ key: 'a', name: 'late a' }, undefined, { urgent: true });
    await lab.clock.advance(10);
    expect(lab.ran.join(' ')).to.equal('x0 y0 x1 x2 a0 b0 a1 a2 late a');
  });

  it('lets an urgent item of a busy key not hold up ordinary items of others', async () => {
    const { kernel, clock } = new Lab();
    const work = new Work();
    const line = pipeline<Entry>()
      .keyBy(keyOf, { fair: true })
      .stage('work', work.func, { limit: 2 })
      .start({ kernel });
    add(line, 'u', 2, true);
    add(line, 'b', 1);
    await clock.advance(0);
    expect(work.ran).to.deep.equal(['u0', 'b0']);
    line.abort();
    await settled();
  });

  it('holds for the stages that follow, until the next keyBy', async () => {
    const lab = new Lab();
    const works = [new Work(), new Work(), new Work()] as const;
    const line = pipeline<Entry>()
      .keyBy(keyOf, { fair: true })
      .stage('first', works[0].func, { limit: 4 })
      .stage('second', works[1].func, { limit: 1, buffer: 0 })
      .keyBy(keyOf)
      .stage('third', works[2].func, { limit: 1, buffer: 100 })
      .start({ kernel: lab.kernel });
    add(line, 'a', 3);
    add(line, 'b', 3);
    for (let i = 0; i < 20; i++) {
      await lab.clock.advance(0);
      works[0].endAll();
      if (i % 3 === 2) works[1].endAll();
      await settled();
    }
    expect(works[1].ran).to.deep.equal(['a0', 'b0', 'a1', 'b1', 'a2', 'b2']);
    await lab.clock.advance(0);
    expect(works[2].ran).to.deep.equal(['a0']);
    line.abort();
    await settled();
  });

  it('lets the next item of a key run while the last one waits for the next stage', async () => {
    const { kernel, clock } = new Lab();
    const [first, second] = [new Work(), new Work()];
    const line = pipeline<Entry>()
      .keyBy(keyOf, { fair: true })
      .stage('first', first.func, { limit: 1, buffer: 1 })
      .stage('second', second.func, { limit: 1, buffer: 0 })
      .start({ kernel });
    add(line, 'a', 5);
    for (let i = 0; i < 6; i++) {
      await clock.advance(0);
      first.endAll();
      await settled();
    }
    await clock.advance(0);
    // One runs in the second stage, and as many as limit plus buffer are finished in the first.
    expect([first.ran, second.ran]).to.deep.equal([['a0', 'a1', 'a2'], ['a0']]);
    expect(line.stats().stages[0]).to.include({ queued: 0, running: 0, blocked: 2 });
    second.endAll();
    await settled();
    await clock.advance(0);
    expect([first.ran.length, second.ran.length]).to.deep.equal([4, 2]);
    line.abort();
    await settled();
  });

  it('is full when limit plus buffer items run or wait, and reads a source that far ahead', async () => {
    const lab = new Lab();
    const line = oneStage(lab, { limit: 1, buffer: 3 });
    const pushed = Array.from({ length: 5 }, (_, i) => line.push({ key: 'a', name: `a${i}` }));
    expect([pushed, line.full]).to.deep.equal([[true, true, true, false, false], true]);
    const ready: string[] = [];
    void line.ready().then(() => ready.push('ready'));
    await lab.clock.advance(1);
    expect(ready).to.deep.equal([]);
    await lab.clock.advance(1);
    expect([ready, line.full]).to.deep.equal([['ready'], false]);
    await lab.clock.advance(10);
    expect(lab.ran).to.have.length(5);

    lab.ran.length = 0;
    let read = 0;
    function* source(): Generator<Entry> {
      for (const name of ['a0', 'a1', 'a2', 'b0', 'a3', 'a4', 'a5']) {
        read++;
        yield { key: name[0] as string, name };
      }
    }
    const out: string[] = [];
    const reading = (async () => {
      for await (const { name } of line.through(source())) out.push(name);
    })();
    await lab.clock.advance(0);
    // The fifth waits outside: the source is read on when one has left.
    expect(read).to.equal(5);
    await lab.clock.advance(10);
    await reading;
    expect(out).to.deep.equal(lab.ran);
    expect(out.join(' ')).to.equal('a0 b0 a1 a2 a3 a4 a5');
    await Promise.all([line.close(), lab.clock.advance(10)]);
  });

  it('lets several sources of one pipeline take turns', async () => {
    const lab = new Lab();
    const line = oneStage(lab, { limit: 1, buffer: 2 });
    const read = async (key: string, count: number): Promise<void> => {
      const names = Array.from({ length: count }, (_, i) => ({ key, name: `${key}${i}` }));
      for await (const one of line.through(names)) void one;
    };
    const reading = Promise.all([read('a', 8), read('b', 3)]);
    await lab.clock.advance(20);
    await reading;
    expect(lab.ran.slice(0, 7).filter((name) => name.startsWith('b'))).to.have.length(3);
    await Promise.all([line.close(), lab.clock.advance(10)]);
  });

  it('forgets items that are aborted while they wait or before they run', async () => {
    const lab = new Lab();
    const line = oneStage(lab, { limit: 1 });
    const controllers: AbortController[] = [];
    const gone: string[] = [];
    for (const [i, key] of ['a', 'a', 'b', 'c', 'a'].entries()) {
      const controller = new AbortController();
      controllers.push(controller);
      line.push({ key, name: `${key}${i}` }, (error) => error !== null && gone.push(`${key}${i}`), {
        signal: controller.signal,
      });
    }
    // The first is scheduled and has not run; the third waits, alone of its key.
    controllers[0]?.abort(new Error('gone'));
    controllers[2]?.abort(new Error('gone'));
    controllers[4]?.abort(new Error('gone'));
    await lab.clock.advance(10);
    expect([lab.ran, gone]).to.deep.equal([
      ['c3', 'a1'],
      ['a0', 'b2', 'a4'],
    ]);
    expect(line.stats()).to.include({ size: 0, waiting: 0, done: 2, failed: 3 });
    expect(line.stats().stages[0]).to.include({ keys: 0, queued: 0, running: 0 });
  });

  it('refuses invalid options with EINVAL', () => {
    const plan = pipeline<string>();
    const shares = (): number => 1;
    const wrong: unknown[] = [
      { fair: 1 },
      { fair: true, shares: 3 },
      { shares },
      { fair: false, shares },
      { unfair: true },
      'fair',
    ];
    for (const options of wrong) {
      const call = (): unknown => plan.keyBy((value) => value, options as KeyByOptions<string>);
      expect(codeOf(call), JSON.stringify(options)).to.equal('EINVAL');
    }
  });

  it('fails an item whose shares are invalid or cannot be found, and no other', async () => {
    const lab = new Lab();
    const shares = (key: string): number => {
      if (key === 'throws') throw new Error('no shares');
      const of: Record<string, unknown> = {
        good: 2,
        most: 1000,
        zero: 0,
        half: 1.5,
        many: 1001,
        nan: NaN,
        null: null,
      };
      return of[key] as number;
    };
    const line = oneStage(lab, {}, { fair: true, shares });
    const keys = ['throws', 'zero', 'good', 'half', 'many', 'nan', 'null', 'undefined', 'most'];
    const results = Promise.all(keys.map((key) => rejectionOf(line.run({ key, name: key }))));
    await lab.clock.advance(10);
    expect(await results).to.deep.equal([
      'Error: no shares',
      'EINVAL',
      'none',
      'EINVAL',
      'EINVAL',
      'EINVAL',
      'EINVAL',
      'EINVAL',
      'none',
    ]);
    expect(line.stats().stages[0]?.keys).to.equal(0);
  });

  it('asks for the shares once while a key is inside, also if that adds an item of the key', async () => {
    const lab = new Lab();
    const asked: string[] = [];
    const line: Pipeline<Entry, Entry> = oneStage(
      lab,
      { limit: 1 },
      {
        fair: true,
        shares: (key) => {
          asked.push(key);
          if (asked.length === 1) line.push({ key, name: 'inner' });
          return 1;
        },
      },
    );
    line.push({ key: 'a', name: 'outer' });
    line.push({ key: 'a', name: 'later' });
    await lab.clock.advance(10);
    expect(lab.ran).to.deep.equal(['inner', 'outer', 'later']);
    expect(asked).to.deep.equal(['a', 'a']);
    line.push({ key: 'a', name: 'again' });
    expect(asked).to.have.length(3);
    await lab.clock.advance(10);
  });

  it('shows in reports, and closes with items that wait', async () => {
    const lab = new Lab();
    const line = oneStage(lab, { limit: 1 });
    add(line, 'a', 3);
    add(line, 'b', 1);
    expect(String(line)).to.contain('in order of keyOf, 2 inside').and.contain('3 waiting');
    const closing = line.close({ graceMs: 2 });
    await lab.clock.advance(10);
    const { unfinished } = await closing;
    expect(unfinished.map(({ state, input }) => `${state} ${(input as Entry).name}`)).to.deep.equal(
      ['queued a1', 'waiting a2'],
    );
    expect(lab.ran.join(' ')).to.equal('a0 b0');
    expect(lab.errors).to.have.length(2);
  });

  // The dullest model: an array for each key; the one with the lowest pass is searched each time.
  it('agrees with arrays and a search, in random programs', async () => {
    const step = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({ what: fc.constant('add' as const), at: fc.nat({ max: 4 }) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ what: fc.constant('abort' as const), at: fc.nat({ max: 30 }) }),
      },
      {
        weight: 2,
        arbitrary: fc.record({ what: fc.constant('end' as const), at: fc.nat({ max: 4 }) }),
      },
    );
    const property = fc.asyncProperty(
      fc.array(fc.constantFrom(1, 2, 4), { minLength: 5, maxLength: 5 }),
      fc.integer({ min: 1, max: 4 }),
      fc.array(step, { maxLength: 50 }),
      async (shares, limit, steps) => {
        const { kernel, clock } = new Lab();
        const work = new Work();
        const line = pipeline<Entry>()
          .keyBy(keyOf, { fair: true, shares: (key) => shares[Number(key)] as number })
          .stage('work', work.func, { limit, buffer: 3 })
          .start({ kernel, onError: () => undefined });
        const aborts = new Map<string, AbortController>();

        interface Side {
          at: number;
          pass: number;
          turn: number;
          waiting: string[];
          running: string | undefined;
        }
        const sides: Side[] = shares.map((_, at) => ({
          at,
          pass: 0,
          turn: 0,
          waiting: [],
          running: undefined,
        }));
        const expected: string[] = [];
        let now = 0;
        let latest = 0;
        let turns = 0;
        const queue = (): Side[] =>
          sides
            .filter(({ waiting, running }) => waiting.length > 0 && running === undefined)
            .toSorted((a, b) => a.pass - b.pass || a.turn - b.turn);
        const joins = (side: Side): void => {
          side.pass = Math.max(side.pass, now);
          side.turn = turns++;
          latest = Math.max(latest, side.pass);
        };
        const left = (before: number): void => {
          if (before > 0 && queue().length === 0) now = latest;
        };
        const begin = (side: Side, name: string): void => {
          side.running = name;
          expected.push(name);
        };
        const fill = (): void => {
          while (sides.filter(({ running }) => running !== undefined).length < limit) {
            const waiting = queue();
            const [next] = waiting;
            if (next === undefined) break;
            now = next.pass;
            next.pass += 1 / shares[next.at]!;
            next.turn = turns++;
            latest = Math.max(latest, next.pass);
            const name = next.waiting.shift()!;
            begin(next, name);
            // A line that is empty is forgotten.
            if (next.waiting.length === 0) next.pass = 0;
            left(waiting.length);
          }
        };
        for (const [nth, { what, at }] of steps.entries()) {
          const names = [...aborts.keys()];
          if (what === 'add') {
            const name = `${at}.${nth}`;
            const controller = new AbortController();
            aborts.set(name, controller);
            line.push({ key: String(at), name }, () => undefined, { signal: controller.signal });
            const side = sides[at]!;
            const isFree = sides.filter(({ running }) => running !== undefined).length < limit;
            if (isFree && side.running === undefined && queue().length === 0) begin(side, name);
            else {
              side.waiting.push(name);
              if (side.waiting.length === 1) {
                side.pass = now + 1 / shares[at]!;
                if (side.running === undefined) joins(side);
              }
            }
          } else if (what === 'abort') {
            const name = names[at];
            if (name === undefined) continue;
            const side = sides.find(({ waiting }) => waiting.includes(name));
            if (side === undefined) continue;
            const before = queue().length;
            side.waiting.splice(side.waiting.indexOf(name), 1);
            if (side.waiting.length === 0) {
              side.pass = 0;
              if (side.running === undefined) left(before);
            }
            aborts.get(name)?.abort();
          } else {
            const side = sides[at]!;
            if (side.running === undefined) continue;
            work.end(side.running);
            side.running = undefined;
            if (side.waiting.length > 0) joins(side);
            fill();
          }
          await clock.advance(0);
          expect(work.ran).to.deep.equal(expected);
        }
        line.abort();
        await clock.advance(0);
        expect(line.stats().stages[0]).to.include({ keys: 0, queued: 0, running: 0 });
      },
    );
    await fc.assert(property, { numRuns: 200 * soak });
  }).timeout(60_000 * soak);
});
