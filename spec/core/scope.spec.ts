import { expect } from 'chai';
import { Mutex, Scope } from '../../lib/index.ts';
import type { Kcont } from '../../lib/index.ts';
import { codeOf, Lab, rejectionOf, settled } from '../support/lab.ts';

/** Scopes in each other, so many in the outer one, and a continuation that runs in the last. */
function nested(depth: number): { lab: Lab; outer: Scope; inner: Scope; kc: Kcont<string> } {
  const lab = new Lab();
  const outer = new Scope({ wq: lab.wq.prihigh });
  let inner = outer;
  for (let i = 0; i < depth; i++) inner = new Scope({ parent: inner });
  const kc = lab.async('a', { options: { scope: inner } });
  kc.schedule(0);
  lab.clock.tick(0);
  return { lab, outer, inner, kc };
}

describe('Scope', () => {
  it('counts its continuations that are not destroyed', () => {
    const lab = new Lab();
    const scope = new Scope();
    expect(scope.size).to.equal(0);
    const a = lab.sync('a', { options: { scope } });
    const b = lab.sync('b', { options: { scope } });
    lab.sync('stranger');
    expect(scope.size).to.equal(2);
    a.destroy();
    a.destroy();
    expect(scope.size).to.equal(1);
    b.destroy();
    expect(scope.size).to.equal(0);
  });

  it('ends scopes that are nested to any depth, and waits for what runs in the last', async () => {
    const { lab, outer, inner, kc } = nested(20_000);
    outer.abort();
    expect([inner.disposed, kc.destroyed, kc.running]).to.deep.equal([true, true, true]);
    let isOver = false;
    const over = outer[Symbol.asyncDispose]().then(() => (isOver = true));
    await settled();
    expect(isOver).to.equal(false);
    await lab.end(kc);
    await over;
  });

  it('waits for a scope in it that is just ending', async () => {
    const { lab, outer, inner, kc } = nested(1);
    let isOver = false;
    inner.signal.addEventListener('abort', () => {
      void outer[Symbol.asyncDispose]().then(() => (isOver = true));
    });
    outer.abort();
    await settled();
    expect(isOver).to.equal(false);
    await lab.end(kc);
    await settled();
    expect(isOver).to.equal(true);
  });

  it('waits for each of the scopes in it once', async () => {
    const { lab, outer, kc } = nested(100);
    const { all } = Promise;
    let waits = 0;
    Promise.all = function (this: typeof Promise, those: readonly unknown[]) {
      waits++;
      return all.call(this, those);
    } as typeof all;
    try {
      outer.abort();
    } finally {
      Promise.all = all;
    }
    expect(waits).to.equal(100);
    await lab.end(kc);
    await outer[Symbol.asyncDispose]();
  });

  describe('stop()', () => {
    it('keeps its continuations from running, and no others', () => {
      const lab = new Lab();
      const scope = new Scope();
      const lock = new Mutex();
      lock.tryEnter();
      const pending = lab.sync('pending', { options: { scope } });
      const queued = lab.sync('queued', { options: { scope } });
      const waiting = lab.sync('waiting', { lock, options: { scope } });
      const stranger = lab.sync('stranger');
      waiting.schedule(0);
      lab.clock.tick(0);
      pending.schedule(5);
      queued.schedule(0);
      stranger.schedule(5);
      expect(scope.stop()).to.equal(false);
      lock.exit();
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal(['stranger']);
    });

    it('returns true while one of them is running', async () => {
      const lab = new Lab();
      const scope = new Scope();
      lab.sync('idle', { options: { scope } });
      const kc = lab.async('a', { options: { scope } });
      kc.schedule(0);
      lab.clock.tick(0);
      expect(scope.stop()).to.equal(true);
      await lab.end(kc);
      expect(scope.stop()).to.equal(false);
    });

    it('returns false after they have run: what they use may be freed', () => {
      const lab = new Lab();
      const scope = new Scope();
      const kc = lab.sync('a', { options: { scope } });
      kc.schedule(0);
      lab.clock.tick(0);
      expect(scope.stop()).to.equal(false);
    });

    it('leaves them usable', () => {
      const lab = new Lab();
      const scope = new Scope();
      const kc = lab.sync('a', { options: { scope } });
      kc.schedule(5);
      scope.stop();
      expect(kc.schedule(5)).to.equal(true);
      lab.clock.tick(5);
      expect(lab.take()).to.deep.equal(['a']);
    });

    it('may be called from the function of one of them', () => {
      const lab = new Lab();
      const scope = new Scope();
      const answers: boolean[] = [];
      const first = lab.sync('first', {
        options: { scope },
        body: () => answers.push(scope.stop()),
      });
      const second = lab.sync('second', { options: { scope } });
      first.schedule(0);
      second.schedule(0);
      lab.clock.tick(10);
      expect(lab.take()).to.deep.equal(['first']);
      expect(answers).to.deep.equal([true]);
    });
  });

  describe('halt()', () => {
    it('resolves to false immediately if none is running', async () => {
      const lab = new Lab();
      const scope = new Scope();
      const kc = lab.sync('a', { options: { scope } });
      kc.schedule(5);
      expect(await scope.halt()).to.equal(false);
      expect(kc.pending).to.equal(false);
      expect(await new Scope().halt()).to.equal(false);
    });

    it('waits for all that are running', async () => {
      const lab = new Lab();
      const scope = new Scope();
      const a = lab.async('a', { options: { scope } });
      const b = lab.async('b', { options: { scope } });
      a.schedule(0);
      b.schedule(0);
      lab.clock.tick(0);
      let answer: boolean | null = null;
      void scope.halt().then((got) => (answer = got));
      await lab.end(a);
      expect(answer).to.equal(null);
      expect(b.schedule(0)).to.equal(false);
      await lab.end(b);
      expect(answer).to.equal(true);
    });

    it('is refused when called from the function of one of them', async () => {
      const lab = new Lab();
      const scope = new Scope();
      let code = '';
      const kc = lab.sync('a', {
        options: { scope },
        body: () => {
          void rejectionOf(scope.halt()).then((got) => (code = got));
        },
      });
      kc.schedule(0);
      lab.clock.tick(0);
      await settled();
      expect(code).to.equal('EDEADLK');
    });

    it('leaves nothing scheduled, even if one of them is rescheduled meanwhile', async () => {
      const lab = new Lab();
      const scope = new Scope();
      const other = lab.sync('other', { options: { scope } });
      const kc = lab.async('a', { options: { scope } });
      kc.schedule(0);
      lab.clock.tick(0);
      const halted = scope.halt();
      other.schedule(1);
      await lab.end(kc);
      expect(await halted).to.equal(true);
      expect(other.busy).to.equal(false);
    });
  });

  describe('a disposed Scope', () => {
    it('has destroyed all its continuations', () => {
      const lab = new Lab();
      const kcs: Kcont<string>[] = [];
      {
        using scope = new Scope();
        for (const name of ['a', 'b']) {
          const kc = lab.sync(name, { options: { scope } });
          kc.schedule(5);
          kcs.push(kc);
        }
        lab.clock.tick(4);
      }
      lab.clock.tick(100);
      expect(lab.take()).to.deep.equal([]);
      expect(kcs.map((kc) => kc.destroyed)).to.deep.equal([true, true]);
    });

    it('refuses new continuations', () => {
      const lab = new Lab();
      const scope = new Scope();
      scope[Symbol.dispose]();
      expect(codeOf(() => lab.sync('a', { options: { scope } }))).to.equal('EINVAL');
      expect(scope.size).to.equal(0);
    });

    it('can be disposed again', () => {
      const scope = new Scope();
      scope[Symbol.dispose]();
      scope[Symbol.dispose]();
    });

    it('may be disposed from the function of one of them', () => {
      const lab = new Lab();
      const scope = new Scope();
      const kc = lab.sync('a', { options: { scope }, body: () => scope[Symbol.dispose]() });
      const other = lab.sync('b', { options: { scope } });
      kc.schedule(0);
      other.schedule(0);
      lab.clock.tick(10);
      expect(lab.take()).to.deep.equal(['a']);
      expect([kc.destroyed, other.destroyed]).to.deep.equal([true, true]);
      expect(lab.errors).to.deep.equal([]);
    });

    it('waits for running continuations if disposed with await', async () => {
      const lab = new Lab();
      const scope = new Scope();
      const kc = lab.async('a', { options: { scope } });
      kc.schedule(0);
      lab.clock.tick(0);
      let disposed = false;
      void scope[Symbol.asyncDispose]().then(() => (disposed = true));
      await settled();
      expect(kc.destroyed).to.equal(true);
      expect(disposed).to.equal(false);
      await lab.end(kc);
      expect(disposed).to.equal(true);
    });
  });
});

describe('a Kcont with a signal', () => {
  it('is destroyed when the signal is aborted', () => {
    const lab = new Lab();
    const abort = new AbortController();
    const kc = lab.sync('a', { options: { signal: abort.signal } });
    kc.schedule(5);
    abort.abort();
    expect(kc.destroyed).to.equal(true);
    lab.clock.tick(100);
    expect(lab.take()).to.deep.equal([]);
  });

  it('is destroyed from the start if the signal is already aborted, and is not retained', () => {
    const lab = new Lab();
    const scope = new Scope();
    const wq = lab.kernel.acquire(42);
    const kc = lab.sync('a', { wq, options: { signal: AbortSignal.abort(), scope } });
    expect(kc.destroyed).to.equal(true);
    expect(kc.schedule(0)).to.equal(false);
    expect(scope.size).to.equal(0);
    wq.release();
    expect(lab.kernel.acquire(42), 'the old one is freed').to.not.equal(wq);
  });
});

describe('Kcont declared with using', () => {
  it('is destroyed at the end of the block', () => {
    const lab = new Lab();
    let kept: Kcont<string>;
    {
      using kc = lab.sync('a');
      kc.schedule(5);
      kept = kc;
    }
    expect(kept.destroyed).to.equal(true);
    lab.clock.tick(100);
    expect(lab.take()).to.deep.equal([]);
  });

  it('has settled after the block, if declared with await using', async () => {
    const lab = new Lab();
    const kc = lab.async('a');
    kc.schedule(0);
    lab.clock.tick(0);
    let disposed = false;
    void kc[Symbol.asyncDispose]().then(() => (disposed = true));
    await settled();
    expect([kc.destroyed, kc.running, disposed]).to.deep.equal([true, true, false]);
    await lab.end(kc);
    expect([kc.running, disposed]).to.deep.equal([false, true]);
  });
});
