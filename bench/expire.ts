import type { Bench } from './harness/bench.ts';
export const bench: Bench = { name: 'expire', about: '', cases: () => [] };
