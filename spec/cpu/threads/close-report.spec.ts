import { expect } from 'chai';
import { LeftOver } from '../../../lib/cpu/threads/close-report.ts';

describe('LeftOver', () => {
  it('adds reports of any length', () => {
    const none = null as never;
    const left = new LeftOver(none, none, none);
    const withdrawn = Array.from({ length: 150_000 }, () => 'timer');
    const unfinished = withdrawn.map((name) => ({ name, wq: 'prilow', state: 'queued' as const }));
    left.add({ withdrawn, unfinished });
    const all = left.with({ withdrawn: ['first'], unfinished: [] });
    expect([all.withdrawn.length, all.withdrawn[0]]).to.deep.equal([150_001, 'first']);
    expect(all.unfinished).to.have.length(150_000);
  });
});
