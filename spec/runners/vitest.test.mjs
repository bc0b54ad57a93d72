import { Kcont, kernel, wq } from 'kcont';
import * as timers from 'kcont/timers';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

const options = {
  'by default': undefined,
  'setTimeout and Date': { toFake: ['setTimeout', 'clearTimeout', 'Date'] },
  'setTimeout alone': { toFake: ['setTimeout', 'clearTimeout'] },
};

for (const [name, config] of Object.entries(options)) {
  describe(`vi.useFakeTimers, ${name}`, () => {
    let last = 0;
    beforeEach(() => {
      vi.useFakeTimers(config);
    });
    afterEach(() => {
      vi.useRealTimers();
      expect(kernel.now()).toBeGreaterThanOrEqual(last);
      last = kernel.now();
    });

    it('runs a continuation after 1000 ms, and not after 999', () => {
      const ran = [];
      new Kcont(wq.softclock, null, () => ran.push('kcont'), null).schedule(1000);
      timers.setTimeout(() => ran.push('kcont/timers'), 1000);
      setTimeout(() => ran.push('setTimeout'), 1000);
      vi.advanceTimersByTime(999);
      expect(ran).toEqual([]);
      vi.advanceTimersByTime(1);
      expect(ran.toSorted()).toEqual(['kcont', 'kcont/timers', 'setTimeout']);
    });

    it('goes to the next one, and counts them', async () => {
      const ran = [];
      const first = new Kcont(wq.prilow, null, async () => void ran.push('first'), null);
      const second = new Kcont(wq.prilow, null, () => ran.push('second'), null);
      first.schedule(97);
      second.schedule(5000);
      expect(vi.getTimerCount()).toBe(2);
      await vi.advanceTimersToNextTimerAsync();
      expect(ran).toEqual(['first']);
      vi.runOnlyPendingTimers();
      expect(ran).toEqual(['first', 'second']);
      expect(vi.getTimerCount()).toBe(0);
    });

    it('does not mind that the date is set', () => {
      let ran = 0;
      new Kcont(wq.softclock, null, () => ran++, null).schedule(1000);
      vi.setSystemTime(new Date('2030-01-01'));
      vi.advanceTimersByTime(999);
      expect(ran).toBe(0);
      vi.advanceTimersByTime(1);
      expect(ran).toBe(1);
    });

    it('can be spied upon', () => {
      const spy = vi.spyOn(globalThis, 'setTimeout');
      let ran = 0;
      new Kcont(wq.softclock, null, () => ran++, null).schedule(1000);
      vi.advanceTimersByTime(999);
      expect(ran).toBe(0);
      vi.advanceTimersByTime(1);
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
