import { AsyncLocalStorage } from 'node:async_hooks';
import { inspect } from 'node:util';
import { expect } from 'chai';
import fc from 'fast-check';
import { Kcont, KcontError, Mutex, SpinLock } from '../../lib/index.ts';
import { Retry, RetryBudget, retry, type RetryOptions } from '../../lib/retry/index.ts';
import { Lab, deferred, rejectionOf, settled } from '../support/lab.ts';

const STEADY = { baseMs: 100, factor: 1, jitter: 'none' } as const;

/** What a promise came to: its value, the message of its error, or `pending`. */
function outcome(promise: Promise<unknown>): () => string {
  let text = 'pending';
  promise.then(
    (value) => (text = String(value)),
    (error: unknown) => (text = error instanceof Error ? error.message : String(error)),
  );
  return () => text;
}

/** The messages of an error and its causes. */
function causesOf(error: unknown): string[] {
  const messages: string[] = [];
  for (let at = error; at instanceof Error; at = at.cause) messages.push(at.message);
  return messages;
}

/** The error that a promise is rejected with. */
async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it was fulfilled');
}

describe('retry', () => {
  let lab: Lab;
  let options: RetryOptions;
  beforeEach(() => {
    lab = new Lab();
    options = { wq: lab.wq.prihigh, backoff: STEADY };
  });

  /** A function that fails a few times and records when it is called. */
  function failing(times: number, kind: 'sync' | 'async' = 'async'): () => unknown {
    let calls = 0;
    return () => {
      lab.ran.push(`${lab.clock.now}`);
      if (++calls > times) return 'done';
      const error = new Error(`attempt ${calls}`);
      if (kind === 'sync') throw error;
      return Promise.reject(error);
    };
  }

  async function later(): Promise<void> {
    lab.ran.push('later');
  }

  for (const kind of ['sync', 'async'] as const) {
    describe(`of a function that fails, ${kind}`, () => {
      it('calls it again after the backoff, until it succeeds', async () => {
        const ended = outcome(retry(failing(2, kind), options));
        expect(lab.take()).to.deep.equal([]);
        await lab.clock.advance(1000);
        expect(lab.take()).to.deep.equal(['0', '100', '200']);
        expect(ended()).to.equal('done');
        expect(lab.reported).to.deep.equal([]);
        expect(lab.kernel.inspect().pending).to.equal(0);
      });

      it('gives up after the last attempt, with the earlier errors as causes', async () => {
        const result = errorOf(retry(failing(9, kind), { ...options, attempts: 3 }));
        await lab.clock.advance(1000);
        expect(lab.take()).to.deep.equal(['0', '100', '200']);
        expect(causesOf(await result)).to.deep.equal(['attempt 3', 'attempt 2', 'attempt 1']);
      });

      it('counts a failure of the workqueue for each attempt', async () => {
        void errorOf(retry(failing(9, kind), { ...options, attempts: 3 }));
        await lab.clock.advance(1000);
        expect(lab.wq.prihigh.stats()).to.include({ entered: 3, failed: 3, running: 0, queued: 0 });
      });
    });
  }

  it('calls a function once that succeeds, and passes its result on', async () => {
    const result = retry(() => ({ answer: 42 }), options);
    await lab.clock.advance(0);
    expect(await result).to.deep.equal({ answer: 42 });
  });

  it('makes five attempts by default, and one if told so', async () => {
    void errorOf(retry(failing(99), options));
    await lab.clock.advance(10_000);
    expect(lab.take()).to.have.length(5);
    void errorOf(retry(failing(99), { ...options, attempts: 1 }));
    await lab.clock.advance(10_000);
    expect(lab.take()).to.have.length(1);
  });

  it('waits as long as the error asks for, and no shorter than the backoff', async () => {
    const waits = [250, 5, -1];
    const asked = (): never => {
      lab.ran.push(`${lab.clock.now}`);
      throw Object.assign(new Error('busy'), { retryAfterMs: waits.shift() });
    };
    void errorOf(retry(asked, { ...options, attempts: 4 }));
    await lab.clock.advance(1000);
    expect(lab.take()).to.deep.equal(['0', '250', '350', '450']);
  });

  it('asks retryIf, and tells onRetry before each wait', async () => {
    const told: string[] = [];
    const result = errorOf(
      retry(failing(9), {
        ...options,
        retryIf: (error) => (error as Error).message !== 'attempt 3',
        onRetry: (error, { attempt, waitMs, state }) =>
          void told.push(`${(error as Error).message}: ${attempt}, ${waitMs}, ${state}`),
      }),
    );
    await lab.clock.advance(1000);
    expect(told).to.deep.equal(['attempt 1: 1, 100, waiting', 'attempt 2: 2, 100, waiting']);
    expect(((await result) as Error).message).to.equal('attempt 3');
  });

  it('ends with what retryIf, onRetry or backoff throws', async () => {
    const refuse = (): never => {
      throw new Error('refused');
    };
    for (const own of [{ retryIf: refuse }, { onRetry: refuse }, { backoff: refuse }]) {
      const budget = new RetryBudget({ kernel: lab.kernel });
      const ended = outcome(retry(failing(9), { ...options, ...own, budget }));
      await lab.clock.advance(1000);
      expect(ended()).to.equal('refused');
      expect(budget.waiting).to.equal(0);
      expect(lab.take()).to.have.length(1);
    }
  });

  it('refuses an answer of retryIf that is not a boolean, such as a promise', async () => {
    const retryIf = (async () => false) as unknown as () => boolean;
    const error = errorOf(retry(failing(9), { ...options, retryIf }));
    await lab.clock.advance(1000);
    expect(causesOf(await error)).to.deep.equal([
      'the result of retryIf must be a boolean, got an instance of Promise',
      'attempt 1',
    ]);
    expect(await error).to.include({ code: 'EINVAL' });
  });

  it('holds its lock during attempts, and not between them', async () => {
    const lock = new Mutex();
    const ended = outcome(retry(failing(1), { ...options, lock }));
    const between = new Kcont(lab.wq.prihigh, lock, () => void lab.ran.push('between'), null);
    between.schedule(50);
    await lab.clock.advance(1000);
    expect(lab.take()).to.deep.equal(['0', 'between', '100']);
    expect([ended(), lock.held]).to.deep.equal(['done', false]);
  });

  it('waits for its lock, and says that it is queued', async () => {
    const lock = new Mutex();
    await lock.enter();
    const waiting = new Retry(failing(0), { ...options, lock });
    await lab.clock.advance(10);
    expect([waiting.state, waiting.attempt]).to.deep.equal(['queued', 0]);
    lock.exit();
    await lab.clock.advance(0);
    expect(await waiting.result).to.equal('done');
  });

  it('starts no attempt while the one before is running', async () => {
    const attempts = [deferred(), deferred()];
    let entered = 0;
    const ended = outcome(retry(() => attempts[entered++]?.promise, options));
    await lab.clock.advance(5000);
    expect(entered).to.equal(1);
    attempts[0]?.reject(new Error('late'));
    await settled();
    await lab.clock.advance(99);
    expect(entered).to.equal(1);
    await lab.clock.advance(1);
    expect(entered).to.equal(2);
    attempts[1]?.resolve();
    await settled();
    expect(ended()).to.equal('undefined');
  });

  it('runs functions in the context that it was created in, if told so', async () => {
    const store = new AsyncLocalStorage<string>();
    const seen: (string | undefined)[] = [];
    const look = (): (() => void) => {
      let calls = 0;
      return () => {
        seen.push(store.getStore());
        if (++calls === 1) throw new Error('once more');
      };
    };
    store.run('request', () => {
      void retry(look(), { ...options, context: 'create' });
      void retry(look(), options);
    });
    await lab.clock.advance(1000);
    expect(seen).to.deep.equal(['request', undefined, 'request', undefined]);
  });

  describe('with a deadline', () => {
    it('is rejected during an attempt, which is told by its signal', async () => {
      const signals: AbortSignal[] = [];
      const hang = (signal: AbortSignal): Promise<never> => {
        signals.push(signal);
        return new Promise(() => undefined);
      };
      const ended = errorOf(retry(hang, { ...options, deadlineMs: 500, name: 'hang' }));
      await lab.clock.advance(499);
      expect(signals[0]?.aborted).to.equal(false);
      await lab.clock.advance(1);
      expect(await ended).to.include({
        code: 'ETIMEDOUT',
        message: 'hang: its deadline is over, in attempt 1',
      });
      expect(signals[0]?.aborted).to.equal(true);
    });

    it('gives the error of the last attempt as the cause', async () => {
      const attempts = [Promise.reject(new Error('first')), new Promise(() => undefined)];
      const ended = errorOf(retry(() => attempts.shift(), { ...options, deadlineMs: 500 }));
      await lab.clock.advance(500);
      expect(causesOf(await ended))
        .to.have.length(2)
        .and.to.include('first');
    });

    it('does not wait for an attempt that would come too late', async () => {
      const ended = outcome(retry(failing(9), { ...options, deadlineMs: 200 }));
      await lab.clock.advance(100);
      expect(ended()).to.equal('attempt 2');
      expect(lab.kernel.inspect().pending).to.equal(0);
    });
  });

  describe('with a signal', () => {
    it('rejects at once if the signal is aborted already', async () => {
      const reason = new Error('gone');
      const ended = errorOf(retry(failing(9), { ...options, signal: AbortSignal.abort(reason) }));
      await lab.clock.advance(1000);
      expect(await ended).to.equal(reason);
      expect(lab.take()).to.deep.equal([]);
    });

    it('ends a wait when the signal is aborted, with its reason', async () => {
      const controller = new AbortController();
      const ended = outcome(retry(failing(9), { ...options, signal: controller.signal }));
      await lab.clock.advance(50);
      controller.abort(new Error('gone'));
      await settled();
      expect(ended()).to.equal('gone');
      await lab.clock.advance(1000);
      expect(lab.take()).to.deep.equal(['0']);
    });

    it('tells the attempt in flight, and ends with it', async () => {
      for (const [fate, expected] of [
        ['resolve', 'in time'],
        ['reject', 'stopped'],
      ] as const) {
        const controller = new AbortController();
        const run = deferred<unknown>();
        const reasons: unknown[] = [];
        const listen = (signal: AbortSignal): Promise<unknown> => {
          signal.addEventListener('abort', () => reasons.push(signal.reason));
          return run.promise;
        };
        const ended = outcome(retry(listen, { ...options, signal: controller.signal }));
        await lab.clock.advance(0);
        controller.abort('gone');
        await settled();
        expect([ended(), ...reasons]).to.deep.equal(['pending', 'gone']);
        run[fate](fate === 'resolve' ? expected : new Error(expected));
        await settled();
        expect(ended()).to.equal(expected);
        await lab.clock.advance(1000);
        expect(lab.kernel.inspect()).to.include({ pending: 0, running: 0 });
      }
    });
  });

  describe('on a workqueue for synchronous functions', () => {
    it('retries synchronous functions', async () => {
      const ended = outcome(retry(failing(1, 'sync'), { ...options, wq: lab.wq.softclock }));
      await lab.clock.advance(100);
      expect(ended()).to.equal('done');
    });

    it('rejects asynchronous ones, and does not call them again', async () => {
      const code = rejectionOf(retry(later, { ...options, wq: lab.wq.softclock }));
      await lab.clock.advance(1000);
      expect(await code).to.equal('ENOTSUP');
      expect(lab.take()).to.have.length(1);
    });
  });

  it('is rejected if its function holds a SpinLock across an await', async () => {
    const ended = rejectionOf(retry(later, { ...options, lock: new SpinLock() }));
    await lab.clock.advance(1000);
    expect(await ended).to.equal('EPERM');
    expect(lab.take()).to.have.length(1);
  });

  describe('when the kernel closes', () => {
    it('is rejected with ESHUTDOWN if it waits', async () => {
      const code = rejectionOf(retry(failing(9), options));
      await lab.clock.advance(50);
      const report = lab.kernel.close();
      await lab.clock.advance(10_000);
      expect(await code).to.equal('ESHUTDOWN');
      expect((await report).withdrawn).to.have.length(1);
    });

    it('is rejected with the error of an attempt in flight that fails', async () => {
      const run = deferred();
      const ended = outcome(retry(() => run.promise, options));
      await lab.clock.advance(0);
      void lab.kernel.close();
      run.reject(new Error('failed'));
      await lab.clock.advance(10_000);
      expect(ended()).to.equal('failed');
    });

    it('is rejected with ESHUTDOWN if an attempt never settles', async () => {
      const code = rejectionOf(retry(() => new Promise(() => undefined), options));
      await lab.clock.advance(0);
      const report = lab.kernel.close({ graceMs: 10 });
      await lab.clock.advance(10_000);
      expect(await code).to.equal('ESHUTDOWN');
      expect((await report).unfinished).to.have.length(1);
    });

    it('cannot be started any more', async () => {
      void lab.kernel.close();
      await lab.clock.advance(10_000);
      expect(await rejectionOf(retry(failing(0), options))).to.equal('ESHUTDOWN');
      expect(() => new Retry(failing(0), options)).to.throw(KcontError, 'closed');
    });
  });

  it('refuses what is not a function, and budgets of other kernels', async () => {
    expect(await rejectionOf(retry('text' as never, options))).to.equal('EINVAL');
    expect(
      await rejectionOf(retry(failing(0), { ...options, budget: new RetryBudget() })),
    ).to.equal('EINVAL');
    const error = await errorOf(retry(failing(0), { zzz: 1 } as object));
    expect((error as Error).stack).to.include('retry.spec');
  });

  describe('the causes of the last error', () => {
    it('follow causes that the error has itself', async () => {
      let calls = 0;
      const wrap = (): never => {
        calls++;
        throw new Error(`attempt ${calls}`, { cause: new Error(`socket ${calls}`) });
      };
      const error = errorOf(retry(wrap, { ...options, attempts: 2 }));
      await lab.clock.advance(1000);
      expect(causesOf(await error)).to.deep.equal([
        'attempt 2',
        'socket 2',
        'attempt 1',
        'socket 1',
      ]);
    });

    it('leave errors alone that are thrown again, frozen or not errors', async () => {
      const same = new Error('same');
      const frozen = Object.freeze(new Error('frozen'));
      const outer = new Error('outer', { cause: same });
      const { proxy, revoke } = Proxy.revocable(new Error('revoked'), {});
      revoke();
      for (const thrown of [
        [same, same],
        [same, frozen],
        [outer, same],
        [same, 'text'],
        [same, proxy],
      ]) {
        const left = [...thrown];
        const error = retry(
          () => {
            throw left.shift();
          },
          { ...options, attempts: 2 },
        ).catch((reason: unknown) => ({ reason }));
        await lab.clock.advance(1000);
        expect(await error).to.have.property('reason', thrown[1]);
        expect(same.cause).to.equal(undefined);
      }
    });

    it('are the ten attempts before it at most', async () => {
      const tried = new Retry(failing(99), { ...options, attempts: 30 });
      const error = errorOf(tried.result);
      await lab.clock.advance(10_000);
      expect(causesOf(await error)).to.have.length(11);
      expect(tried.errors.map((each) => (each as Error).message)[0]).to.equal('attempt 20');
    });
  });
});

describe('Retry', () => {
  let lab: Lab;
  let options: RetryOptions;
  beforeEach(() => {
    lab = new Lab();
    options = { wq: lab.wq.prihigh, backoff: STEADY, name: 'load' };
  });

  it('shows its state, its attempt and its wait', async () => {
    const run = deferred();
    const states: string[] = [];
    const loading = new Retry(() => run.promise, options);
    const note = (): void =>
      void states.push(
        `${loading.state} ${loading.attempt} ${loading.waitMs} ${loading.nextAttemptMs}`,
      );
    note();
    await lab.clock.advance(0);
    note();
    run.reject(new Error('no'));
    await settled();
    note();
    expect(inspect(loading)).to.equal('Retry load { waiting, attempt 1 }');
    const code = outcome(loading.result);
    loading.stop('enough');
    await settled();
    note();
    expect(states).to.deep.equal([
      'queued 0 NaN NaN',
      'running 1 NaN NaN',
      'waiting 1 100 100',
      'rejected 1 100 NaN',
    ]);
    expect(code()).to.equal('enough');
    expect(JSON.stringify(loading)).to.equal('{"name":"load","state":"rejected","attempt":1}');
    expect(String(loading)).to.equal('Retry load { rejected, attempt 1 }');
  });

  it('has no name of the library if its function has none', async () => {
    const hanging = new Retry(() => new Promise(() => undefined), {
      wq: lab.wq.prihigh,
      deadlineMs: 5,
    });
    const ended = errorOf(hanging.result);
    expect([hanging.name, inspect(hanging)]).to.deep.equal([
      '',
      'Retry (anonymous) { queued, attempt 0 }',
    ]);
    await lab.clock.advance(5);
    expect(await ended).to.include({ message: 'a retry: its deadline is over, in attempt 1' });
  });

  it('ends its wait by retryNow', async () => {
    let calls = 0;
    const loading = new Retry(() => {
      if (++calls === 1) throw new Error('no');
      return calls;
    }, options);
    expect(loading.retryNow()).to.equal(false);
    await lab.clock.advance(10);
    expect([loading.state, loading.retryNow(), loading.state, loading.retryNow()]).to.deep.equal([
      'waiting',
      true,
      'queued',
      false,
    ]);
    await lab.clock.advance(0);
    expect(await loading.result).to.equal(2);
    expect(loading.retryNow()).to.equal(false);
  });

  it('is stopped in any state, and says whether an attempt is in flight', async () => {
    const fail = (): never => {
      throw new Error('no');
    };
    const queued = new Retry(fail, options);
    const ended = errorOf(queued.result);
    expect(queued.stop()).to.equal(false);
    expect(await ended).to.include({ name: 'AbortError' });
    const run = deferred();
    const running = new Retry(() => run.promise, options);
    const last = outcome(running.result);
    await lab.clock.advance(0);
    expect(running.stop()).to.equal(true);
    run.reject(new Error('its own error'));
    await settled();
    expect([last(), running.stop(), running.state]).to.deep.equal([
      'its own error',
      false,
      'rejected',
    ]);
    await lab.clock.advance(1000);
    expect(running.attempt).to.equal(1);
  });

  it('has no attempt in flight between two attempts, and after its deadline', async () => {
    for (const from of ['retryIf', 'backoff', 'onRetry'] as const) {
      const answers: boolean[] = [];
      const stopIf = (at: string): void => void (at === from && answers.push(tried.stop()));
      const tried: Retry<never> = new Retry<never>(() => Promise.reject(new Error('no')), {
        ...options,
        retryIf: () => {
          stopIf('retryIf');
          return true;
        },
        backoff: () => {
          stopIf('backoff');
          return 5;
        },
        onRetry: () => stopIf('onRetry'),
      });
      tried.result.catch(() => undefined);
      await lab.clock.advance(1000);
      expect([from, answers, tried.state]).to.deep.equal([from, [false], 'rejected']);
    }
    const hanging = new Retry(() => deferred().promise, { ...options, deadlineMs: 50 });
    const late = rejectionOf(hanging.result);
    await lab.clock.advance(50);
    expect([await late, hanging.stop()]).to.deep.equal(['ETIMEDOUT', false]);
  });

  it('settles after an abort when its attempt does, or its deadline passes', async () => {
    const { signal, abort } = ((own = new AbortController()) => ({
      signal: own.signal,
      abort: () => own.abort(new Error('gone')),
    }))();
    const hang = (): Promise<void> => deferred().promise;
    const endless = outcome(retry(hang, { ...options, signal }));
    const limited = rejectionOf(retry(hang, { ...options, signal, deadlineMs: 500 }));
    await lab.clock.advance(10);
    abort();
    await lab.clock.advance(1000);
    expect([endless(), await limited]).to.deep.equal(['pending', 'ETIMEDOUT']);
  });

  it('ends with its error if it may not come back before any timer ends', async () => {
    const budget = new RetryBudget({ kernel: lab.kernel });
    for (const retryAfterMs of [2 ** 53, 1e300, Infinity]) {
      let calls = 0;
      const tried = retry(
        () => {
          calls++;
          throw Object.assign(new Error('for ever'), { retryAfterMs });
        },
        { ...options, budget },
      );
      const last = rejectionOf(tried);
      await lab.clock.advance(100_000);
      expect([await last, calls]).to.deep.equal(['Error: for ever', 1]);
    }
    expect([budget.waiting, budget.refused]).to.deep.equal([0, 0]);
  });

  it('names the option and its bounds in its errors', async () => {
    const messageOf = async (own: object): Promise<string> =>
      ((await errorOf(retry(() => 1, { ...options, ...own }))) as Error).message;
    expect(await messageOf({ backoff: null })).to.equal(
      'backoff must be an object or a function, got null',
    );
    expect(await messageOf({ backoff: { baseMs: 2 ** 53 } })).to.equal(
      'baseMs must be a finite number of ms from 0 to 2^53-1, got 9007199254740992',
    );
    expect(await messageOf({ deadlineMs: 2 ** 53 })).to.equal(
      'deadlineMs must be a finite number of ms > 0, at most 2^53-1, got 9007199254740992',
    );
  });

  it('can be stopped from its own functions', async () => {
    for (const from of ['func', 'retryIf', 'backoff', 'onRetry'] as const) {
      for (const kind of ['sync', 'async'] as const) {
        const budget = new RetryBudget({ kernel: lab.kernel });
        const stop = (): void => void tried.stop(new Error('stopped'));
        const tried: Retry<never> = new Retry<never>(
          () => {
            lab.ran.push(from);
            if (from === 'func') stop();
            const error = new Error('no');
            if (kind === 'sync') throw error;
            return Promise.reject(error);
          },
          {
            ...options,
            budget,
            retryIf: () => {
              if (from === 'retryIf') stop();
              return true;
            },
            backoff: () => {
              if (from === 'backoff') stop();
              return 5;
            },
            onRetry: () => {
              if (from === 'onRetry') stop();
            },
          },
        );
        const ended = outcome(tried.result);
        await lab.clock.advance(1000);
        expect(lab.take()).to.deep.equal([from]);
        expect(ended()).to.equal(from === 'onRetry' ? 'stopped' : 'no');
        expect([budget.waiting, lab.kernel.inspect().pending]).to.deep.equal([0, 0]);
      }
    }
  });
});

describe('random retries', () => {
  it('make no more attempts than allowed, at the times that the backoff gives', async () => {
    const program = fc.record({
      failures: fc.integer({ min: 0, max: 6 }),
      attempts: fc.constantFrom(1, 2, 3, 5, Infinity),
      baseMs: fc.constantFrom(0, 1, 10),
      retryAfterMs: fc.constantFrom(undefined, 0, 7, 50),
      kind: fc.constantFrom('sync', 'async'),
      abortAtMs: fc.constantFrom(undefined, 0, 5, 21),
    });
    await fc.assert(
      fc.asyncProperty(program, async ({ failures, attempts, baseMs, kind, ...rest }) => {
        const lab = new Lab();
        const controller = new AbortController();
        const times: number[] = [];
        const ended = outcome(
          retry(
            () => {
              times.push(lab.clock.now);
              if (times.length > failures) return 'done';
              const error = Object.assign(new Error('no'), { retryAfterMs: rest.retryAfterMs });
              if (kind === 'sync') throw error;
              return Promise.reject(error);
            },
            {
              wq: lab.wq.prilow,
              attempts,
              backoff: { baseMs, jitter: 'none' },
              signal: controller.signal,
            },
          ),
        );
        if (rest.abortAtMs !== undefined) {
          await lab.clock.advance(rest.abortAtMs);
          controller.abort(new Error('aborted'));
        }
        await lab.clock.advance(10_000);
        // The dullest model: the times at which attempts begin.
        const expected: number[] = [];
        let at = 0;
        let wait = baseMs;
        const most = Math.min(attempts, failures + 1);
        while (expected.length < most) {
          if (rest.abortAtMs !== undefined && at > rest.abortAtMs) break;
          expected.push(at);
          at += Math.max(wait, rest.retryAfterMs ?? 0);
          wait *= 2;
        }
        expect(times).to.deep.equal(expected);
        const isCut = expected.length < most;
        const isDone = expected.length > failures;
        expect(ended()).to.equal(isDone ? 'done' : isCut ? 'aborted' : 'no');
        expect(lab.kernel.inspect()).to.include({ pending: 0, queued: 0, running: 0 });
      }),
      { numRuns: 200 },
    );
  });
});
