import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { Kcont, kernel, wq } from 'kcont';
import * as timers from 'kcont/timers';

const all = ['setTimeout', 'setInterval', 'setImmediate', 'Date'];
for (const apis of [all, ['setTimeout', 'Date'], ['setTimeout', 'setImmediate'], ['setTimeout']]) {
  describe(`mock.timers with ${apis}`, () => {
    let last = 0;
    beforeEach(() => {
      mock.timers.enable({ apis });
    });
    afterEach(() => {
      mock.timers.reset();
      assert.ok(kernel.now() >= last);
      last = kernel.now();
    });

    it('runs a continuation after tick(1000), and not after tick(999)', () => {
      const ran = [];
      new Kcont(wq.softclock, null, () => ran.push('kcont'), null).schedule(1000);
      timers.setTimeout(() => ran.push('kcont/timers'), 1000);
      setTimeout(() => ran.push('setTimeout'), 1000);
      mock.timers.tick(999);
      assert.deepEqual(ran, []);
      mock.timers.tick(1);
      assert.deepEqual(ran.toSorted(), ['kcont', 'kcont/timers', 'setTimeout']);
    });

    it('ends runAll()', () => {
      let ran = 0;
      new Kcont(wq.softclock, null, () => ran++, null).schedule(1000);
      mock.timers.runAll();
      mock.timers.runAll();
      assert.equal(ran, 1);
    });

    it('leaves something for later', () => {
      new Kcont(wq.softclock, null, () => undefined, null).schedule(5);
    });
  });
}

describe('without mocks', () => {
  it('time is real', async () => {
    const from = performance.now();
    await new Promise((resolve) => {
      new Kcont(wq.softclock, null, resolve, null).schedule(20);
    });
    assert.ok(performance.now() - from >= 20);
  });

  it('a timer fires', (_, done) => {
    setTimeout(done, 20);
  });

  it('fails, on purpose', () => {
    assert.fail();
  });
});
