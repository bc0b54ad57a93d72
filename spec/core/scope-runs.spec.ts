import { expect } from 'chai';
import fc from 'fast-check';
import { inspect } from 'node:util';
import {
  Kcont,
  KcontError,
  Kernel,
  Scope,
  type JoinPolicy,
  type ScopeOptions,
} from '../../lib/index.ts';
import { join } from '../../lib/base/abort-listeners.ts';
import { createExecutor } from '../../lib/compat/p-queue/index.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { Lab, codeOf, deferred, rejectionOf, settled, soak } from '../support/lab.ts';

/** What a promise came to: its value, the code or the message of its error, or 'open'. */
function watch(promise: Promise<unknown>): { now: unknown } {
  const seen: { now: unknown } = { now: 'open' };
  promise.then(
    (value) => (seen.now = value),
    (error: unknown) => (seen.now = textOf(error)),
  );
  return seen;
}

function textOf(error: unknown): string {
  if (error instanceof KcontError) return error.code;
  if (error instanceof AggregateError) return `all of ${error.errors.map(textOf).join(', ')}`;
  return error instanceof Error ? error.message : String(error);
}

/** A lab with a scope, and runs that last a given time. */
class ScopeLab extends Lab {
  readonly log: string[] = [];

  scope(options: ScopeOptions = {}): Scope {
    return new Scope({ wq: this.wq.prihigh, ...options });
  }

  /** Starts a run that ends after `ms`; it notes its abort, and ends at once then unless it is `deaf`. */
  start(
    scope: Scope,
    name: string,
    ms: number,
    { fails = false, deaf = false }: { fails?: boolean; deaf?: boolean } = {},
  ): Promise<string> {
    return scope.run(async (signal) => {
      this.log.push(`${name} begins`);
      const aborted = deferred<boolean>();
      signal.addEventListener('abort', () => {
        this.log.push(`${name} aborted: ${textOf(signal.reason)}`);
        if (!deaf) aborted.resolve(true);
      });
      const time = this.wq.softclock.run(() => false, { delayMs: ms });
      const isAborted = await Promise.race([time, aborted.promise]);
      if (isAborted) throw signal.reason;
      if (fails) throw new Error(`${name} failed`);
      this.log.push(`${name} ends`);
      return name;
    });
  }
}

describe('Scope.run() and join()', () => {
  it('all: fulfilled with the results in the order of the calls', async () => {
    const lab = new ScopeLab();
    const scope = lab.scope();
    void lab.start(scope, 'a', 20);
    void lab.start(scope, 'b', 10);
    void lab.start(scope, 'c', 30);
    const joined = watch(scope.join());
    await lab.clock.advance(29);
    expect([joined.now, scope.runs]).to.deep.equal(['open', 1]);
    await lab.clock.advance(1);
    expect([joined.now, scope.runs, scope.disposed]).to.deep.equal([['a', 'b', 'c'], 0, false]);
  });

  it('all: the first error aborts the others, and the join is rejected when all have settled', async () => {
    const lab = new ScopeLab();
    const scope = lab.scope();
    const late = watch(lab.start(scope, 'deaf', 50, { deaf: true }));
    void lab.start(scope, 'failing', 10, { fails: true });
    void lab.start(scope, 'obedient', 50);
    const unstarted = watch(scope.run(() => lab.log.push('entered'), { delayMs: 20 }));
    const joined = watch(scope.join());
    await lab.clock.advance(10);
    expect(lab.log).to.deep.equal([
      'deaf begins',
      'failing begins',
      'obedient begins',
      'deaf aborted: failing failed',
      'obedient aborted: failing failed',
    ]);
    expect([joined.now, unstarted.now, scope.runs]).to.deep.equal(['open', 'failing failed', 1]);
    expect(inspect(scope)).to.equal('Scope { disposed, 1 runs }');
    await lab.clock.advance(40);
    expect([joined.now, late.now]).to.deep.equal(['failing failed', 'deaf']);
    expect(lab.log.at(-1)).to.equal('deaf ends');
  });

  it('any: the first result ends the scope; errors do not', async () => {
    const lab = new ScopeLab();
    const scope = lab.scope();
    void lab.start(scope, 'a', 5, { fails: true });
    void lab.start(scope, 'b', 10);
    const slow = watch(lab.start(scope, 'c', 50));
    const joined = watch(scope.join({ policy: 'any' }));
    await lab.clock.advance(10);
    expect([joined.now, slow.now]).to.deep.equal(['b', 'Another run of the scope has succeeded']);
    expect(scope.disposed).to.equal(true);
  });

  it('any: rejected with all errors if there is no result', async () => {
    const lab = new ScopeLab();
    const scope = lab.scope({ policy: 'any' });
    void lab.start(scope, 'a', 10, { fails: true });
    void lab.start(scope, 'b', 5, { fails: true });
    const joined = watch(scope.join());
    await lab.clock.advance(10);
    expect(joined.now).to.equal('all of a failed, b failed');
    expect(scope.disposed).to.equal(false);
  });

  it('race: the first outcome ends the scope', async () => {
    for (const fails of [true, false]) {
      const lab = new ScopeLab();
      const scope = lab.scope();
      void lab.start(scope, 'a', 5, { fails });
      void lab.start(scope, 'b', 10);
      const joined = watch(scope.join({ policy: 'race' }));
      await lab.clock.advance(5);
      expect([joined.now, scope.disposed, scope.runs]).to.deep.equal([
        fails ? 'a failed' : 'a',
        true,
        0,
      ]);
    }
  });

  it('settled: fulfilled with all outcomes; nothing ends the scope but its own end', async () => {
    const lab = new ScopeLab();
    const scope = lab.scope();
    void lab.start(scope, 'a', 5, { fails: true });
    void lab.start(scope, 'b', 10);
    void lab.start(scope, 'c', 30);
    const joined = scope.join({ policy: 'settled', deadlineMs: 20 });
    await lab.clock.advance(20);
    expect(
      (await joined).map((one) => ('value' in one ? one.value : textOf(one.reason))),
    ).to.deep.equal(['a failed', 'b', 'ETIMEDOUT']);
  });

  it('without runs: all and settled are empty, any and race are rejected', async () => {
    const lab = new ScopeLab();
    expect(await lab.scope().join()).to.deep.equal([]);
    expect(await lab.scope().join({ policy: 'settled' })).to.deep.equal([]);
    expect(await rejectionOf(lab.scope().join({ policy: 'race' }))).to.equal('EINVAL');
    const any = watch(lab.scope().join({ policy: 'any' }));
    await settled();
    expect(any.now).to.equal('all of ');
  });

  it('waits for runs that begin meanwhile, and forgets them for the next join', async () => {
    const lab = new ScopeLab();
    const scope = lab.scope();
    void scope.run(async () => {
      await lab.wq.softclock.run(() => undefined, { delayMs: 5 });
      void lab.start(scope, 'b', 5);
      return 'a';
    });
    const joined = watch(scope.join());
    await lab.clock.advance(9);
    expect(joined.now).to.equal('open');
    await lab.clock.advance(1);
    expect(joined.now).to.deep.equal(['a', 'b']);
    void lab.start(scope, 'c', 5);
    const again = watch(scope.join());
    await lab.clock.advance(5);
    expect(again.now).to.deep.equal(['c']);
  });

  it('applies to outcomes that came before the join', async () => {
    for (const [policy, expected] of [
      ['any', 'a'],
      ['race', 'a'],
    ] as const) {
      const lab = new ScopeLab();
      const scope = lab.scope();
      void lab.start(scope, 'a', 5);
      void lab.start(scope, 'b', 50);
      await lab.clock.advance(5);
      const joined = watch(scope.join({ policy }));
      await lab.clock.advance(0);
      expect(joined.now).to.equal(expected);
    }
  });

  it('is rejected for a second join, and when a run of it would wait for itself', async () => {
    const lab = new ScopeLab();
    const scope = lab.scope();
    const codes: string[] = [];
    const child = lab.scope({ parent: scope });
    void child.run(async () => {
      const joins = [scope, child, lab.scope()].map((one) => rejectionOf(one.join()));
      codes.push(...(await Promise.all(joins)));
    });
    await lab.clock.advance(0);
    expect(codes).to.deep.equal(['EDEADLK', 'EDEADLK', 'none']);
    void lab.start(scope, 'a', 5);
    const first = watch(scope.join());
    expect(await rejectionOf(scope.join())).to.equal('EBUSY');
    await lab.clock.advance(5);
    expect(first.now).to.deep.equal(['a']);
  });

  it('waits in a continuation of the scope, which is no run, for the runs', async () => {
    const lab = new ScopeLab();
    const outer = lab.scope();
    const inner = lab.scope({ parent: outer });
    const seen: unknown[] = [];
    const joinAll = async (scope: Scope): Promise<void> => {
      seen.push(await scope.join(), `${scope.runs} runs`);
    };
    for (const scope of [outer, inner]) {
      void lab.start(scope, 'a', 5);
      new Kcont(lab.wq.prihigh, null, joinAll, scope, { scope }).schedule();
    }
    const forAll = new Kcont(
      lab.wq.prilow,
      null,
      async () => void seen.push(await rejectionOf(inner[Symbol.asyncDispose]())),
      null,
      { scope: inner },
    );
    await lab.clock.advance(4);
    expect(seen).to.deep.equal([]);
    await lab.clock.advance(1);
    expect(seen).to.deep.equal([['a'], '0 runs', ['a'], '0 runs']);
    forAll.schedule();
    await lab.clock.advance(0);
    expect(seen.at(-1)).to.equal('EDEADLK');
  });

  it('waits for the runs of the scopes in it, whose outcomes it leaves to them', async () => {
    const lab = new ScopeLab();
    const outer = lab.scope();
    const middle = lab.scope({ parent: outer });
    const inner = lab.scope({ parent: middle, policy: 'settled' });
    void lab.start(outer, 'a', 5);
    const failing = watch(lab.start(inner, 'b', 20, { fails: true }));
    const joined = { outer: watch(outer.join()), middle: watch(middle.join()) };
    await lab.clock.advance(19);
    expect([joined.outer.now, joined.middle.now]).to.deep.equal(['open', 'open']);
    const late = lab.start(inner, 'c', 10);
    await lab.clock.advance(1);
    expect([failing.now, joined.outer.now]).to.deep.equal(['b failed', 'open']);
    await lab.clock.advance(9);
    expect([await late, joined.outer.now, joined.middle.now]).to.deep.equal(['c', ['a'], []]);
    expect([outer.runs, middle.runs, inner.runs, outer.disposed]).to.deep.equal([0, 0, 0, false]);
  });

  it('does not settle before what it aborts in the scopes in it has settled', async () => {
    const lab = new ScopeLab();
    const outer = lab.scope();
    void lab.start(outer, 'a', 5, { fails: true });
    void lab.start(lab.scope({ parent: outer }), 'b', 20, { deaf: true });
    const joined = watch(outer.join());
    await lab.clock.advance(19);
    expect(joined.now).to.equal('open');
    await lab.clock.advance(1);
    expect(joined.now).to.equal('a failed');
  });

  it('is rejected with ESHUTDOWN on a closed kernel', async () => {
    const lab = new ScopeLab();
    const scope = lab.scope();
    const running = watch(lab.start(scope, 'a', 50));
    await lab.clock.advance(0);
    const closed = lab.kernel.close({ graceMs: 0 });
    const joined = watch(scope.join());
    await lab.clock.advance(200);
    await closed;
    expect([running.now, joined.now]).to.deep.equal(['ESHUTDOWN', 'ESHUTDOWN']);
    expect(codeOf(() => lab.scope({ deadlineMs: 5 }))).to.equal('ESHUTDOWN');
    expect(await rejectionOf(lab.scope().join({ deadlineMs: 5 }))).to.equal('ESHUTDOWN');
  });

  it('does not count mistakes: the scope goes on', async () => {
    const lab = new ScopeLab();
    const scope = lab.scope();
    expect([
      await rejectionOf(scope.run(() => 1, { cpu: {} as never })),
      await rejectionOf(scope.run(() => 1, { delayMs: -1 })),
      await rejectionOf(scope.run(5 as never)),
    ]).to.deep.equal(['EINVAL', 'EINVAL', 'EINVAL']);
    void lab.start(scope, 'a', 5);
    const joined = watch(scope.join());
    await lab.clock.advance(5);
    expect([joined.now, scope.disposed]).to.deep.equal([['a'], false]);
  });

  it('leaves no unhandled rejection for promises that nobody awaits', async () => {
    const lab = new ScopeLab();
    const unhandled: unknown[] = [];
    const note = (reason: unknown): void => void unhandled.push(reason);
    process.on('unhandledRejection', note);
    const scope = lab.scope();
    void lab.start(scope, 'a', 5, { fails: true });
    void lab.start(scope, 'b', 50);
    await lab.clock.advance(5);
    void scope.run(() => 'too late');
    await settled();
    process.off('unhandledRejection', note);
    expect(unhandled).to.deep.equal([]);
  });
});

describe('a run of a scope inherits', () => {
  it('the workqueue and the name, which nested scopes hand on', async () => {
    const lab = new ScopeLab();
    const outer = lab.scope({ name: 'request', wq: lab.wq.primedlow });
    const inner = new Scope({ parent: outer, name: 'orders' });
    const unnamed = new Scope({ parent: outer });
    const other = new Scope({ parent: outer, wq: lab.wq.prilow });
    expect([inner.wq, unnamed.wq, other.wq].map(({ name }) => name)).to.deep.equal([
      'primedlow',
      'primedlow',
      'prilow',
    ]);
    expect([outer.name, inner.name, unnamed.name]).to.deep.equal([
      'request',
      'request/orders',
      'request',
    ]);
    const gate = deferred();
    void outer.run(function load() {
      return gate.promise;
    });
    void inner.run(() => gate.promise, { name: 'count' });
    await lab.clock.advance(0);
    expect(inspect(outer)).to.equal('Scope request { 0 continuations, 0 busy, 1 runs }');
    const closing = lab.kernel.close({ graceMs: 0 });
    await lab.clock.advance(200);
    const names = (await closing).unfinished.map(({ name, wq }) => `${name} on ${wq}`);
    expect(names).to.deep.equal(['request/load on primedlow', 'request/orders/count on primedlow']);
    gate.resolve();
  });

  it('the remaining deadline, wherever it is started', async () => {
    const lab = new ScopeLab();
    const scope = lab.scope({ deadlineMs: 100, name: 'request' });
    const site = pipeline<number>('site')
      .stage('work', (_, { signal }) => new Promise((resolve) => join(signal, { _abort: resolve })))
      .start({ kernel: lab.kernel });
    await lab.clock.advance(30);
    expect(scope.remainingMs).to.equal(70);
    const inner = new Scope({ parent: scope, deadlineMs: 500 });
    const shorter = new Scope({ parent: scope, deadlineMs: 20 });
    expect([inner.remainingMs, shorter.remainingMs, lab.scope().remainingMs]).to.deep.equal([
      70,
      20,
      Infinity,
    ]);
    const outcomes = {
      run: watch(lab.start(scope, 'a', 500)),
      other: watch(lab.wq.prilow.run(() => 1, { scope, delayMs: 200 })),
      nested: watch(lab.start(inner, 'b', 500)),
      shorter: watch(lab.start(shorter, 'c', 500)),
      item: watch(site.run(1, { scope })),
      executor: watch(createExecutor(lab.wq.prilow).run(() => 1, { scope, delayMs: 200 })),
    };
    const joined = watch(scope.join());
    await lab.clock.advance(19);
    expect(outcomes.shorter.now).to.equal('open');
    await lab.clock.advance(1);
    expect([outcomes.shorter.now, outcomes.nested.now]).to.deep.equal(['ETIMEDOUT', 'open']);
    await lab.clock.advance(49);
    expect([joined.now, scope.runs]).to.deep.equal(['open', 4]);
    await lab.clock.advance(1);
    expect(Object.values(outcomes).map(({ now }) => now)).to.deep.equal(
      Array.from({ length: 6 }, () => 'ETIMEDOUT'),
    );
    expect([joined.now, scope.remainingMs]).to.deep.equal(['ETIMEDOUT', 0]);
  });

  it('the signal: it, or its own, aborts it', async () => {
    const lab = new ScopeLab();
    const [own, other, gone] = [1, 2, 3].map(() => new AbortController()) as [
      AbortController,
      AbortController,
      AbortController,
    ];
    gone.abort(new Error('gone'));
    const scope = lab.scope({ policy: 'settled', signal: other.signal });
    const wait = (signal: AbortSignal): Promise<never> =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
      });
    const first = watch(scope.run(wait, { signal: own.signal }));
    const second = watch(scope.run(wait, { signal: new AbortController().signal }));
    const third = watch(scope.run(wait, { signal: gone.signal }));
    await lab.clock.advance(0);
    own.abort(new Error('own'));
    await lab.clock.advance(0);
    expect([first.now, second.now, third.now]).to.deep.equal(['own', 'open', 'gone']);
    other.abort(new Error('other'));
    await lab.clock.advance(0);
    expect([second.now, scope.signal.aborted]).to.deep.equal(['other', true]);
    expect(await scope.run(wait).catch(textOf)).to.equal('other');
    expect(lab.scope({ signal: other.signal }).disposed).to.equal(true);
    expect(lab.scope({ parent: scope }).signal.reason).to.equal(other.signal.reason);
  });

  it('an item of a pipeline counts: its error ends the scope, its result is joined', async () => {
    const lab = new ScopeLab();
    const site = pipeline<number>('site')
      .stage('work', (value) => {
        if (value < 0) throw new Error('negative');
        return value * 2;
      })
      .start({ kernel: lab.kernel });
    const scope = lab.scope();
    void site.run(1, { scope });
    const pushed: unknown[] = [];
    site.push(2, (error, result) => void pushed.push(error, result), { scope });
    const joined = watch(scope.join());
    await lab.clock.advance(0);
    expect([joined.now, pushed]).to.deep.equal([
      [2, 4],
      [null, 4],
    ]);
    void site.run(-1, { scope });
    const failed = watch(scope.join());
    await lab.clock.advance(0);
    expect([failed.now, scope.disposed]).to.deep.equal(['negative', true]);
    expect(await site.run(1, { scope }).catch(textOf)).to.equal('negative');
    await site.close();
    const late = lab.scope({ policy: 'settled' });
    expect(await rejectionOf(site.run(1, { scope: late }))).to.equal('ESHUTDOWN');
    expect(late.runs).to.equal(0);
  });
});

describe('the end of a scope', () => {
  const ends: readonly [string, (scope: Scope, controller: AbortController) => unknown][] = [
    ['abort()', (scope) => scope.abort(new Error('over'))],
    ['dispose', (scope) => scope[Symbol.dispose]()],
    ['await dispose', (scope) => void scope[Symbol.asyncDispose]()],
    ['its signal', (_, controller) => controller.abort(new Error('over'))],
  ];
  for (const [name, end] of ends) {
    it(`by ${name}: nothing of it or of the scopes in it is entered any more`, async () => {
      const lab = new ScopeLab();
      const controller = new AbortController();
      const outer = lab.scope({ signal: controller.signal });
      const inner = lab.scope({ parent: outer });
      const site = pipeline<number>('site')
        .stage('work', () => lab.log.push('item'))
        .start({ kernel: lab.kernel });
      const promises: Promise<unknown>[] = [];
      for (const scope of [outer, inner]) {
        const options = { scope };
        const note = (): unknown => lab.log.push('entered');
        lab.sync('pending', { options }).schedule(5);
        lab.sync('queued', { options }).schedule();
        promises.push(
          scope.run(note),
          scope.run(note, { delayMs: 5 }),
          lab.wq.prilow.run(note, options),
          site.run(1, options),
        );
      }
      const outcomes = Promise.allSettled(promises);
      end(outer, controller);
      expect([outer.disposed, inner.disposed]).to.deep.equal([true, true]);
      expect(codeOf(() => lab.sync('late', { options: { scope: inner } }))).to.equal('EINVAL');
      await lab.clock.advance(100);
      const failed = (await outcomes).filter(({ status }) => status === 'rejected');
      expect([failed.length, lab.log, lab.take()]).to.deep.equal([8, [], []]);
      expect(await rejectionOf(outer.run(() => lab.log.push('late')))).to.not.equal('none');
      await lab.clock.advance(100);
      expect([lab.log, outer.runs, inner.runs]).to.deep.equal([[], 0, 0]);
    });
  }

  it('by await using waits for what is running, also in scopes that ended before', async () => {
    const lab = new ScopeLab();
    const outer = lab.scope();
    const inner = lab.scope({ parent: outer });
    const kc = lab.async('kc', { options: { scope: inner } });
    kc.schedule();
    void lab.start(outer, 'a', 20, { deaf: true });
    void lab.start(inner, 'b', 30, { deaf: true });
    await lab.clock.advance(0);
    inner.abort();
    const over = watch(outer[Symbol.asyncDispose]().then(() => 'over'));
    await lab.clock.advance(20);
    await lab.end(kc);
    expect(over.now).to.equal('open');
    await lab.clock.advance(10);
    expect(over.now).to.equal('over');
    expect(await outer[Symbol.asyncDispose]()).to.equal(undefined);
  });

  it('from its own run is refused with await, but it has ended', async () => {
    const lab = new ScopeLab();
    const scope = lab.scope();
    const code = scope.run(() => rejectionOf(scope[Symbol.asyncDispose]()));
    await lab.clock.advance(0);
    expect([await code, scope.disposed]).to.deep.equal(['EDEADLK', true]);
  });

  it('hands a reason of any kind on', async () => {
    for (const reason of [null, 0, 'text']) {
      const scope = new ScopeLab().scope();
      scope.abort(reason);
      scope.abort(new Error('later'));
      let seen: unknown = 'none';
      await scope.join().catch((error: unknown) => (seen = error));
      expect([seen, scope.signal.reason]).to.deep.equal([reason, reason]);
    }
  });

  it('on the host: a deadline ends runs on its time, and the rest goes on', async () => {
    const kernel = new Kernel();
    const scope = new Scope({ wq: kernel.wq.prihigh, deadlineMs: 20 });
    const began = kernel.now();
    const slow = scope.run(() => kernel.wq.softclock.run(() => 'done', { delayMs: 60 }));
    const code = await rejectionOf(scope.join());
    expect([code, await slow]).to.deep.equal(['ETIMEDOUT', 'done']);
    expect(kernel.now() - began).to.be.at.least(60);
    await kernel.close();
  });

  it('uses prihigh of the process if it is given no workqueue', async () => {
    const scope = new Scope();
    expect([scope.wq.name, await scope.run(() => 5)]).to.deep.equal(['prihigh', 5]);
    expect(await scope.run((arg: number) => arg + 1, { arg: 5 })).to.equal(6);
    const twice = { scope: new Scope() } as never;
    expect(await rejectionOf(scope.run(() => 5, twice))).to.equal('EINVAL');
  });
});

interface Plan {
  readonly ms: number;
  readonly fails: boolean;
  readonly deaf: boolean;
}

/** The dullest model: all times are known beforehand, so each run is looked at in the order of its end. */
function modelOf(
  plans: readonly Plan[],
  policy: JoinPolicy,
  deadlineMs: number,
): [number, unknown] {
  const order = plans.map((plan, index) => ({ ...plan, index })).toSorted((a, b) => a.ms - b.ms);
  let endsMs = Infinity;
  let why: unknown;
  for (const { ms, fails, index } of order) {
    if (ms >= deadlineMs) break;
    const isDecisive = { all: fails, any: !fails, race: true, settled: false }[policy];
    if (!isDecisive) continue;
    endsMs = ms;
    why = fails ? `${index} failed` : `${index}`;
    break;
  }
  const isTimedOut = endsMs === Infinity && order.some(({ ms }) => ms >= deadlineMs);
  if (isTimedOut) endsMs = deadlineMs;
  const endOf = ({ ms, deaf }: Plan): number => (ms <= endsMs || deaf ? ms : endsMs);
  const overMs = Math.max(0, ...plans.map(endOf));
  const outcomeOf = ({ ms, fails, deaf }: Plan, index: number): string => {
    if (ms > endsMs && !deaf) return 'ETIMEDOUT';
    if (ms === endsMs && isTimedOut && !deaf) return 'ETIMEDOUT';
    return fails ? `${index} failed` : `${index}`;
  };
  if (policy === 'settled') return [overMs, plans.map(outcomeOf)];
  if (why !== undefined) return [overMs, why];
  if (isTimedOut) return [overMs, 'ETIMEDOUT'];
  if (policy === 'all') return [overMs, plans.map((_, index) => `${index}`)];
  if (policy === 'race') return [0, 'EINVAL'];
  return [overMs, `all of ${plans.map((_, index) => `${index} failed`).join(', ')}`];
}

describe('Scope.join() in random programs', () => {
  it('agrees with a model that knows all times beforehand', async () => {
    const policy = fc.constantFrom<JoinPolicy>('all', 'any', 'race', 'settled');
    // Different times: what comes first among equals is another spec's.
    const plan = fc.record({
      ms: fc.integer({ min: 1, max: 12 }),
      fails: fc.boolean(),
      deaf: fc.boolean(),
    });
    const plans = fc.uniqueArray(plan, { maxLength: 6, selector: ({ ms }) => ms });
    await fc.assert(
      fc.asyncProperty(
        plans,
        policy,
        fc.integer({ min: 1, max: 15 }),
        async (runs, how, deadline) => {
          const deadlineMs = deadline + 0.5;
          const lab = new ScopeLab();
          const scope = lab.scope();
          for (const [index, { ms, ...rest }] of runs.entries()) {
            void lab.start(scope, `${index}`, ms, rest);
          }
          let overMs = NaN;
          const joined = scope.join({ policy: how, deadlineMs } as { policy: 'settled' });
          const seen = watch(joined);
          const note = (): unknown => (overMs = lab.clock.now);
          void joined.then(note, note);
          await lab.clock.advance(30);
          const got = Array.isArray(seen.now)
            ? seen.now.map((one: unknown) => {
                const { value, reason } = one as { value?: unknown; reason?: unknown };
                return typeof one === 'string' ? one : (value ?? textOf(reason));
              })
            : seen.now;
          expect([overMs, got]).to.deep.equal(modelOf(runs, how, deadlineMs));
          expect(scope.runs).to.equal(0);
        },
      ),
      { numRuns: 300 * soak },
    );
  });
});
