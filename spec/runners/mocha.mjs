import assert from 'node:assert/strict';
import { Kcont, kernel, wq } from 'kcont';
import * as timers from 'kcont/timers';
import sinon from 'sinon';

describe('fakes in beforeEach', () => {
  let clock;
  let last = 0;
  beforeEach(() => {
    clock = sinon.useFakeTimers();
  });
  afterEach(() => {
    clock.restore();
    assert.ok(kernel.now() >= last);
    last = kernel.now();
  });

  it('run a continuation after tick(1000), and not after tick(999)', () => {
    const ran = [];
    new Kcont(wq.softclock, null, () => ran.push('kcont'), null).schedule(1000);
    setTimeout(() => ran.push('setTimeout'), 1000);
    timers.setTimeout(() => ran.push('kcont/timers'), 1000);
    clock.tick(999);
    assert.deepEqual(ran, []);
    clock.tick(1);
    assert.deepEqual(ran.toSorted(), ['kcont', 'kcont/timers', 'setTimeout']);
  });

  it('run what an asynchronous test waits for', async () => {
    const result = wq.prilow.run(async () => {
      await timers.promises.setTimeout(100);
      return 'done';
    });
    await clock.tickAsync(200);
    assert.equal(await result, 'done');
  });

  it('are told of a continuation that is stopped', () => {
    const kc = new Kcont(wq.softclock, null, () => assert.fail(), null);
    kc.schedule(50);
    assert.equal(clock.countTimers(), 1);
    kc.stop();
    assert.equal(clock.countTimers(), 0);
  });

  it('leave something for later', () => {
    new Kcont(wq.softclock, null, () => undefined, null).schedule(5);
  });

  it('fails, on purpose', () => {
    assert.equal(setTimeout(() => undefined, 1) === undefined, true);
  });
});

describe('without fakes', () => {
  it('time is real', async () => {
    const from = performance.now();
    await new Promise((resolve) => {
      new Kcont(wq.softclock, null, resolve, null).schedule(20);
    });
    assert.ok(performance.now() - from >= 20);
  });

  it('a timeout of the runner fires', function (done) {
    this.timeout(200);
    setTimeout(done, 20);
  });
});
