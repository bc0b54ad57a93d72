import type { Bench } from './harness/bench.ts';
export const bench: Bench = { name: 'echo-server', about: '', cases: () => [] };
