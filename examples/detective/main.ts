// Five programs with a mistake each, and what kcont/observe says about it.

import { deadlock } from './deadlock.ts';
import type { Say } from './case.ts';
import { leak } from './leak.ts';
import { slow } from './slow.ts';
import { starved } from './starved.ts';
import { shop, unreferenced } from './unreferenced.ts';

const USAGE = 'Usage: node build/examples/detective/main.js';

const CASES: Readonly<Record<string, (say: Say) => void | Promise<void>>> = {
  'the memory grows': leak,
  'the server answers nothing': deadlock,
  'all requests are slow now and then': slow,
  'the report is missing': starved,
  'the log is missing': unreferenced,
};

const [what, how] = process.argv.slice(2);
if (what === '--shop') shop(how === 'referenced');
else if (what === undefined) {
  for (const [title, solve] of Object.entries(CASES)) {
    console.log(`\n${title}`);
    // One after the other: each has the event loop for itself.
    // oxlint-disable-next-line no-await-in-loop
    await solve((line) => console.log(`  ${line}`));
  }
} else {
  console.error(USAGE);
  process.exitCode = 2;
}
