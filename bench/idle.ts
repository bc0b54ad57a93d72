import type { Bench } from './harness/bench.ts';
export const bench: Bench = { name: 'idle', about: '', cases: () => [] };
