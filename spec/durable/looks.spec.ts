import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { Looks, type Found } from '../../lib/durable/graphile/looks.ts';
import { deferred, settled } from '../support/lab.ts';

const NONE: Found = { rows: [] };
const OF_LOCK: Found = { rows: [{ job_queue_id: 5 }] };
const PLAIN: Found = { rows: [{ job_queue_id: null }] };

/** Looks whose statements are answered by the spec. */
class LooksLab {
  readonly looks: Looks<Found> = new Looks<Found>();
  /** Those that are executed one after the other. */
  readonly inLine: string[] = [];
  /** What happened, in order. */
  readonly log: string[] = [];
  readonly open: { name: string; resolve(found: Found): void; reject(error: Error): void }[] = [];

  look(name: string, question: string = 'q'): void {
    const answer = deferred<Found>();
    const looked = this.looks.look(question, (isInLine) => {
      if (isInLine) this.inLine.push(name);
      this.log.push(`${name} begins`);
      this.open.push({ name, resolve: answer.resolve, reject: answer.reject });
      return answer.promise;
    });
    looked.then(
      ({ rows }) => this.log.push(`${name}: ${rows.length}`),
      (error: unknown) => this.log.push(`${name}: ${String(error)}`),
    );
  }

  async answer(found: Found | Error): Promise<string[]> {
    const first = this.open.shift();
    if (found instanceof Error) first?.reject(found);
    else first?.resolve(found);
    await settled();
    return this.log.splice(0);
  }
}

describe('looks for a job', () => {
  it('go one at a time, in order, while jobs of locks are found', async () => {
    const lab = new LooksLab();
    for (const name of ['a', 'b', 'c']) lab.look(name);
    expect(lab.log.splice(0)).to.deep.equal(['a begins']);
    expect(await lab.answer(OF_LOCK)).to.have.members(['a: 1', 'b begins']);
    expect(await lab.answer(OF_LOCK)).to.have.members(['b: 1', 'c begins']);
    expect(await lab.answer(OF_LOCK)).to.deep.equal(['c: 1']);
  });

  it('that wait when a job may be found are not answered by one that has begun, one for each job', async () => {
    const lab = new LooksLab();
    for (const name of ['a', 'b', 'c', 'd', 'e']) lab.look(name);
    expect(await lab.answer(OF_LOCK)).to.have.members(['a begins', 'a: 1', 'b begins']);
    expect([lab.looks.renew(), lab.looks.renew()]).to.deep.equal([true, true]);
    expect(await lab.answer(NONE)).to.have.members(['b: 0', 'e: 0', 'c begins']);
    // d waits, but for a job that may have been found already.
    expect(lab.looks.renew()).to.equal(false);
    expect(await lab.answer(OF_LOCK)).to.have.members(['c: 1', 'd begins']);
    expect(await lab.answer(NONE)).to.deep.equal(['d: 0']);
    expect(lab.looks.renew()).to.equal(false);
  });

  it('are sent ahead where they are executed one after the other', async () => {
    const lab = new LooksLab();
    lab.looks.ahead = 2;
    for (const name of ['a', 'b', 'c', 'd']) lab.look(name);
    expect(lab.log.splice(0)).to.deep.equal(['a begins', 'b begins']);
    expect(await lab.answer(OF_LOCK)).to.have.members(['a: 1', 'c begins']);
    expect(await lab.answer(PLAIN)).to.have.members(['b: 1', 'd begins']);
    expect(await lab.answer(NONE)).to.deep.equal(['c: 0']);
    expect(await lab.answer(NONE)).to.deep.equal(['d: 0']);
    expect(lab.inLine).to.deep.equal(['a', 'b', 'c']);
  });

  it('go together when a job without a lock was found, until one of a lock is', async () => {
    const lab = new LooksLab();
    for (const name of ['a', 'b', 'c']) lab.look(name);
    await lab.answer(PLAIN);
    expect(lab.open.map(({ name }) => name)).to.deep.equal(['b', 'c']);
    lab.look('d');
    expect(lab.open).to.have.length(3);
    await lab.answer(OF_LOCK);
    lab.look('e');
    await lab.answer(NONE);
    expect(lab.open.map(({ name }) => name)).to.deep.equal(['d']);
    expect(await lab.answer(NONE)).to.have.members(['d: 0', 'e begins']);
  });

  it('share an empty answer if they were waiting when it began, and ask the same', async () => {
    const lab = new LooksLab();
    lab.look('a');
    lab.look('b');
    lab.look('c', 'other');
    lab.look('d');
    expect(await lab.answer(OF_LOCK)).to.have.members(['a begins', 'a: 1', 'b begins']);
    lab.look('late');
    expect(await lab.answer(NONE)).to.have.members(['b: 0', 'd: 0', 'c begins']);
    expect(await lab.answer(NONE)).to.have.members(['c: 0', 'late begins']);
    expect(await lab.answer(NONE)).to.deep.equal(['late: 0']);
  });

  it('fail alone', async () => {
    const lab = new LooksLab();
    lab.look('a');
    lab.look('b');
    expect(await lab.answer(new Error('no'))).to.have.members([
      'a begins',
      'a: Error: no',
      'b begins',
    ]);
    const thrown = lab.looks
      .look('q', () => {
        throw new Error('at once');
      })
      .catch(String);
    lab.look('c');
    await lab.answer(OF_LOCK);
    expect(await thrown).to.equal('Error: at once');
    expect(await lab.answer(OF_LOCK)).to.deep.equal(['c: 1']);
  });

  it('are all answered, and find nothing only if nothing was there after they were asked for', async () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('look' as const), question: fc.constantFrom('q', 'r') }),
      fc.record({
        kind: fc.constant('answer' as const),
        found: fc.constantFrom(NONE, OF_LOCK, PLAIN),
        which: fc.nat(3),
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const looks = new Looks<Found>();
        const open: { begin: number; question: string; resolve(found: Found): void }[] = [];
        /** When an empty statement began, by its question. */
        const empty: { begin: number; question: string }[] = [];
        const unproved: number[] = [];
        let time = 0;
        let waiting = 0;
        const ask = (question: string): void => {
          const asked = time++;
          waiting++;
          const looked = looks.look(question, () => {
            const { promise, resolve } = deferred<Found>();
            open.push({ begin: time++, question, resolve });
            return promise;
          });
          void looked.then(({ rows }) => {
            waiting--;
            if (rows.length > 0) return;
            const isProved = empty.some((one) => one.begin > asked && one.question === question);
            if (!isProved) unproved.push(asked);
          });
        };
        const reply = async (found: Found, which: number): Promise<void> => {
          const [one] = open.splice(which % Math.max(open.length, 1), 1);
          if (one === undefined) return;
          if (found === NONE) empty.push(one);
          one.resolve(found);
          await settled();
        };
        for (const one of steps) {
          if (one.kind === 'look') ask(one.question);
          else await reply(one.found, one.which);
        }
        while (open.length > 0) await reply(NONE, 0);
        expect([waiting, unproved]).to.deep.equal([0, []]);
      }),
    );
  });
});
