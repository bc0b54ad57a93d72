import { jest } from '@jest/globals';
import { watchIdle } from './idle.mjs';

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

test('closes what has been silent for a minute', () => {
  const onIdle = jest.fn();
  const idle = watchIdle(onIdle);
  jest.advanceTimersByTime(30_000);
  idle.touch();
  jest.advanceTimersByTime(59_999);
  expect(onIdle).not.toHaveBeenCalled();
  jest.advanceTimersByTime(1);
  expect(onIdle).toHaveBeenCalledTimes(1);
});

test('leaves no timer behind', () => {
  watchIdle(() => undefined).stop();
  expect(jest.getTimerCount()).toBe(0);
});
