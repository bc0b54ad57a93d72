import type { Bench } from './harness/bench.ts';
export const bench: Bench = { name: 'run-soon', about: '', cases: () => [] };
