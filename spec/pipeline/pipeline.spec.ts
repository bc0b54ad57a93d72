import { AsyncLocalStorage } from 'node:async_hooks';
import { inspect } from 'node:util';
import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { pipeline } from '../../lib/pipeline/index.ts';
import type { Failure, StageContext } from '../../lib/pipeline/index.ts';
import { KcontError, Kernel, Mutex } from '../../lib/index.ts';
import type { Kcont } from '../../lib/index.ts';
import { codeOf, deferred, Lab, rejectionOf, settled, soak } from '../support/lab.ts';
import type { Deferred } from '../support/lab.ts';

/** Asynchronous work that the spec ends explicitly. */
class Work {
  readonly ran: string[];
  readonly #inFlight = new Map<string, Deferred<string>>();

  constructor(ran: string[] = []) {
    this.ran = ran;
  }

  /** A stage's function: records the item, and runs until `end` or `fail`. */
  readonly func = (value: string, { stage }: StageContext): Promise<string> => {
    this.ran.push(`${stage} ${value}`);
    const run = deferred<string>();
    this.#inFlight.set(value, run);
    return run.promise;
  };

  async end(...values: string[]): Promise<void> {
    for (const value of values) this.#inFlight.get(value)?.resolve(value);
    await settled();
  }

  async fail(value: string, error: unknown): Promise<void> {
    this.#inFlight.get(value)?.reject(error);
    await settled();
  }

  take(): string[] {
    return this.ran.splice(0);
  }
}

/** Records how a promise settles. */
function note(ran: string[], name: string, promise: Promise<unknown>): void {
  promise.then(
    (value) => ran.push(`${name}: ${String(value)}`),
    (error: unknown) => ran.push(`${name}! ${messageOf(error)}`),
  );
}

function messageOf(error: unknown): string {
  if (error instanceof KcontError) return error.code;
  return error instanceof Error ? error.message : String(error);
}

describe('pipeline', () => {
  describe('run()', () => {
    it('sends an item through all stages at their priorities, and returns the result', async () => {
      const { clock, kernel, ran } = new Lab();
      const site = pipeline<string>('site')
        .stage('parse', (text) => Number(text), { wq: 'softnet' })
        .stage(
          'double',
          async (n, { stage, pipeline: name, urgent, key }) => {
            ran.push(`${name} ${stage} ${n} ${urgent} ${String(key)}`);
            await Promise.resolve();
            return n * 2;
          },
          { wq: 'primedlow' },
        )
        .stage('render', (n) => ({ html: `<b>${n}</b>` }))
        .start({ kernel });
      const result = site.run('21');
      expect([site.name, site.size]).to.deep.equal(['site', 1]);
      await clock.advance(0);
      expect((await result).html).to.equal('<b>42</b>');
      expect(ran).to.deep.equal(['site double 21 false undefined']);
      expect(site.size).to.equal(0);
      expect(kernel.inspect()).to.include({ pending: 0, queued: 0, running: 0 });
    });

    it('reuses one continuation on the workqueues of all stages', async () => {
      const lab = new Lab();
      const seen = new Set<Kcont<unknown>>();
      const names: string[] = [];
      const look = (n: number): number => {
        const { current } = lab.wq.prihigh._dispatcher;
        if (current !== undefined) {
          seen.add(current);
          names.push(`${current.name} at ${current.wq.priority}`);
        }
        return n;
      };
      const line = pipeline<number>('line')
        .stage('a', look, { wq: 'softnet' })
        .stage('b', look)
        .stage('c', look, { wq: lab.kernel.acquire(42) })
        .start({ kernel: lab.kernel });
      const result = line.run(7, { urgent: true });
      lab.clock.tick(0);
      expect(await result).to.equal(7);
      expect(names).to.deep.equal(['line/a at 219', 'line/b at 131', 'line/c at 46']);
      expect(seen.size).to.equal(1);
      expect([...seen][0]?.destroyed).to.equal(true);
    });

    it('runs stages of higher priority first', async () => {
      const { clock, kernel, ran } = new Lab();
      const visit = (n: number, { stage }: StageContext): number => {
        ran.push(`${stage}${n}`);
        return n;
      };
      const line = pipeline<number>()
        .stage('a', visit, { wq: 'prilow' })
        .stage('b', visit, { wq: 'softbio' })
        .start({ kernel });
      line.push(1);
      line.push(2);
      clock.tick(0);
      expect(ran).to.deep.equal(['a1', 'b1', 'a2', 'b2']);
      await line.close();
    });

    it('accepts a stage that returns a foreign thenable', async () => {
      const { clock, kernel } = new Lab();
      const thenable = {
        // oxlint-disable-next-line unicorn/no-thenable -- what it is about
        then: (resolve: (value: string) => void): void => resolve('thenable'),
      } as unknown as PromiseLike<string>;
      const line = pipeline<null>()
        .stage('a', () => thenable)
        .stage('b', (text) => text.length)
        .start({ kernel });
      const result = line.run(null);
      await clock.advance(0);
      expect(await result).to.equal(8);
    });
  });

  describe('a function that returns something hostile', () => {
    const hostile: Record<string, () => unknown> = {
      'a then that throws when it is asked for': () => ({
        // oxlint-disable-next-line unicorn/no-thenable -- what it is about
        get then(): unknown {
          throw new Error('hostile');
        },
      }),
      'a then that throws when it is called': () => ({
        // oxlint-disable-next-line unicorn/no-thenable -- what it is about
        then: (): void => {
          throw new Error('hostile');
        },
      }),
      'a promise with a constructor that throws': () =>
        Object.defineProperty(Promise.resolve(1), 'constructor', {
          get: () => {
            throw new Error('hostile');
          },
        }),
    };
    for (const [name, make] of Object.entries(hostile)) {
      for (const wq of ['prihigh', 'softclock'] as const) {
        it(`fails its item and delays no other: ${name}, on ${wq}`, async () => {
          const { clock, kernel, reported } = new Lab();
          const line = pipeline<number>('line')
            .stage(
              'one',
              (n) => (n === 1 ? make() : n),
              wq === 'prihigh' ? { wq, limit: 1 } : { wq },
            )
            .start({ kernel });
          const results = [1, 2].map((n) => line.run(n).then(String, messageOf));
          await clock.advance(0);
          const how = await Promise.all(results);
          expect(how[1]).to.equal('2');
          expect(how[0]).to.equal(
            !name.includes('asked for') && wq === 'softclock' ? 'ENOTSUP' : 'hostile',
          );
          expect([line.size, line.stats().stages[0]?.running, ...reported]).to.deep.equal([0, 0]);
        });
      }
    }
  });

  describe('push()', () => {
    it('calls back with the result or the error', () => {
      const { clock, kernel, ran } = new Lab();
      const line = pipeline<number>()
        .stage('root', (n) => {
          if (n < 0) throw new Error('negative');
          return Math.sqrt(n);
        })
        .start({ kernel });
      const callback = (error: unknown, result: number | undefined): void =>
        void ran.push(error === null ? `result ${result}` : `error ${messageOf(error)}`);
      line.push(4, callback);
      line.push(-1, callback);
      line.push(9, callback);
      clock.tick(0);
      expect(ran).to.deep.equal(['result 2', 'error negative', 'result 3']);
    });

    it('passes errors to the onError of the pipeline if there is no callback', () => {
      const { clock, kernel } = new Lab();
      const failures: [string, Failure<number>][] = [];
      const line = pipeline<number>('line')
        .stage('throws', (n) => {
          throw new Error(`no ${n}`);
        })
        .start({ kernel, onError: (error, failure) => failures.push([messageOf(error), failure]) });
      expect(line.push(5)).to.equal(true);
      clock.tick(0);
      expect(failures).to.deep.equal([['no 5', { pipeline: 'line', stage: 'throws', input: 5 }]]);
    });

    it('passes unhandled errors, and errors of callbacks, to the kernel', () => {
      const lab = new Lab();
      const line = pipeline<number>()
        .stage('throws', (n) => {
          if (n === 1) throw new Error('from the stage');
          return n;
        })
        .start({ kernel: lab.kernel });
      line.push(1);
      line.push(2, () => {
        throw new Error('from the callback');
      });
      lab.clock.tick(0);
      expect(lab.reported).to.deep.equal(['from the stage', 'from the callback']);
      expect(line.stats()).to.include({ size: 0, done: 1, failed: 1 });
    });

    it('passes them to the onError of the workqueue of the stage, if it has one', () => {
      const lab = new Lab();
      const byQueue: string[] = [];
      const wq = lab.kernel.acquire(100, {
        maxActive: 2,
        onError: (error, kc) => byQueue.push(`${messageOf(error)} of ${kc.name}`),
      });
      const line = pipeline<number>('line')
        .stage(
          'throws',
          (n) => {
            if (n === 1) throw new Error('from the stage');
            return n;
          },
          { wq },
        )
        .start({ kernel: lab.kernel });
      line.push(1);
      line.push(2, () => {
        throw new Error('from the callback');
      });
      lab.clock.tick(0);
      expect(byQueue).to.deep.equal([
        'from the stage of line/throws',
        'from the callback of line/throws',
      ]);
      expect(lab.reported).to.deep.equal([]);
    });

    it('passes errors that the onError of the pipeline throws to the kernel', () => {
      const lab = new Lab();
      const line = pipeline<number>()
        .stage('throws', () => {
          throw new Error('from the stage');
        })
        .start({
          kernel: lab.kernel,
          onError: (error) => {
            throw new Error(`from onError, for what came ${messageOf(error)}`);
          },
        });
      line.push(1);
      line.push(2);
      lab.clock.tick(0);
      const expected = 'from onError, for what came from the stage';
      expect(lab.reported).to.deep.equal([expected, expected]);
      expect(line.size).to.equal(0);
    });

    it('raises an uncaught exception if the kernel has no onError', async () => {
      const { clock } = new Lab();
      const line = pipeline<number>()
        .stage('throws', () => {
          throw new Error('uncaught');
        })
        .start({ kernel: new Kernel({ clock }) });
      line.push(1);
      let raised: unknown;
      await clock.advance(0).catch((error: unknown) => (raised = error));
      expect(messageOf(raised)).to.equal('uncaught');
    });

    it('returns whether the next item would get a slot, and ready() waits for one', async () => {
      const { clock, kernel, ran } = new Lab();
      const work = new Work(ran);
      const line = pipeline<string>()
        .stage('a', work.func, { limit: 1, buffer: 1 })
        .start({ kernel });
      expect(await line.ready()).to.equal(undefined);
      expect([line.push('1'), line.full]).to.deep.equal([true, false]);
      expect([line.push('2'), line.full]).to.deep.equal([false, true]);
      expect(line.push('3')).to.equal(false);
      note(ran, 'ready', line.ready());
      await clock.advance(0);
      await work.end('1');
      await clock.advance(0);
      expect(work.take()).to.deep.equal(['a 1', 'a 2']);
      await work.end('2');
      expect(work.take()).to.deep.equal(['ready: undefined']);
      clock.tick(0);
      await work.end('3');
      expect(line.size).to.equal(0);
    });
  });

  describe('bounds', () => {
    it('runs no more functions of a stage at a time than its limit', async () => {
      const { clock, kernel } = new Lab();
      const work = new Work();
      const line = pipeline<string>().stage('a', work.func, { limit: 2 }).start({ kernel });
      for (const value of ['1', '2', '3', '4']) line.push(value);
      clock.tick(0);
      expect(work.take()).to.deep.equal(['a 1', 'a 2']);
      await work.end('2');
      clock.tick(0);
      expect(work.take()).to.deep.equal(['a 3']);
      expect(line.stats().stages[0]).to.include({ running: 2, queued: 1, passed: 1, limit: 2 });
      await work.end('1', '3');
      clock.tick(0);
      expect(work.take()).to.deep.equal(['a 4']);
    });

    it('uses the limit of a workqueue that has one', async () => {
      const { clock, kernel } = new Lab();
      const wq = kernel.acquire(100, { maxActive: 2 });
      const work = new Work();
      const [one, other] = ['one', 'other'].map((name) =>
        pipeline<string>().stage(name, work.func, { wq }).start({ kernel }),
      ) as [ReturnType<typeof start>, ReturnType<typeof start>];
      const start = () => pipeline<string>().stage('', work.func).start();
      one.push('1');
      other.push('2');
      one.push('3');
      other.push('urgent', undefined, { urgent: true });
      clock.tick(0);
      expect(work.take()).to.deep.equal(['other urgent', 'one 1']);
      await work.end('1');
      clock.tick(0);
      expect(work.take()).to.deep.equal(['other 2']);
      expect(one.stats().stages[0]).to.include({ limit: 2, wq: 'pri100' });
      await work.end('2', 'urgent');
      await clock.advance(0);
      await work.end('3');
    });

    it('holds at most limit plus buffer items in a stage, with back-pressure to the source', async () => {
      const { clock, kernel } = new Lab();
      const work = new Work();
      const line = pipeline<string>()
        .stage('sync', (value) => value, { wq: 'softnet', buffer: 1 })
        .stage('a', work.func, { limit: 1, buffer: 2 })
        .stage('b', work.func, { limit: 1, buffer: 0 })
        .start({ kernel });
      const values = Array.from({ length: 9 }, (_, i) => String(i));
      const results: string[] = [];
      for (const value of values) note(results, 'out', line.run(value));
      const figures = (): string => {
        const { waiting, stages } = line.stats();
        const [s, a, b] = stages.map(
          ({ queued, running, blocked }) => `${queued}/${running}/${blocked}`,
        );
        return `${waiting} | ${s} | ${a} | ${b}`;
      };
      await clock.advance(0);
      expect(figures()).to.equal('4 | 0/0/2 | 2/1/0 | 0/0/0');
      await work.end('0');
      await clock.advance(0);
      expect(figures()).to.equal('3 | 0/0/2 | 2/1/0 | 0/1/0');
      await work.end('1', '2', '3');
      await clock.advance(0);
      await work.end('2');
      await clock.advance(0);
      await work.end('3');
      await clock.advance(0);
      // All finished items of a are blocked there until an item leaves b.
      expect(figures()).to.equal('3 | 0/0/2 | 0/0/3 | 0/1/0');
      for (const value of values) {
        await work.end(value);
        await clock.advance(0);
        await work.end(...values);
        await clock.advance(0);
      }
      expect(figures()).to.equal('0 | 0/0/0 | 0/0/0 | 0/0/0');
      expect(results).to.deep.equal(values.map((value) => `out: ${value}`));
    });
  });

  describe('keyBy()', () => {
    it('keeps the items of one key in order, one at a time in each stage', async () => {
      const { clock, kernel } = new Lab();
      const work = new Work();
      const out: string[] = [];
      const line = pipeline<string>()
        .keyBy((value) => value[0])
        .stage('a', work.func, { wq: 'primedlow' })
        .stage('b', work.func, { wq: 'prihigh' })
        .start({ kernel });
      for (const value of ['x1', 'x2', 'y1', 'x3']) note(out, 'out', line.run(value));
      clock.tick(0);
      expect(work.take()).to.deep.equal(['a x1', 'a y1']);
      await work.end('x1');
      clock.tick(0);
      expect(work.take(), 'the next of a key may be one stage behind').to.deep.equal([
        'b x1',
        'a x2',
      ]);
      await work.end('x2');
      clock.tick(0);
      expect(work.take(), 'x2 waits for x1 to leave b').to.deep.equal(['a x3']);
      await work.end('y1');
      clock.tick(0);
      expect(work.take()).to.deep.equal(['b y1']);
      await work.end('x1', 'x3', 'y1');
      clock.tick(0);
      await work.end('x2');
      clock.tick(0);
      await work.end('x3');
      expect(out).to.deep.equal(['out: x1', 'out: y1', 'out: x2', 'out: x3']);
      expect(line.stats().stages[0]?.keys).to.equal(0);
    });

    it('passes the key to the stages, and treats undefined and null as no key', async () => {
      const { clock, kernel } = new Lab();
      const line = pipeline<{ user?: string | null }>()
        .keyBy((request) => request.user)
        .stage('a', (_, { key }) => key)
        .start({ kernel });
      const results = [{ user: 'ann' }, {}, { user: null }].map((request) => line.run(request));
      clock.tick(0);
      expect(await Promise.all(results)).to.deep.equal(['ann', undefined, undefined]);
    });

    it('can be called again, for another key from there on', async () => {
      const { clock, kernel } = new Lab();
      const work = new Work();
      const line = pipeline<string>()
        .keyBy((value) => value[0])
        .stage('a', work.func)
        .keyBy((value) => value[1])
        .stage('b', work.func)
        .start({ kernel });
      for (const value of ['x1', 'y1', 'y2']) line.push(value);
      clock.tick(0);
      expect(work.take()).to.deep.equal(['a x1', 'a y1']);
      await work.end('x1', 'y1');
      clock.tick(0);
      expect(work.take()).to.have.members(['b x1', 'a y2']);
      expect(line.stats().stages.map(({ keys }) => keys)).to.deep.equal([1, 1]);
    });

    it('fails an item if the key function throws or aborts it', async () => {
      const { clock, kernel, ran } = new Lab();
      const abort = new AbortController();
      const line = pipeline<string>()
        .keyBy((value) => {
          if (value === 'bad') throw new Error('no key');
          abort.abort(new Error('aborted while arriving'));
          return value;
        })
        .stage('a', (value) => value)
        .start({ kernel });
      note(ran, 'bad', line.run('bad'));
      note(ran, 'aborted', line.run('good', { signal: abort.signal }));
      note(ran, 'good', line.run('good'));
      await clock.advance(0);
      expect(ran).to.have.members(['bad! no key', 'aborted! aborted while arriving', 'good: good']);
      expect(line.stats()).to.include({ size: 0, done: 1, failed: 2 });
      expect(line.stats().stages[0]?.keys).to.equal(0);
    });

    it('keeps the order even if stages are full and items are urgent, late, aborted or failing', async () => {
      // Random pipelines, keys, urgency, durations and outcomes: items of a key do not overtake, each item
      // succeeds or fails as intended, and nothing is left.
      const stage = fc.record({
        wq: fc.constantFrom('prihigh' as const, 'prilow' as const, 'softnet' as const),
        limit: fc.constantFrom(1, 2, 3),
        buffer: fc.constantFrom(0, 1, 4),
      });
      const fate = fc.record({
        how: fc.constantFrom('fine', 'fine', 'fine', 'throws', 'never settles', 'aborted'),
        at: fc.nat(3),
      });
      const entry = fc.record({
        key: fc.constantFrom('a', 'b', 'c'),
        urgent: fc.boolean(),
        ms: fc.array(fc.nat(3), { minLength: 4, maxLength: 4 }),
        atMs: fc.nat(4),
        fate,
      });
      type Value = { key: string; nth: number; ms: number[]; fate: { how: string; at: number } };
      const property = fc.asyncProperty(
        fc.array(stage, { minLength: 1, maxLength: 4 }),
        fc.array(entry, { minLength: 1, maxLength: 20 }),
        fc.constantFrom(
          {},
          { fair: true },
          { fair: true, shares: (by: string) => by.charCodeAt(0) },
        ),
        async (stages, entries, options) => {
          const { clock, kernel, errors } = new Lab();
          let plan = pipeline<Value>().keyBy((value) => value.key, options);
          for (const [index, { wq, limit, buffer }] of stages.entries()) {
            const lastOf = new Map<string, number>();
            let running = 0;
            const enter = ({ key, nth, fate: { how, at } }: Value): void => {
              expect(nth, 'in order').to.be.greaterThan(lastOf.get(key) ?? -1);
              lastOf.set(key, nth);
              if (how === 'throws' && at === index) throw new Error('thrown');
            };
            const sync = (value: Value): Value => {
              enter(value);
              return value;
            };
            const async = async (value: Value, { signal }: StageContext): Promise<Value> => {
              enter(value);
              expect(++running, 'within the limit').to.be.at.most(limit);
              const leave = (): void => void running--;
              signal.addEventListener('abort', leave);
              const never = value.fate.how === 'never settles' && value.fate.at === index;
              if (never) await new Promise(() => {});
              await kernel.wq.softclock.run(() => {}, { delayMs: value.ms[index] ?? 0 });
              signal.removeEventListener('abort', leave);
              if (!signal.aborted) leave();
              return value;
            };
            plan =
              wq === 'softnet'
                ? plan.stage(`${index}`, sync, { wq, buffer })
                : plan.stage(`${index}`, async, { wq, limit, buffer });
          }
          const line = plan.start({ kernel });
          const out = new Map<string, number[]>();
          const ended: { nth: number; error: unknown }[] = [];
          const byTime = entries.toSorted((x, y) => x.atMs - y.atMs);
          for (const [nth, { key, urgent, ms, atMs, fate: end }] of byTime.entries()) {
            if (atMs > clock.now) await clock.advance(atMs - clock.now);
            const abort = new AbortController();
            const value = { key, nth, ms, fate: end };
            const deadlineMs = end.how === 'never settles' ? 50 : 10_000;
            line.push(
              value,
              (error) => {
                ended.push({ nth, error });
                if (error === null) out.set(key, [...(out.get(key) ?? []), nth]);
              },
              { urgent, deadlineMs, signal: abort.signal },
            );
            if (end.how === 'aborted') {
              const leave = (): void => abort.abort(new Error('aborted'));
              void kernel.wq.softserial.run(leave, { delayMs: end.at * 3 });
            }
            for (const stats of line.stats().stages) {
              const held = stats.queued + stats.running + stats.blocked;
              // Urgent items have as many slots of their own.
              expect(held).to.be.at.most(2 * (stats.limit + stats.buffer));
            }
          }
          await clock.advance(9000);
          expect(ended.map(({ nth }) => nth).toSorted((x, y) => x - y)).to.deep.equal([
            ...byTime.keys(),
          ]);
          const reasons = { throws: 'thrown', 'never settles': 'ETIMEDOUT', aborted: 'aborted' };
          for (const { nth, error } of ended) {
            const how = byTime[nth]?.fate.how as keyof typeof reasons | 'fine';
            if (how === 'fine') expect(error).to.equal(null);
            else if (error !== null) {
              expect(messageOf(error)).to.equal(reasons[how]);
            }
          }
          for (const order of out.values()) {
            expect(order).to.deep.equal(order.toSorted((x, y) => x - y));
          }
          expect(errors).to.deep.equal([]);
          expect(kernel.inspect()).to.include({ pending: 0, queued: 0, running: 0 });
          expect(line.stats().stages[0]?.keys).to.equal(0);
          for (const { queued, running, blocked } of line.stats().stages) {
            expect([queued, running, blocked]).to.deep.equal([0, 0, 0]);
          }
        },
      );
      await fc.assert(property, { numRuns: 120 * soak });
    }).timeout(60_000 * soak);
  });

  describe('lock', () => {
    it('is held while the function runs, and can be shared with other code', async () => {
      const { clock, kernel } = new Lab();
      const lock = new Mutex();
      const work = new Work();
      const line = pipeline<string>().stage('a', work.func, { lock }).start({ kernel });
      lock.tryEnter();
      line.push('1');
      line.push('2');
      clock.tick(0);
      expect(work.take()).to.deep.equal([]);
      lock.exit();
      clock.tick(0);
      expect([...work.take(), lock.held]).to.deep.equal(['a 1', true]);
      await work.end('1');
      clock.tick(0);
      await work.end('2');
      expect([...work.take(), lock.held]).to.deep.equal(['a 2', false]);
    });

    it('can be chosen per item, or null for none, and replaces that of the key', async () => {
      const { clock, kernel, ran } = new Lab();
      const locks = [new Mutex(), new Mutex()];
      const work = new Work();
      const line = pipeline<string>()
        .keyBy(() => 'the same')
        .stage('a', work.func, {
          lock: (value) => {
            if (value === 'bad') return 'a lock' as unknown as null;
            return locks[Number(value[0])] ?? null;
          },
        })
        .start({ kernel });
      for (const value of ['0a', '0b', '1a', 'none', 'none too']) line.push(value);
      note(ran, 'bad', line.run('bad'));
      await clock.advance(0);
      expect(work.take()).to.deep.equal(['a 0a', 'a 1a', 'a none', 'a none too']);
      expect(ran).to.deep.equal(['bad! EINVAL']);
    });
  });

  describe('urgent items', () => {
    it('go before ordinary items in each stage and admission queue, within the same limit', async () => {
      const { clock, kernel } = new Lab();
      const work = new Work();
      const line = pipeline<string>()
        .stage('a', work.func, { limit: 1, buffer: 1 })
        .start({ kernel });
      for (const value of ['1', '2', '3']) line.push(value);
      clock.tick(0);
      for (const value of ['u1', 'u2']) line.push(value, undefined, { urgent: true });
      const order = [];
      for (const value of ['1', 'u1', 'u2', '2', '3']) {
        clock.tick(0);
        order.push(...work.take());
        await work.end(value);
      }
      expect(order).to.deep.equal(['a 1', 'a u1', 'a u2', 'a 2', 'a 3']);
    });

    it('have as many slots of their own, and share the limit of running functions', async () => {
      const { clock, kernel } = new Lab();
      const work = new Work();
      const line = pipeline<string>()
        .stage('a', (value) => value, { wq: 'softnet', buffer: 0 })
        .stage('b', work.func, { limit: 1, buffer: 1 })
        .start({ kernel });
      const inStages = (): string => {
        const { waiting, stages } = line.stats();
        const figures = stages.map(({ queued, running, blocked }) => queued + running + blocked);
        return [waiting, ...figures].join(' ');
      };
      for (const value of ['1', '2', '3', '4']) line.push(value);
      await clock.advance(0);
      expect(inStages()).to.equal('1 1 2');
      for (const value of ['u1', 'u2', 'u3', 'u4']) line.push(value, undefined, { urgent: true });
      await clock.advance(0);
      expect(inStages()).to.equal('2 2 4');
      const order = [];
      for (const value of ['1', 'u1', 'u2', 'u3', 'u4', '2', '3', '4']) {
        await clock.advance(0);
        order.push(...work.take());
        await work.end(value);
      }
      expect(order.map((entry) => entry.slice(2))).to.deep.equal([
        '1',
        'u1',
        'u2',
        'u3',
        'u4',
        '2',
        '3',
        '4',
      ]);
    });

    it('are not urgent behind ordinary items of their key', async () => {
      const { clock, kernel } = new Lab();
      const work = new Work();
      const line = pipeline<string>()
        .keyBy((value) => value[0])
        .stage('a', work.func, { limit: 1 })
        .start({ kernel });
      line.push('first');
      clock.tick(0);
      line.push('x ordinary');
      line.push('x urgent', undefined, { urgent: true });
      line.push('y urgent', undefined, { urgent: true });
      line.push('y ordinary');
      const order = [];
      for (const value of ['first', 'y urgent', 'x ordinary', 'x urgent', 'y ordinary']) {
        clock.tick(0);
        order.push(...work.take());
        await work.end(value);
      }
      expect(order).to.deep.equal([
        'a first',
        'a y urgent',
        'a x ordinary',
        'a x urgent',
        'a y ordinary',
      ]);
    });

    it('never run at the priorities of synchronous functions', () => {
      const { kernel } = new Lab();
      const line = pipeline<number>()
        .stage('highest slow', (n) => n, { wq: kernel.acquire(191), limit: Infinity })
        .stage('highest', (n) => n, { wq: 'softserial' })
        .start({ kernel });
      const urgent = kernel.inspect().workqueues.filter(({ name }) => name.endsWith('(urgent)'));
      expect(urgent.map(({ priority }) => priority)).to.deep.equal([223, 191]);
      expect(line.stats().stages.map(({ limit }) => limit)).to.deep.equal([Infinity, 1]);
      expect(String(line)).to.match(/of ∞ running/);
    });
  });

  describe('errors', () => {
    it('fail one item, and the other items continue', async () => {
      const { clock, kernel, ran } = new Lab();
      const work = new Work();
      const line = pipeline<string>()
        .keyBy(() => 'one key')
        .stage('sync', (value) => {
          if (value === 'thrown') throw new Error(value);
          return value;
        })
        .stage('async', work.func)
        .start({ kernel });
      for (const value of ['1', 'thrown', 'rejected', '2']) note(ran, value, line.run(value));
      await clock.advance(0);
      await work.end('1');
      await clock.advance(0);
      await work.fail('rejected', new Error('rejected'));
      await clock.advance(0);
      await work.end('2');
      expect(ran).to.deep.equal(['thrown! thrown', '1: 1', 'rejected! rejected', '2: 2']);
      const [first, second] = line.stats().stages;
      expect(first).to.include({ passed: 3, failed: 1 });
      expect(second).to.include({ passed: 2, failed: 1 });
    });

    it('report a stage on a soft queue that returns a promise', async () => {
      const { clock, kernel, ran } = new Lab();
      const sly = ((n: number) => Promise.reject(new Error(`${n}`))) as unknown as (
        n: number,
      ) => number;
      const line = pipeline<number>('line').stage('sly', sly, { wq: 'softbio' }).start({ kernel });
      note(ran, 'sly', line.run(1));
      await clock.advance(0);
      expect(ran).to.deep.equal(['sly! ENOTSUP']);
    });
  });

  describe('the signal of an item', () => {
    it('prevents the item from being accepted if it is already aborted', async () => {
      const { kernel } = new Lab();
      const line = pipeline<number>()
        .stage('a', (n) => n)
        .start({ kernel });
      const signal = AbortSignal.abort(new Error('too late'));
      expect(await rejectionOf(line.run(1, { signal }))).to.equal('Error: too late');
      expect(codeOf(() => line.push(1, undefined, { signal }))).to.equal('Error: too late');
      expect(line.stats()).to.include({ size: 0, failed: 0 });
    });

    it('withdraws an item that waits anywhere, and its function is never called', async () => {
      const { clock, kernel, ran } = new Lab();
      const work = new Work();
      const aborts = new Map<string, AbortController>();
      const line = pipeline<string>()
        .stage('a', (value) => value, { wq: 'softnet', buffer: 0 })
        .keyBy(() => 'one')
        .stage('b', work.func, { limit: 1, buffer: 2 })
        .start({ kernel });
      for (const value of ['runs', 'locked', 'queued', 'blocked', 'outside', 'last']) {
        const abort = new AbortController();
        aborts.set(value, abort);
        note(ran, value, line.run(value, { signal: abort.signal }));
        clock.tick(0);
      }
      expect(line.stats()).to.include({ size: 6, waiting: 2 });
      expect(line.stats().stages.map(({ queued, blocked }) => [queued, blocked])).to.deep.equal([
        [0, 1],
        [2, 0],
      ]);
      const settledAfter = async (value: string): Promise<void> => {
        aborts.get(value)?.abort(new Error('abort'));
        await settled();
      };
      await settledAfter('outside');
      await settledAfter('blocked');
      expect(line.stats()).to.include({ size: 4, waiting: 0 });
      await settledAfter('locked');
      expect(ran.splice(0)).to.deep.equal(['outside! abort', 'blocked! abort', 'locked! abort']);
      await clock.advance(0);
      await work.end('runs');
      await clock.advance(0);
      await work.end('queued');
      await clock.advance(0);
      await work.end('last');
      await settledAfter('last');
      expect(work.take()).to.deep.equal(['b runs', 'b queued', 'b last']);
      expect(ran).to.deep.equal(['runs: runs', 'queued: queued', 'last: last']);
      expect(line.stats().stages[1]).to.include({ passed: 3, failed: 2 });
    });

    it('abandons a running function: frees lock, limit and slot, and aborts the signal it got', async () => {
      const { clock, kernel, ran } = new Lab();
      const abort = new AbortController();
      const never = deferred<string>();
      const line = pipeline<string>()
        .keyBy(() => 'one')
        .stage(
          'a',
          (value, { signal }) => {
            ran.push(value);
            signal.addEventListener('abort', () =>
              ran.push(`${value}: ${messageOf(signal.reason)}`),
            );
            return value === 'stuck' ? never.promise : Promise.resolve(value);
          },
          { limit: 1, buffer: 0 },
        )
        .start({ kernel });
      note(ran, 'stuck', line.run('stuck', { signal: abort.signal }));
      note(ran, 'next', line.run('next'));
      await clock.advance(0);
      abort.abort(new Error('gone'));
      await clock.advance(0);
      expect(ran.splice(0)).to.deep.equal([
        'stuck',
        'stuck: gone',
        'stuck! gone',
        'next',
        'next: next',
      ]);
      never.reject(new Error('nobody cares'));
      await settled();
      expect(ran).to.deep.equal([]);
      expect(line.stats()).to.include({ size: 0, done: 1, failed: 1 });
    });

    it('aborts an item whose own function aborts it, and one that has just settled', async () => {
      const { clock, kernel, ran } = new Lab();
      const aborts = ['sync', 'async', 'settling', 'throws'].map(() => new AbortController());
      const [sync, async, settling, throws] = aborts as [
        AbortController,
        AbortController,
        AbortController,
        AbortController,
      ];
      const line = pipeline<string>()
        .stage('a', (value, context): string | Promise<string> => {
          if (value === 'settling') return Promise.resolve(value).finally(() => undefined);
          const abort = value === 'sync' ? sync : value === 'async' ? async : throws;
          abort.abort(new Error('from within'));
          expect(context.signal.aborted).to.equal(true);
          if (value === 'throws') throw new Error('thrown after');
          return value === 'sync' ? value : Promise.reject(new Error('unseen'));
        })
        .stage('b', (value) => ran.push(`b ${value}`))
        .start({ kernel });
      note(ran, 'sync', line.run('sync', { signal: sync.signal }));
      note(ran, 'async', line.run('async', { signal: async.signal }));
      note(ran, 'throws', line.run('throws', { signal: throws.signal }));
      const run = line.run('settling', { signal: settling.signal });
      note(ran, 'settling', run);
      clock.tick(0);
      // Between the settling of the function's promise and that of the run.
      while (line.stats().stages[0]?.running === 1 && !settling.signal.aborted) {
        await Promise.resolve();
        if (line.stats().size === 1) settling.abort(new Error('late'));
      }
      await clock.advance(0);
      expect(ran).to.have.members([
        'sync! from within',
        'async! from within',
        'throws! from within',
        'settling! late',
      ]);
      expect(line.stats()).to.include({ size: 0, failed: 4 });
    });
  });

  describe('deadlines', () => {
    it('of an item count from the call, in whatever stage it is', async () => {
      const { clock, kernel, ran } = new Lab();
      const work = new Work();
      const line = pipeline<string>('line')
        .stage('a', work.func, { limit: 1, buffer: 1 })
        .start({ kernel, deadlineMs: 30 });
      for (const value of ['runs', 'queued']) note(ran, value, line.run(value));
      note(ran, 'waits', line.run('waits', { deadlineMs: 10 }));
      note(ran, 'patient', line.run('patient', { deadlineMs: 100 }));
      await clock.advance(9);
      expect(ran).to.deep.equal([]);
      await clock.advance(1);
      expect(ran.splice(0)).to.deep.equal(['waits! ETIMEDOUT']);
      await clock.advance(20);
      expect(ran.splice(0)).to.have.members(['runs! ETIMEDOUT', 'queued! ETIMEDOUT']);
      expect(work.take()).to.deep.equal(['a runs', 'a patient']);
      await work.end('patient');
      await clock.advance(100);
      expect(ran).to.deep.equal(['patient: patient']);
      expect(kernel.inspect()).to.include({ pending: 0, queued: 0, running: 0 });
    });

    it('of a stage count from admission until its function has settled', async () => {
      const { clock, kernel, ran } = new Lab();
      const work = new Work();
      const line = pipeline<string>('line')
        .stage('a', work.func, { limit: 1, deadlineMs: 20, buffer: 1 })
        .stage('b', work.func, { limit: 1, buffer: 0 })
        .start({ kernel });
      for (const value of ['1', '2', '3']) note(ran, value, line.run(value));
      await clock.advance(15);
      await work.end('1');
      await clock.advance(5);
      expect(ran.splice(0), 'waiting for the limit counts').to.deep.equal(['2! ETIMEDOUT']);
      expect(work.take()).to.have.members(['a 1', 'b 1', 'a 2', 'a 3']);
      await work.end('3');
      await clock.advance(500);
      expect(ran, 'waiting for the next stage does not').to.deep.equal([]);
      await work.end('1');
      await clock.advance(0);
      await work.end('3');
      expect(ran).to.deep.equal(['1: 1', '3: 3']);
    });

    it('report which one expired and where; the earlier one applies', async () => {
      const { clock, kernel } = new Lab();
      const work = new Work();
      const messages: string[] = [];
      const line = pipeline<string>('line')
        .stage('a', (value) => value, { deadlineMs: 1 })
        .stage('b', work.func, { limit: 1, buffer: 0, deadlineMs: 50 })
        .start({ kernel });
      const run = (value: string, deadlineMs: number): void => {
        line.run(value, { deadlineMs }).catch((error: Error) => messages.push(error.message));
      };
      run('1', 60);
      run('2', 40);
      await clock.advance(100);
      expect(messages).to.deep.equal([
        'line/b: its deadline of 40 ms is over',
        "line/b: the stage's 50 ms is over",
      ]);
    });

    it('keep a function that never settles from blocking the other items of its key', async () => {
      const { clock, kernel, ran } = new Lab();
      const line = pipeline<string>()
        .keyBy(() => 'one')
        .stage('a', (value) => (value === 'stuck' ? new Promise<string>(() => {}) : value), {
          limit: 1,
          deadlineMs: 50,
        })
        .start({ kernel });
      for (let i = 0; i < 3; i++) note(ran, 'stuck', line.run('stuck'));
      await clock.advance(40);
      note(ran, 'next', line.run('next'));
      await clock.advance(60);
      expect(ran).to.deep.equal([
        'stuck! ETIMEDOUT',
        'stuck! ETIMEDOUT',
        'stuck! ETIMEDOUT',
        'next: next',
      ]);
    });
  });

  describe('drain()', () => {
    it('waits until no item is inside', async () => {
      const { clock, kernel, ran } = new Lab();
      const work = new Work(ran);
      const line = pipeline<string>().stage('a', work.func).start({ kernel });
      await line.drain();
      line.push('1', () => ran.push('done'));
      line.push('2');
      note(ran, 'drained', line.drain());
      await clock.advance(0);
      await work.end('2');
      await work.end('1');
      expect(ran).to.deep.equal(['a 1', 'a 2', 'done', 'drained: undefined']);
    });
  });

  describe('close()', () => {
    it('refuses items, finishes those inside, and releases its workqueues', async () => {
      const { clock, kernel, ran } = new Lab();
      const before = kernel.inspect().workqueues.length;
      const work = new Work();
      const line = pipeline<string>('line')
        .stage('a', work.func, { limit: 1, buffer: 0 })
        .start({ kernel });
      note(ran, '1', line.run('1'));
      note(ran, '2', line.run('2'));
      note(ran, 'ready', line.ready());
      const closed = line.close();
      expect(line.close({ graceMs: 1 })).to.equal(closed);
      expect(String(line)).to.match(/^line: closing, 2 inside/);
      expect(await rejectionOf(line.run('3'))).to.equal('ESHUTDOWN');
      expect(codeOf(() => line.push('3'))).to.equal('ESHUTDOWN');
      await clock.advance(0);
      await work.end('1');
      await clock.advance(0);
      await work.end('2');
      expect(await closed).to.deep.equal({ unfinished: [] });
      expect(ran).to.deep.equal(['ready: undefined', '1: 1', '2: 2']);
      expect(line.stats().state).to.equal('closed');
      expect(kernel.inspect().workqueues).to.have.length(before);
      await clock.advance(10_000);
      expect(kernel.inspect()).to.include({ pending: 0, queued: 0 });
    });

    it('aborts items that do not finish in time, and reports them with their stages', async () => {
      const { clock, kernel, ran } = new Lab();
      const work = new Work();
      const line = pipeline<string>()
        .stage('a', work.func, { limit: 1, buffer: 1 })
        .start({ kernel });
      for (const value of ['1', '2', '3']) note(ran, value, line.run(value));
      const closed = line.close({ graceMs: 20 });
      await clock.advance(19);
      expect(ran).to.deep.equal([]);
      await clock.advance(1);
      expect(await closed).to.deep.equal({
        unfinished: [
          { stage: 'a', state: 'running', input: '1' },
          { stage: 'a', state: 'queued', input: '2' },
          { stage: 'a', state: 'waiting', input: '3' },
        ],
      });
      expect(ran).to.have.members(['1! ESHUTDOWN', '2! ESHUTDOWN', '3! ESHUTDOWN']);
      expect(work.take(), 'nobody is let in just to leave').to.deep.equal(['a 1']);
    });

    it('waits for ever with an infinite grace period, and is called by `await using`', async () => {
      const { clock, kernel, ran } = new Lab();
      const work = new Work();
      const line = pipeline<string>().stage('a', work.func).start({ kernel });
      line.push('1');
      note(ran, 'closed', line.close({ graceMs: Infinity }));
      await clock.advance(100_000);
      expect(ran).to.deep.equal([]);
      await work.end('1');
      expect(ran).to.deep.equal(['closed: [object Object]']);
      await line[Symbol.asyncDispose]();
      expect(await rejectionOf(line.close({ graceMs: -1 }))).to.equal('EINVAL');
    });

    it('of the kernel ends every item with ESHUTDOWN', async () => {
      const { clock, kernel, ran } = new Lab();
      const work = new Work();
      const line = pipeline<string>('line')
        .stage('a', work.func, { limit: 2, buffer: 1, deadlineMs: 60_000 })
        .stage('b', work.func)
        .start({ kernel });
      for (const value of ['1', '2', '3', '4', '5']) note(ran, value, line.run(value));
      await clock.advance(0);
      const closed = kernel.close({ graceMs: 10 });
      await work.end('1');
      await clock.advance(200);
      expect(ran).to.have.members(['1', '2', '3', '4', '5'].map((value) => `${value}! ESHUTDOWN`));
      expect((await closed).unfinished).to.deep.equal([]);
      expect(line.size).to.equal(0);
      note(ran, 'late', line.run('late'));
      await settled();
      expect(ran.pop()).to.equal('late! ESHUTDOWN');
      expect(await line.close()).to.deep.equal({ unfinished: [] });
    });

    it('does not wait for its grace period on a closed kernel, which has no timers', async () => {
      const { clock, kernel, ran } = new Lab();
      const line = pipeline<string>()
        .stage('a', () => new Promise<string>(() => {}))
        .start({ kernel });
      note(ran, '1', line.run('1'));
      clock.tick(0);
      void kernel.close({ graceMs: 10_000 });
      expect((await line.close()).unfinished).to.have.length(1);
      expect(ran).to.deep.equal(['1! ESHUTDOWN']);
    });
  });

  describe('abort()', () => {
    it('aborts all items with the reason, and refuses new ones', async () => {
      const { clock, kernel, ran } = new Lab();
      const work = new Work();
      const line = pipeline<string>()
        .stage('a', work.func, { limit: 1, buffer: 1 })
        .start({ kernel });
      for (const value of ['1', '2', '3']) note(ran, value, line.run(value));
      clock.tick(0);
      line.abort();
      line.abort(new Error('a second time'));
      await settled();
      const message = 'The pipeline was aborted';
      expect(ran).to.have.members(['1', '2', '3'].map((value) => `${value}! ${message}`));
      expect(await rejectionOf(line.run('4'))).to.equal('ESHUTDOWN');
      await line.drain();
    });

    it('is called by the signal of the pipeline', async () => {
      const { clock, kernel, ran } = new Lab();
      const work = new Work();
      const plan = pipeline<string>().stage('a', work.func);
      const abort = new AbortController();
      const line = plan.start({ kernel, signal: abort.signal });
      note(ran, '1', line.run('1'));
      clock.tick(0);
      abort.abort(new Error('over'));
      await settled();
      expect(ran).to.deep.equal(['1! over']);
      const stillborn = plan.start({ kernel, signal: abort.signal });
      expect(stillborn.stats().state).to.equal('closed');
      expect(await rejectionOf(stillborn.run('1'))).to.equal('ESHUTDOWN');
    });
  });

  describe('context', () => {
    it('is empty, or that of the call that added the item', async () => {
      const { clock, kernel } = new Lab();
      const storage = new AsyncLocalStorage<string>();
      const plan = pipeline<null>()
        .stage('a', () => storage.getStore())
        .stage('b', async (first) => [first, storage.getStore()]);
      const line = plan.start({ kernel });
      const carrying = plan.start({ kernel, context: 'create' });
      const results = storage.run('request', () => [line.run(null), carrying.run(null)]);
      await clock.advance(0);
      expect(await Promise.all(results)).to.deep.equal([
        [undefined, undefined],
        ['request', 'request'],
      ]);
    });
  });

  describe('the context in which a source is read', () => {
    it('is that of the first call of next()', async () => {
      const { clock, kernel, ran } = new Lab();
      const store = new AsyncLocalStorage<string>();
      const line = pipeline<number>()
        .stage('look', async (n) => void ran.push(`stage ${n} ${store.getStore()}`), {
          limit: 1,
          buffer: 0,
        })
        .start({ kernel, context: 'create' });
      const left = [1, 2, 3];
      const source = {
        [Symbol.asyncIterator]: () => ({
          next: async () => {
            ran.push(`next ${store.getStore()}`);
            return { done: left.length === 0, value: left.shift() as number };
          },
        }),
      };
      const pumped = store.run('mine', () => line.pump(source, () => {}, { buffer: 1 }));
      await clock.advance(0);
      await pumped;
      expect(ran.filter((what) => !what.endsWith(' mine'))).to.deep.equal([]);
      expect(ran).to.have.length(7);
    });
  });

  describe('as text', () => {
    it('is a drawing of its stages with their current figures', async () => {
      const { clock, kernel } = new Lab();
      const work = new Work();
      const user = (value: string): string | undefined => value[0];
      const line = pipeline<string>('site')
        .stage('parse', (value) => value, { wq: 'softnet', buffer: 1 })
        .keyBy(user)
        .stage('authenticate', work.func, { wq: 'prihigh', limit: 3, buffer: 1 })
        .keyBy((value) => value[1])
        .stage('render', (value) => value, { wq: 'primedlow' })
        .start({ kernel });
      for (const value of ['a1', 'b1', 'a2', 'c1', 'd1', 'e1', 'f1']) line.push(value);
      await clock.advance(0);
      await work.end('b1');
      await clock.advance(0);
      const drawing = [
        'site: open, 6 inside, 1 done, 0 failed',
        '  ○ 0 waiting',
        '  │',
        '  ▼ parse          softnet     0 queued    0 of 1 running   2 blocked   5 passed   0 failed',
        '  ┊ in order of user, 5 inside',
        '  ▼ authenticate   prihigh     1 queued    3 of 3 running   0 blocked   1 passed   0 failed',
        '  ┊ in order of key, 0 inside',
        '  ▼ render         primedlow   0 queued   0 of 16 running   0 blocked   1 passed   0 failed',
        '  │',
        '  ● 1 done',
      ].join('\n');
      expect(String(line)).to.equal(drawing);
      expect(inspect(line)).to.equal(drawing);
    });
  });

  describe('the process-wide kernel', () => {
    it('runs a pipeline that is given no kernel', async () => {
      const line = pipeline<number>()
        .stage('a', (n) => n + 1, { wq: 'softnet' })
        .stage('b', async (n) => n + 1)
        .start();
      expect(await line.run(1)).to.equal(3);
      await line.close();
    });
  });

  describe('a description', () => {
    it('is immutable, and can be started several times', async () => {
      const { clock, kernel } = new Lab();
      const begin = pipeline<number>('numbers').stage('a', (n) => n + 1);
      const longer = begin.stage('b', (n) => `${n}`);
      const [short, long] = [begin.start({ kernel }), longer.start({ kernel })];
      const results = [short.run(1), long.run(1), longer.start({ kernel }).run(2)];
      clock.tick(0);
      expect(await Promise.all(results)).to.deep.equal([2, '2', '3']);
    });

    it('refuses invalid arguments of a stage', () => {
      const { kernel } = new Lab();
      const begin = pipeline<number>('line');
      const f = (n: number): number => n;
      const wrong: [string, () => unknown][] = [
        ['name must be a string, got 5', () => pipeline(5 as never)],
        ['name must be a string that is not empty, got ""', () => begin.stage('', f)],
        ['name must be unique in the pipeline, got "a"', () => begin.stage('a', f).stage('a', f)],
        ['func must be a function, got 1', () => begin.stage('a', 1 as never)],
        [
          'wq must be a Workqueue or the name of one, such as \'prihigh\', got "high"',
          () => begin.stage('a', f, { wq: 'high' as never }),
        ],
        [
          'limit must be an integer >= 1 or Infinity, got 0',
          () => begin.stage('a', f, { limit: 0 }),
        ],
        [
          'buffer must be an integer >= 0 or Infinity, got 0.5',
          () => begin.stage('a', f, { buffer: 0.5 }),
        ],
        [
          'deadlineMs must be a number of ms > 0, to 2^53-1, got 0',
          () => begin.stage('a', f, { deadlineMs: 0 }),
        ],
        ['key must be a function, got null', () => begin.keyBy(null as never)],
        ['pipeline line must end with a stage', () => begin.start()],
        ['pipeline line must end with a stage', () => begin.stage('a', f).keyBy(f).start()],
        [
          'wq of stage b must be a workqueue of the same kernel, got an instance of Workqueue',
          () => begin.stage('a', f).stage('b', f, { wq: new Lab().wq.prihigh }).start({ kernel }),
        ],
        [
          'limit of stage a must be omitted: softnet runs one function at a time, got 2',
          () => begin.stage('a', f, { wq: 'softnet', limit: 2 }).start({ kernel }),
        ],
        [
          'limit of stage a must be omitted: pri9 has a limit of its own, got 2',
          () =>
            begin
              .stage('a', f, { wq: kernel.acquire(9, { maxActive: 3 }), limit: 2 })
              .start({ kernel }),
        ],
      ];
      for (const [message, call] of wrong) expect(call, message).to.throw(KcontError, message);
      expect(() => begin.stage('a', f, { lock: {} as never })).to.throw(KcontError, 'lock must be');
      expect(kernel.inspect().workqueues, 'nothing is left behind').to.have.length(9);
    });

    it('refuses invalid arguments of start(), run(), push() and through()', async () => {
      const { kernel } = new Lab();
      const plan = pipeline<number>('line').stage('a', (n) => n);
      const line = plan.start({ kernel });
      const wrong: (() => unknown)[] = [
        () => plan.start({ kernel: {} as never }),
        () => plan.start({ kernel, signal: {} as never }),
        () => plan.start({ kernel, deadlineMs: NaN }),
        () => plan.start({ kernel, onError: 1 as never }),
        () => plan.start({ kernel, context: 'schedule' as never }),
        () => line.push(1, 1 as never),
        () => line.push(1, undefined, { urgent: 1 as never }),
        () => line.push(1, undefined, { deadlineMs: -1 }),
        () => line.push(1, undefined, { signal: 1 as never }),
        () => line.through([], { ordered: 1 as never }),
        () => line.through([], { buffer: 0 }),
        () => line.through([], { onError: 1 as never }),
        () => line.through([], { signal: 1 as never }),
        () => line.through(5 as never),
        () => line.through(null as never),
        () => line.through({} as never),
      ];
      for (const [nth, call] of wrong.entries()) expect(codeOf(call), `${nth}`).to.equal('EINVAL');
      expect(await rejectionOf(line.run(1, { deadlineMs: 0 }))).to.equal('EINVAL');
      expect(line.size).to.equal(0);
    });

    it('does not compile if types do not match', () => {
      const { kernel } = new Lab();
      const begin = pipeline<string>().stage('length', async (text: string) => text.length);
      // Never called, only compiled.
      const wrong = (): void => {
        // @ts-expect-error -- the stage before returns a number
        begin.stage('b', (text: string) => text);
        // @ts-expect-error -- an asynchronous function on a queue for synchronous ones
        begin.stage('b', async (n) => n, { wq: 'softnet' });
        // @ts-expect-error -- no such queue
        begin.stage('b', (n) => n, { wq: 'softest' });
        // @ts-expect-error -- a number has no user
        begin.keyBy((n) => n.user);
        // @ts-expect-error -- the lock is chosen by a number
        begin.stage('b', (n) => n, { lock: (text: string) => text });
        const line = begin.start();
        // @ts-expect-error -- the first stage takes a string
        void line.run(1);
        // @ts-expect-error -- the last one returns a number
        const result: Promise<string> = line.run('1');
        // @ts-expect-error -- a source of strings
        void line.pump([1], () => {});
        // @ts-expect-error -- a sink of numbers
        void line.pump(['1'], (text: string) => text);
        void result;
      };
      void wrong; // checked by tsc
      const right = begin
        .stage('sync', (n) => n, { wq: 'softnet' })
        .stage('any', (n): unknown => JSON.parse(String(n)), { wq: 'softnet' })
        .start({ kernel });
      expect(right.size).to.equal(0);
    });
  });
});
