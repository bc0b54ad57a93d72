// npm run chaos -- --seed N --rounds N: rounds of chaos with a table. Needs DATABASE_URL.

import { parseArgs } from 'node:util';
import { chaos, isBroken, type Fault } from './chaos.ts';
import { DATABASE_URL } from './database.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '4' },
    nodes: { type: 'string', default: '4' },
    jobs: { type: 'string', default: '600' },
  },
});
const FAULTS: readonly Fault[] = ['kill', 'cut', 'server', 'suspend', 'kill', 'cut', 'suspend'];

if (DATABASE_URL === undefined) {
  console.error('npm run chaos needs a database: set DATABASE_URL');
  process.exitCode = 2;
} else {
  const columns = ['seed', 'scheduled', 'stopped', 'lost', 'two holders', 'out of order'];
  columns.push('stopped but ran', 'begun twice', 'begun again', 'refused', 's');
  console.log(columns.join(' | '));
  for (let i = 0; i < Number(values.rounds); i++) {
    const seed = Number(values.seed) + i;
    const report = await chaos({
      seed,
      nodes: Number(values.nodes),
      jobs: Number(values.jobs),
      locks: 20,
      faults: FAULTS,
    });
    const { scheduled, stopped, lost, twoHolders, outOfOrder, stoppedButRan } = report;
    const { begunTwice, begunAgain, refused, ms } = report;
    const cells = [seed, scheduled, stopped, lost.length, twoHolders.length, outOfOrder.length];
    cells.push(stoppedButRan.length, begunTwice.length, begunAgain, refused);
    console.log(
      [...cells, (ms / 1000).toFixed(0)]
        .map((cell, at) => String(cell).padStart(columns[at]?.length ?? 0))
        .join(' | '),
    );
    if (isBroken(report)) {
      process.exitCode = 1;
      console.log(JSON.stringify({ lost, twoHolders, outOfOrder, stoppedButRan, begunTwice }));
    }
  }
}
