// npm run chaos -- --seed N --rounds N: rounds of chaos with a table, on a server of its own, which it also restarts. If
// PostgreSQL is not installed here, on that of DATABASE_URL, which it does not restart.

import { parseArgs } from 'node:util';
import { chaos, isBroken, type Fault } from './chaos.ts';
import { DATABASE_URL } from './database.ts';
import { OwnServer } from './own-server.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '4' },
    nodes: { type: 'string', default: '4' },
    jobs: { type: 'string', default: '600' },
  },
});
const FAULTS: readonly Fault[] = ['kill', 'cut', 'server', 'suspend', 'kill', 'cut', 'suspend'];
const OWN_FAULTS: readonly Fault[] = [
  'kill',
  'restart',
  'cut',
  'server',
  'suspend',
  'crash',
  'kill',
  'suspend',
];

const server = await OwnServer.start();
if (server === undefined && DATABASE_URL === undefined) {
  console.error('npm run chaos needs PostgreSQL on this machine, or DATABASE_URL');
  process.exitCode = 2;
} else {
  const faults = server === undefined ? FAULTS : OWN_FAULTS;
  console.log(
    `${server === undefined ? 'the server of DATABASE_URL' : 'a server of its own'}: ${faults.join(', ')}`,
  );
  const columns = ['seed', 'scheduled', 'stopped', 'lost', 'two holders', 'out of order'];
  columns.push('stopped but ran', 'begun twice', 'begun again', 'refused', 'unknown', 's');
  console.log(columns.join(' | '));
  for (let i = 0; i < Number(values.rounds); i++) {
    const seed = Number(values.seed) + i;
    const report = await chaos({
      seed,
      nodes: Number(values.nodes),
      jobs: Number(values.jobs),
      locks: 20,
      faults,
      ...(server === undefined ? {} : { server }),
    });
    const { scheduled, stopped, lost, twoHolders, outOfOrder, stoppedButRan } = report;
    const { begunTwice, begunAgain, refused, unknown, ms } = report;
    const cells = [seed, scheduled, stopped, lost.length, twoHolders.length, outOfOrder.length];
    cells.push(stoppedButRan.length, begunTwice.length, begunAgain, refused, unknown);
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
  await server?.stop();
}
