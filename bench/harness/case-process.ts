// The process of one case: `case-process.js REQUEST`, with the request as JSON. Sends the results.

import { findBench } from '../suite.ts';
import type { Effort, Role } from './bench.ts';
import { runCase } from './runner.ts';

/** What such a process is asked for. */
export interface Request {
  readonly bench: string;
  /** Which of its cases. */
  readonly index: number;
  readonly effort: Effort;
  /** Only sides of these roles. */
  readonly roles: readonly Role[];
}

const request = JSON.parse(process.argv[2] ?? '') as Request;
const { bench, index, effort, roles } = request;
const found = await findBench(bench);
const test = found.cases(effort)[index];
if (test === undefined) throw new Error(`${bench} has no case ${index}`);
const results = await runCase(bench, test, effort, ({ role }) => roles.includes(role));
process.send?.(results, () => process.exit());
