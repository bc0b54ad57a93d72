import { expect } from 'chai';
import { Kernel, Scope, VirtualClock } from '../../lib/index.ts';
import { createExecutor } from '../../lib/compat/p-queue/index.ts';
import { pipeline } from '../../lib/pipeline/index.ts';
import { Lab, deferred, settled } from '../support/lab.ts';

/** Calls a function, and returns the unhandled rejections that it has caused. */
async function unhandledOf(func: () => Promise<void>): Promise<unknown[]> {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => void unhandled.push(reason);
  process.on('unhandledRejection', note);
  await func();
  await settled();
  process.off('unhandledRejection', note);
  return unhandled;
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown }).code ?? (error as Error).message;
}

/** Notes when a promise has settled. */
function ends(log: string[], name: string, promise: Promise<unknown>): void {
  const note = (): void => void log.push(name);
  promise.then(note, note);
}

describe('a run that a scope could not begin', () => {
  it('because of load is an outcome of its join, and no unhandled rejection', async () => {
    const clock = new VirtualClock();
    const kernel = new Kernel({ clock });
    const shed = { targetMs: 5, intervalMs: 10 };
    const busy = kernel.acquire(100, { maxActive: 1, name: 'busy', shed });
    const gate = deferred();
    const first = busy.run(() => gate.promise);
    const second = busy.run(() => 'second');
    for (let i = 0; i < 5; i++) await clock.advance(10);
    kernel.load();
    const codes: unknown[] = [];
    const unhandled = await unhandledOf(async () => {
      const scope = new Scope({ wq: busy });
      const other = scope.run(() => 'other', { delayMs: 60_000 });
      void scope.run(() => 'refused');
      await scope.join().catch((error: unknown) => codes.push(codeOf(error)));
      await other.catch((error: unknown) => codes.push(codeOf(error)));
      await scope.run(() => 1).catch((error: unknown) => codes.push(codeOf(error)));
    });
    expect(codes).to.deep.equal(['ESHED', 'ESHED', 'ESHED']);
    expect(unhandled).to.deep.equal([]);
    gate.resolve();
    await clock.advance(1);
    await Promise.all([first, second]);
  });

  it('because its signal was aborted, or its kernel is closed, is one, too', async () => {
    const lab = new Lab();
    const outcomes: unknown[] = [];
    const unhandled = await unhandledOf(async () => {
      const scope = new Scope({ wq: lab.wq.prihigh, policy: 'settled' });
      void scope.run(() => 1, { signal: AbortSignal.abort(new Error('gone')) });
      const closed = lab.kernel.close({ graceMs: 0 });
      void scope.run(() => 2);
      await lab.clock.advance(200);
      await closed;
      void scope.run(() => 3);
      for (const outcome of await scope.join({ policy: 'settled' })) {
        outcomes.push(outcome.status === 'rejected' ? codeOf(outcome.reason) : outcome.value);
      }
    });
    expect(outcomes).to.deep.equal(['gone', 'ESHUTDOWN', 'ESHUTDOWN']);
    expect(unhandled).to.deep.equal([]);
  });

  it('leaves no unhandled rejection in a pipeline or an executor', async () => {
    const lab = new Lab();
    const site = pipeline<number>('site')
      .stage('work', () => {
        throw new Error('failed');
      })
      .start({ kernel: lab.kernel });
    const executor = createExecutor(lab.wq.prilow);
    const errors: unknown[] = [];
    const unhandled = await unhandledOf(async () => {
      for (const start of [
        (scope: Scope) => void site.run(1, { scope }),
        (scope: Scope) => void executor.run(() => Promise.reject(new Error('failed')), { scope }),
      ]) {
        const scope = new Scope({ wq: lab.wq.prihigh });
        start(scope);
        const joined = scope.join().catch((error: unknown) => errors.push(codeOf(error)));
        await lab.clock.advance(1);
        await joined;
        start(scope);
      }
      await site.close();
      const scope = new Scope({ wq: lab.wq.prihigh });
      void site.run(1, { scope });
      await scope.join().catch((error: unknown) => errors.push(codeOf(error)));
    });
    expect(errors).to.deep.equal(['failed', 'failed', 'ESHUTDOWN']);
    expect(unhandled).to.deep.equal([]);
  });
});

describe('when a scope is over, nothing of it is running', () => {
  it('also not a continuation that was destroyed during its run', async () => {
    const lab = new Lab();
    const scope = new Scope({ wq: lab.wq.prihigh });
    const kc = lab.async('kc', { options: { scope } });
    kc.schedule();
    await lab.clock.advance(0);
    kc.destroy();
    const log: string[] = [];
    ends(log, 'over', scope[Symbol.asyncDispose]());
    await lab.clock.advance(10);
    expect([scope.size, log]).to.deep.equal([0, []]);
    await lab.end(kc);
    await lab.clock.advance(0);
    expect(log).to.deep.equal(['over']);
  });

  for (const aborts of ['after', 'during'] as const) {
    it(`also not the function of an item that was aborted ${aborts} its call`, async () => {
      const lab = new Lab();
      const scope = new Scope({ wq: lab.wq.prihigh });
      for (const outcome of ['resolve', 'reject'] as const) {
        const gate = deferred();
        const inner = new Scope({ parent: scope });
        const site = pipeline<number>('site')
          .stage('work', () => {
            if (aborts === 'during') inner.abort();
            return gate.promise;
          })
          .start({ kernel: lab.kernel });
        const log: string[] = [];
        ends(log, 'item', site.run(1, { scope: inner }));
        ends(log, 'join', inner.join());
        await lab.clock.advance(0);
        inner.abort();
        ends(log, 'over', inner[Symbol.asyncDispose]());
        await lab.clock.advance(10);
        expect(log).to.deep.equal(['item']);
        gate[outcome](new Error('late') as never);
        await lab.clock.advance(0);
        expect(log.toSorted()).to.deep.equal(['item', 'join', 'over']);
      }
    });
  }

  it('but a pipeline that was closed leaves what it has given up behind', async () => {
    const lab = new Lab();
    const scope = new Scope({ wq: lab.wq.prihigh });
    const site = pipeline<number>('site')
      .stage('work', () => new Promise(() => undefined))
      .start({ kernel: lab.kernel });
    void site.run(1, { scope });
    const log: string[] = [];
    scope.join().catch((error: unknown) => log.push(String(codeOf(error))));
    await lab.clock.advance(0);
    const closed = site.close({ graceMs: 5 });
    await lab.clock.advance(10);
    await closed;
    expect(log).to.deep.equal(['ESHUTDOWN']);
  });

  it('also not the function of an executor that was aborted', async () => {
    const lab = new Lab();
    const scope = new Scope({ wq: lab.wq.prihigh });
    const gate = deferred();
    const log: string[] = [];
    ends(
      log,
      'run',
      createExecutor(lab.wq.prilow).run(() => gate.promise, { scope }),
    );
    ends(log, 'join', scope.join());
    await lab.clock.advance(0);
    scope.abort();
    await lab.clock.advance(10);
    expect(log).to.deep.equal(['run']);
    gate.resolve();
    await lab.clock.advance(0);
    expect(log).to.deep.equal(['run', 'join']);
  });
});

describe('a result that has ended a scope', () => {
  it('is not what a join of all returns', async () => {
    const lab = new Lab();
    const scope = new Scope({ wq: lab.wq.prihigh, policy: 'any' });
    void scope.run(() => 'first');
    await lab.clock.advance(0);
    const reason: unknown = await scope.join({ policy: 'all' }).catch((error: unknown) => error);
    expect(reason).to.equal(scope.signal.reason);
    expect((reason as Error).message).to.equal('Another run of the scope has succeeded');
  });

  it('is returned by one join; a later one is rejected with the reason for the end', async () => {
    const lab = new Lab();
    const scope = new Scope({ wq: lab.wq.prihigh });
    void scope.run(() => 'first');
    const joined = scope.join({ policy: 'any' });
    await lab.clock.advance(0);
    expect(await joined).to.equal('first');
    for (const policy of ['all', 'any', 'race'] as const) {
      const reason: unknown = await scope.join({ policy }).catch((error: unknown) => error);
      expect(reason).to.equal(scope.signal.reason);
    }
    expect(await scope.join({ policy: 'settled' })).to.deep.equal([]);
  });
});
