/**
 * Debounced and throttled functions, and rate limits.
 *
 * @packageDocumentation
 */

export {
  debounce,
  throttle,
  type DebounceOptions,
  type Debounced,
  type ThrottleOptions,
} from './debounce.ts';
export {
  debounceAsync,
  throttleAsync,
  type DebounceAsyncOptions,
  type DebouncedAsync,
  type ThrottleAsyncOptions,
} from './debounce-async.ts';
export { KeyedLimiter } from './keyed-limiter.ts';
export { RateLimiter } from './rate-limiter.ts';
export { SlidingWindow, type SlidingWindowOptions } from './sliding-window.ts';
export { TokenBucket, type TokenBucketOptions } from './token-bucket.ts';
