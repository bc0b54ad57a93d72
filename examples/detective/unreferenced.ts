// A log whose last lines are never written: its timer does not keep the process alive.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Kcont, kernel, wq } from '../../lib/index.ts';
import { list } from '../../lib/observe/index.ts';
import type { Say } from './case.ts';

/** The program that ends too early, or does not. */
export function shop(ref: boolean): void {
  const lines = ['order 1 placed'];
  const flush = new Kcont(wq.prilow, null, () => console.log(`log: ${lines.join(', ')}`), null, {
    name: 'flush log',
    ref,
  });
  flush.schedule(50);
  process.once('beforeExit', () => {
    for (const { name, ref: isRef } of list(kernel, { state: 'pending' })) {
      console.log(`list(kernel) at beforeExit: ${name} is pending, ref: ${isRef}`);
    }
  });
}

function run(ref: boolean): string[] {
  const main = process.argv[1] ?? fileURLToPath(import.meta.url);
  const { stdout } = spawnSync(
    process.execPath,
    [main, '--shop', ref ? 'referenced' : 'unreferenced'],
    {
      encoding: 'utf8',
    },
  );
  return stdout.split('\n').filter((line) => line !== '');
}

/** The case of the orders that are not in the log. */
export function unreferenced(say: Say): void {
  // The mistake: `ref: false`, so that the log does not delay the end of the process.
  const lines = run(false);
  for (const line of lines) say(line);
  if (!lines.some((line) => line.startsWith('log:'))) say('the log is empty');
  for (const line of run(true)) say(`mended by ref: true: ${line}`);
}
