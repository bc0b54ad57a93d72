// Errors, arguments and results with anything in them, by the thousands.
import { expect } from 'chai';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { Kernel } from '../../../lib/index.ts';
import { curcpu } from '../../../lib/cpu/index.ts';
import { MOST_RECORDS, unwireError, wireError } from '../../../lib/cpu/messages/wire-error.ts';
import { causesOf, expectCarried } from '../../support/carried.ts';
import { moduleOf } from '../../support/cpus.ts';
import { chain, prepare, recipes } from '../../support/hostile.ts';
import type * as Work from '../../support/hostile-work.ts';
import { soak } from '../../support/lab.ts';

void curcpu;

describe('an error with anything in it', () => {
  it('arrives with what can be read of it, thousands of times', () => {
    const carry = (thrown: unknown): unknown => unwireError(structuredClone(wireError(thrown)));
    fc.assert(
      fc.property(recipes, (recipe) => expectCarried(prepare(recipe), carry)),
      { numRuns: 5000 * soak },
    );
  }).timeout(120_000);

  it('keeps a chain of causes up to the limit of records, and replaces the next one by text', () => {
    const causes = causesOf(unwireError(structuredClone(wireError(chain(MOST_RECORDS + 10)))));
    expect(causes).to.have.length(MOST_RECORDS);
    expect(causes.at(-1)).to.match(/Error: attempt 9\b/);
  }).timeout(60_000);

  it('ends the run of the function concerned, and nothing else', async () => {
    const errors: unknown[] = [];
    const events: string[] = [];
    const kernel = new Kernel({ onError: (error) => void errors.push(error) });
    const work = await kernel.startCpus<typeof Work>({
      module: moduleOf('hostile-work'),
      count: 1,
      onEvent: ({ type }) => void events.push(type),
    });
    const queue = kernel.acquire(127, { perCpu: true });
    const cpu = kernel.cpus[1] ?? null;
    const first = Math.trunc(Math.random() * 2 ** 30);
    const ended = async (run: Promise<unknown>): Promise<string> =>
      run.then(
        () => 'fulfilled',
        () => 'rejected',
      );
    for (let round = 0; round < 100 * soak; round++) {
      const runs = Array.from({ length: 20 }, (_, i) => {
        const seed = first + 20 * round + i;
        if (i % 4 === 3) {
          const [recipe] = fc.sample(recipes, { seed, numRuns: 1 });
          return ended(queue.run(work.echo, { arg: prepare(recipe as never), cpu }));
        }
        return ended(queue.run(work.drawn, { arg: { seed, how: i % 4 }, cpu }));
      });
      const pings = Array.from({ length: 5 }, () => queue.run(work.ping, { cpu }));
      const thrown = (await Promise.all(runs)).filter((_, i) => i % 4 === 0);
      expect(new Set(thrown), `from seed ${first + 20 * round}`).to.deep.equal(
        new Set(['rejected']),
      );
      expect(new Set(await Promise.all(pings))).to.deep.equal(new Set(['pong']));
    }
    const { unfinished } = await kernel.close({ graceMs: 1000 });
    expect([errors, events, unfinished]).to.deep.equal([[], ['up'], []]);
  }).timeout(120_000);
});
