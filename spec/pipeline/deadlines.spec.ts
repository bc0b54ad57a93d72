// Deadlines that were met: a function that settles in its last tick is in time.
import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { pipeline } from '../../lib/pipeline/index.ts';
import { Deadline, createDeadline, release } from '../../lib/compat/abort-deadline.ts';
import { Kcont, Mutex } from '../../lib/index.ts';
import { deadlinePrograms, expectedOf, outcomeOf } from '../support/deadline-program.ts';
import { deferred, Lab, settled } from '../support/lab.ts';

const never: Promise<never> = new Promise(() => {});

/** The state of a promise so far. */
function ending(promise: Promise<unknown>): { how: string } {
  const state = { how: 'in flight' };
  promise.then(
    () => (state.how = 'done'),
    (error: Error) => (state.how = error.message),
  );
  return state;
}

describe('a deadline of a pipeline', () => {
  it('is met by a stage that ends in its tick, and does not apply to the next stage', async () => {
    const { clock, kernel, wq } = new Lab();
    const gate = new Mutex();
    gate.tryEnter();
    new Kcont(wq.softserial, null, () => gate.exit(), null).schedule(10);
    const line = pipeline<number>('line')
      .stage('a', (n) => n, { wq: 'softserial', lock: gate, deadlineMs: 10 })
      .stage('b', () => never)
      .start({ kernel });
    const item = ending(line.run(1, { deadlineMs: 1000 }));
    await clock.advance(990);
    expect(item.how).to.equal('in flight');
    await clock.advance(10);
    expect(item.how).to.equal('line/b: its deadline of 1000 ms is over');
    expect(kernel.inspect().pending).to.equal(0);
  });

  for (const queue of ['softserial', 'softclock', 'prilow'] as const) {
    for (const whose of ['stage', 'item'] as const) {
      it(`of the ${whose} is met by an asynchronous function that ends in its tick, on ${queue}`, async () => {
        const { clock, kernel, wq } = new Lab();
        const line = pipeline<number>('line')
          .stage(
            'wait',
            async (ms) => {
              await wq[queue].run(() => {}, { delayMs: ms });
              await Promise.resolve();
              return ms;
            },
            whose === 'stage' ? { deadlineMs: 10 } : {},
          )
          .start({ kernel });
        const options = whose === 'item' ? { deadlineMs: 10 } : {};
        const [kept, missed] = [line.run(10, options), line.run(11, options)].map(ending);
        await clock.advance(9);
        expect([kept?.how, missed?.how]).to.deep.equal(['in flight', 'in flight']);
        await clock.advance(1);
        const limit = whose === 'item' ? 'its deadline of' : "the stage's";
        expect([kept?.how, missed?.how]).to.deep.equal([
          'done',
          `line/wait: ${limit} 10 ms is over`,
        ]);
        expect(kernel.inspect().pending).to.equal(1);
      });
    }
  }

  it('of an item expires in its tick if the item still has stages to pass', async () => {
    const { clock, kernel, wq } = new Lab();
    const line = pipeline<number>('line')
      .stage('wait', (ms) => wq.softserial.run(() => ms, { delayMs: ms }), { deadlineMs: 10 })
      .stage('more', () => never)
      .start({ kernel });
    const item = ending(line.run(10, { deadlineMs: 10 }));
    await clock.advance(10);
    expect(item.how).to.equal('line/more: its deadline of 10 ms is over');
  });

  it('expires in its tick also under tick(), in which no promise settles', async () => {
    const { clock, kernel } = new Lab();
    const seen: boolean[] = [];
    const line = pipeline<number>('line')
      .stage(
        'wait',
        (_, { signal }) => {
          signal.addEventListener('abort', () => seen.push(signal.aborted));
          return never;
        },
        { deadlineMs: 10 },
      )
      .start({ kernel });
    const item = ending(line.run(1));
    clock.tick(10);
    expect(seen).to.deep.equal([true]);
    await settled();
    expect(item.how).to.equal("line/wait: the stage's 10 ms is over");
  });

  it('prevents a waiting item from starting too late', async () => {
    const { clock, kernel, ran } = new Lab();
    const gate = deferred();
    const line = pipeline<number>('line')
      .stage('one at a time', (n) => (ran.push(`${n}`), gate.promise), { limit: 1 })
      .start({ kernel });
    const items = [ending(line.run(1)), ending(line.run(2, { deadlineMs: 10 }))];
    await clock.advance(0);
    new Kcont(kernel.wq.softserial, null, () => gate.resolve(), null).schedule(10);
    clock.tick(10);
    await clock.advance(5);
    expect(ran).to.deep.equal(['1']);
    expect(items.map(({ how }) => how)).to.deep.equal([
      'done',
      'line/one at a time: its deadline of 10 ms is over',
    ]);
  });

  it('leaves no timer of a finished stage or item', async () => {
    const { clock, kernel } = new Lab();
    const gate = deferred();
    const line = pipeline<number>('line')
      .stage('a', async (n) => n, { deadlineMs: 10 })
      .stage('b', () => gate.promise)
      .start({ kernel });
    const item = ending(line.run(1));
    await clock.advance(0);
    expect(kernel.inspect().pending).to.equal(0);
    gate.resolve();
    await clock.advance(0);
    expect([item.how, kernel.inspect().pending]).to.deep.equal(['done', 0]);
  });

  it('expires as a simple model predicts, for random stages that end in or near its tick', () =>
    fc.assert(
      fc.asyncProperty(deadlinePrograms, async (program) => {
        expect(await outcomeOf(program)).to.equal(expectedOf(program));
      }),
      { numRuns: 60, seed: 16 },
    ));
});

describe('the grace period of a pipeline that closes', () => {
  it('includes items that finish in its last tick', async () => {
    const { clock, kernel, wq } = new Lab();
    const line = pipeline<number>('line')
      .stage('wait', async (ms) => {
        await wq.softclock.run(() => {}, { delayMs: ms });
        await Promise.resolve();
        await Promise.resolve();
        await Promise.resolve();
        return ms;
      })
      .start({ kernel });
    const items = [line.run(10), line.run(11)].map(ending);
    await clock.advance(0);
    const report = line.close({ graceMs: 10 });
    await clock.advance(10);
    expect(await report).to.deep.equal({
      unfinished: [{ stage: 'wait', state: 'running', input: 11 }],
    });
    expect(items.map(({ how }) => how)).to.deep.equal(['done', 'pipeline line is closed']);
  });
});

describe('a deadline as a signal', () => {
  it('is not aborted if it is released in its tick before listeners are called', () => {
    const { clock, kernel, wq } = new Lab();
    const deadline = createDeadline(kernel);
    const signal = deadline(10);
    const again = new Deadline(kernel);
    again.arm(10);
    const done: boolean[] = [];
    new Kcont(
      wq.softserial,
      null,
      () => void done.push(release(signal), again.disarm()),
      null,
    ).schedule(10);
    clock.tick(20);
    expect([...done, signal.aborted, again.signal.aborted]).to.deep.equal([
      true,
      true,
      false,
      false,
    ]);
  });

  it('is not armed while its listeners are called, unless one of them arms it', () => {
    const { clock, kernel } = new Lab();
    const deadline = new Deadline(kernel);
    const seen: boolean[] = [];
    deadline.arm(10).addEventListener('abort', () => {
      seen.push(deadline.armed, deadline.disarm(), deadline.touch());
      deadline.arm(0);
      seen.push(deadline.armed, deadline.disarm(), deadline.armed);
      deadline.arm(5);
      seen.push(deadline.armed);
    });
    clock.tick(10);
    expect(seen).to.deep.equal([false, false, false, true, true, false, true]);
    clock.tick(5);
    expect(deadline.signal.aborted).to.equal(true);
  });
});
