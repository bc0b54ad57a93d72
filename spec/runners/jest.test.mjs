import { Kcont, kernel, wq } from 'kcont';
import * as timers from 'kcont/timers';
import { jest } from '@jest/globals';

const rest = ['setInterval', 'setImmediate', 'nextTick', 'queueMicrotask', 'hrtime'];
const options = {
  'by default': undefined,
  'all but performance': { doNotFake: ['performance'] },
  'setTimeout alone': { doNotFake: [...rest, 'performance', 'Date'] },
  legacy: { legacyFakeTimers: true },
};

for (const [name, config] of Object.entries(options)) {
  describe(`jest.useFakeTimers, ${name}`, () => {
    let last = 0;
    beforeEach(() => {
      jest.useFakeTimers(config);
    });
    afterEach(() => {
      jest.useRealTimers();
      expect(kernel.now()).toBeGreaterThanOrEqual(last);
      last = kernel.now();
    });

    it('runs a continuation after 1000 ms, and not after 999', () => {
      const ran = [];
      new Kcont(wq.softclock, null, () => ran.push('kcont'), null).schedule(1000);
      timers.setTimeout(() => ran.push('kcont/timers'), 1000);
      setTimeout(() => ran.push('setTimeout'), 1000);
      jest.advanceTimersByTime(999);
      expect(ran).toEqual([]);
      jest.advanceTimersByTime(1);
      expect(ran.toSorted()).toEqual(['kcont', 'kcont/timers', 'setTimeout']);
    });

    if (name === 'legacy') return;

    it('goes to the next one, and counts them', async () => {
      const ran = [];
      const first = new Kcont(wq.prilow, null, async () => void ran.push('first'), null);
      const second = new Kcont(wq.prilow, null, () => ran.push('second'), null);
      first.schedule(97);
      second.schedule(5000);
      expect(jest.getTimerCount()).toBe(2);
      await jest.advanceTimersToNextTimerAsync(1);
      expect(ran).toEqual(['first']);
      jest.runOnlyPendingTimers();
      expect(ran).toEqual(['first', 'second']);
      expect(jest.getTimerCount()).toBe(0);
    });

    it('does not mind that the date is set', () => {
      let ran = 0;
      new Kcont(wq.softclock, null, () => ran++, null).schedule(1000);
      jest.setSystemTime(new Date('2030-01-01'));
      jest.advanceTimersByTime(999);
      expect(ran).toBe(0);
      jest.advanceTimersByTime(1);
      expect(ran).toBe(1);
    });

    it('can be spied upon', () => {
      const spy = jest.spyOn(globalThis, 'setTimeout');
      let ran = 0;
      new Kcont(wq.softclock, null, () => ran++, null).schedule(1000);
      jest.advanceTimersByTime(999);
      expect(ran).toBe(0);
      jest.advanceTimersByTime(1);
      expect(ran).toBe(1);
      spy.mockRestore();
    });

    it('leaves something for later', () => {
      new Kcont(wq.softclock, null, () => undefined, null).schedule(5);
    });
  });
}

describe('without fakes', () => {
  it('time is real', async () => {
    const from = performance.now();
    await new Promise((resolve) => {
      new Kcont(wq.softclock, null, resolve, null).schedule(20);
    });
    expect(performance.now() - from).toBeGreaterThanOrEqual(20);
  });

  it('fails, on purpose', () => {
    expect(1).toBe(2);
  });
});
