import type { Bench } from './harness/bench.ts';
export const bench: Bench = { name: 'start-up', about: '', cases: () => [] };
