import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { watchIdle } from './idle.mjs';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test('closes what has been silent for a minute', () => {
  const onIdle = vi.fn();
  const idle = watchIdle(onIdle);
  vi.advanceTimersByTime(30_000);
  idle.touch();
  vi.advanceTimersByTime(59_999);
  expect(onIdle).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(onIdle).toHaveBeenCalledOnce();
});

test('leaves no timer behind', () => {
  watchIdle(() => undefined).stop();
  expect(vi.getTimerCount()).toBe(0);
});
