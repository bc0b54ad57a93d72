// Starts the process of a case and waits for its results.

import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Result } from './bench.ts';
import type { Request } from './case-process.ts';

/** This file is .ts or .js, and so is the one beside it. */
const ending = import.meta.url.slice(-3);
const here = fileURLToPath(new URL('.', import.meta.url));

/** No case takes longer. */
const LONGEST_MS = 15 * 60_000;

export interface ChildOptions {
  /** The folder of the compiled harness; by default this one. */
  readonly harness?: string;
  /** Flags for Node, such as --cpu-prof. */
  readonly flags?: readonly string[];
}

/** The results of one case. Rejected if a side did not do its work right. */
export function runInChild(
  request: Request,
  { harness = here, flags = [] }: ChildOptions = {},
): Promise<Result[]> {
  // The coverage of a bench is nobody's, and would slow it down.
  const { NODE_V8_COVERAGE: _, ...env } = process.env;
  return new Promise((resolve, reject) => {
    const child = fork(`${harness}/case-process${ending}`, [JSON.stringify(request)], {
      execArgv: ['--expose-gc', '--max-old-space-size=8192', ...flags],
      env,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      timeout: LONGEST_MS,
    });
    let results: Result[] | undefined;
    child.on('message', (message) => (results = message as Result[]));
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      if (results === undefined) {
        reject(new Error(`${request.bench} #${request.index} ended with ${signal ?? code}`));
      } else resolve(results);
    });
  });
}
