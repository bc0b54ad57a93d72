import { inspect } from 'node:util';
import { expect } from 'chai';
import fc from 'fast-check';
import { Retry, RetryBudget, retry, type RetryOptions } from '../../lib/retry/index.ts';
import { Lab } from '../support/lab.ts';

const ignore = (): void => undefined;
const fail = (): never => {
  throw new Error('down');
};

describe('RetryBudget', () => {
  let lab: Lab;
  let options: RetryOptions;
  beforeEach(() => {
    lab = new Lab();
    options = { wq: lab.wq.prihigh, backoff: { baseMs: 50, factor: 1, jitter: 'none' } };
  });

  /** A budget with a window of a second. */
  function budgetOf(ratio: number, minPerSecond: number): RetryBudget {
    return new RetryBudget({ kernel: lab.kernel, ratio, minPerSecond, windowMs: 1000 });
  }

  /** Starts calls that fail, and lets their first attempts run. */
  async function failAll(count: number, own: RetryOptions): Promise<Retry<never>[]> {
    const started = Array.from({ length: count }, () => new Retry(fail, { ...options, ...own }));
    for (const { result } of started) result.catch(ignore);
    await lab.clock.advance(0);
    return started;
  }

  it('grants its ratio of the calls, and a least number', async () => {
    const budget = new RetryBudget({
      kernel: lab.kernel,
      ratio: 0.2,
      minPerSecond: 0.3,
      windowMs: 10_000,
    });
    expect(budget.available).to.equal(3);
    const started = await failAll(10, { budget });
    const granted = started.filter(({ state }) => state === 'waiting');
    expect(granted).to.have.length(5);
    expect([budget.calls, budget.waiting, budget.begun, budget.refused]).to.deep.equal([
      10, 5, 0, 5,
    ]);
    expect(budget.available).to.equal(0);
  });

  it('counts retries that wait in backoff, for longer than its window too', async () => {
    const budget = budgetOf(0, 2);
    await failAll(2, { budget, backoff: { baseMs: 5000, jitter: 'none' } });
    await lab.clock.advance(2500);
    const [refused] = await failAll(1, { budget });
    expect([budget.waiting, budget.available, refused?.state]).to.deep.equal([2, 0, 'rejected']);
  });

  it('counts retries as begun for a window, and up to a tenth more', async () => {
    const budget = budgetOf(0, 3);
    await failAll(3, { budget, attempts: 2 });
    await lab.clock.advance(50);
    expect([budget.waiting, budget.begun]).to.deep.equal([0, 3]);
    await lab.clock.advance(999);
    expect(budget.begun).to.equal(3);
    await lab.clock.advance(101);
    expect([budget.begun, budget.available]).to.deep.equal([0, 3]);
  });

  it('forgets calls after its window', async () => {
    const budget = budgetOf(1, 0);
    await failAll(1, { budget, attempts: 1 });
    expect(budget.available).to.equal(1);
    await lab.clock.advance(1000);
    expect([budget.calls, budget.available]).to.deep.equal([0, 0]);
    await lab.clock.advance(1e6);
    expect(budget.calls).to.equal(0);
  });

  it('takes back what is stopped in backoff', async () => {
    const budget = budgetOf(0, 1);
    const [first] = await failAll(1, { budget });
    expect(budget.available).to.equal(0);
    first?.stop();
    expect([budget.available, budget.waiting]).to.deep.equal([1, 0]);
  });

  it('ends a call whose retry is refused with its error and earlier ones as causes', async () => {
    const budget = budgetOf(0, 1);
    let calls = 0;
    const result = retry(
      () => {
        throw new Error(`attempt ${++calls}`);
      },
      { ...options, budget },
    ).catch((error: unknown) => error as Error);
    await lab.clock.advance(100);
    const error = await result;
    expect(error.message).to.equal('attempt 2');
    expect((error.cause as Error).message).to.equal('attempt 1');
  });

  it('always allows its least number per second, and no more, if a window has a part of it', async () => {
    for (const [minPerSecond, windowMs] of [
      [10, 50],
      [0.05, 10_000],
      [1.5, 1000],
      [0.3, 5000],
      [1e-3, 1],
    ] as const) {
      const own = new Lab();
      const budget = new RetryBudget({ kernel: own.kernel, ratio: 0, minPerSecond, windowMs });
      expect(budget.available).to.equal(Math.ceil((minPerSecond * windowMs) / 1000));
      const stepMs = Math.min(windowMs / 20, 50);
      const times: number[] = [];
      for (let i = 0; i < 10_000; i++) {
        if (budget._grant()) {
          budget._begin();
          times.push(own.clock.now);
        }
        await own.clock.advance(stepMs);
      }
      const most = 1 + Math.ceil((minPerSecond * own.clock.now) / 1000);
      // Retries are counted for up to a tenth more than the window, and steps are a twentieth of it.
      expect(times.length).to.be.within(Math.floor(most * 0.8), most);
    }
  });

  it('allows nothing always if its least number is 0', () => {
    const budget = new RetryBudget({ kernel: lab.kernel, ratio: 0, minPerSecond: 0 });
    expect([budget.available, budget._grant(), budget.refused]).to.deep.equal([0, false, 1]);
  });

  it('shows its counts', () => {
    const budget = new RetryBudget({ kernel: lab.kernel });
    expect(inspect(budget)).to.equal('RetryBudget { 0 calls, 0 waiting, 0 begun, 0 refused }');
    expect(String(budget)).to.equal(inspect(budget));
    expect(JSON.stringify(budget)).to.equal('{"calls":0,"waiting":0,"begun":0,"refused":0}');
  });

  it('keeps a failing service from a storm, whatever its callers do', async () => {
    const program = fc.record({
      ratio: fc.constantFrom(0, 0.1, 0.5),
      minPerSecond: fc.constantFrom(0, 0.5, 1, 1.5, 5),
      baseMs: fc.constantFrom(0, 30, 400, 3000),
      arrivals: fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: 60 }),
    });
    await fc.assert(
      fc.asyncProperty(program, async ({ ratio, minPerSecond, baseMs, arrivals }) => {
        const own = new Lab();
        const windowMs = 1000;
        const budget = new RetryBudget({ kernel: own.kernel, ratio, minPerSecond, windowMs });
        const calls: number[] = [];
        const retries: { grantedMs: number; beginMs: number }[] = [];
        for (const gapMs of arrivals) {
          await own.clock.advance(gapMs);
          calls.push(own.clock.now);
          const granted: { grantedMs: number; beginMs: number }[] = [];
          const down = (_: AbortSignal, { attempt }: Retry<never>): never => {
            const last = granted.at(-1);
            if (attempt > 1 && last !== undefined) last.beginMs = own.clock.now;
            throw new Error('down');
          };
          retry(down, {
            wq: own.wq.prilow,
            attempts: 4,
            backoff: { baseMs, jitter: 'none' },
            budget,
            onRetry: () => {
              const entry = { grantedMs: own.clock.now, beginMs: Infinity };
              granted.push(entry);
              retries.push(entry);
            },
          }).catch(ignore);
        }
        await own.clock.advance(100_000);
        // At the grant of each retry: those that wait or began in the window before it are within the budget.
        for (const { grantedMs } of retries) {
          const from = grantedMs - windowMs;
          const used = retries.filter(
            (each) => each.grantedMs <= grantedMs && each.beginMs > from,
          ).length;
          const inWindow = calls.filter((at) => at > from && at <= grantedMs).length;
          expect(used).to.be.at.most(
            Math.ceil((minPerSecond * windowMs) / 1000) + ratio * inWindow,
          );
        }
        expect(budget.waiting).to.equal(0);
      }),
      { numRuns: 100 },
    );
  });
});
