/**
 * Retries with backoff, deadlines and a budget that callers share.
 *
 * @packageDocumentation
 */

export type { BackoffFunction, BackoffOptions } from '../base/backoff.ts';
export { Retry, retry, type RetryFunction, type RetryOptions, type RetryState } from './retry.ts';
export { RetryBudget, type RetryBudgetOptions } from './retry-budget.ts';
