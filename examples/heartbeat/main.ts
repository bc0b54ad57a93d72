import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { intervalSide } from './interval-side.ts';
import { kcontSide } from './kcont-side.ts';
import type { FromKeeper, LeaseRecord, Terms } from './protocol.ts';

/** One way to renew leases. */
export interface Side {
  /** Stops renewing, and releases the leases. */
  end(): Promise<void>;
}

const USAGE = `Usage: node build/examples/heartbeat/main.js [options]

  --seconds S   for how long the main loop is burning, in all (2 to 60; default 5)
  --help        this text`;

const LEASES = 5;
const TERMS: Terms = { leaseMs: 600, everyMs: 150, lateMs: 300 };
/** How long the main loop is blocked at a time, in ms; it then idles for the length of a lease. */
const BURN_MS = 1500;

process.exitCode = await main();

async function main(): Promise<number> {
  let seconds: number;
  try {
    const { values } = parseArgs({
      options: { seconds: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
    });
    if (values.help === true) {
      console.log(USAGE);
      return 0;
    }
    seconds = Number(values.seconds ?? '5');
    if (!(seconds >= 2 && seconds <= 60))
      throw new Error('--seconds must be a number from 2 to 60');
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${USAGE}`);
    return 2;
  }
  return await compare(Math.max(1, Math.round((seconds * 1000) / BURN_MS)));
}

async function compare(burns: number): Promise<number> {
  const ending = import.meta.url.slice(import.meta.url.lastIndexOf('.')); // .ts, or .js when compiled
  const path = fileURLToPath(new URL(`keeper${ending}`, import.meta.url));
  const keeper = fork(path, [JSON.stringify(TERMS)]);
  try {
    const { port } = await heard(keeper, 'listening');
    const names = (side: string): string[] =>
      Array.from({ length: LEASES }, (_, i) => `${side}-${i}`);
    const held = heard(keeper, 'held', ({ leases }) => leases === 2 * LEASES);
    const kcont = await kcontSide(names('kcont'), port, TERMS.everyMs);
    const interval = intervalSide(names('interval'), port, TERMS.everyMs);
    await held;
    for (let i = 1; i <= burns; i++) {
      console.log(`the main loop burns for ${BURN_MS} ms, ${i} of ${burns}`);
      burn(BURN_MS);
      await sleep(TERMS.leaseMs);
    }
    await Promise.all([kcont.end(), interval.end()]);
    // Both have closed their connections: their messages have arrived, and are read before this one.
    await sleep(TERMS.leaseMs / 4);
    const report = heard(keeper, 'report');
    keeper.send('report');
    return judge(await report, burns);
  } finally {
    keeper.kill();
  }
}

/** Blocks this thread. */
function burn(forMs: number): void {
  const until = performance.now() + forMs;
  while (performance.now() < until);
}

type Said<T extends FromKeeper['type']> = Extract<FromKeeper, { type: T }>;

/** Waits for the next message of a type that fulfils a condition. */
function heard<T extends FromKeeper['type']>(
  keeper: ChildProcess,
  type: T,
  isIt: (message: Said<T>) => boolean = () => true,
): Promise<Said<T>> {
  return new Promise((resolve, reject) => {
    const gone = (): void => reject(new Error('the keeper of the leases has ended'));
    const listen = (message: FromKeeper): void => {
      if (message.type !== type || !isIt(message as Said<T>)) return;
      keeper.off('message', listen).off('exit', gone);
      resolve(message as Said<T>);
    };
    keeper.on('message', listen).once('exit', gone);
  });
}

function judge({ records, lagMs }: Said<'report'>, burns: number): number {
  const of = (side: string): LeaseRecord[] =>
    records.filter(({ lease }) => lease.startsWith(`${side}-`));
  const kcont = of('kcont');
  const interval = of('interval');
  const sum = (leases: readonly LeaseRecord[], field: 'renewals' | 'late' | 'lost'): number =>
    leases.reduce((total, record) => total + record[field], 0);
  const longest = (leases: readonly LeaseRecord[]): string =>
    `${Math.max(...leases.map(({ longestMs }) => longestMs)).toFixed(0)} ms`;
  const rows: [string, (leases: readonly LeaseRecord[]) => string][] = [
    ['renewals', (leases) => String(sum(leases, 'renewals'))],
    [
      `  more than ${TERMS.lateMs} ms after the one before`,
      (leases) => String(sum(leases, 'late')),
    ],
    ['longest time between two', longest],
    ['leases lost', (leases) => String(sum(leases, 'lost'))],
  ];
  console.log(
    `\n${LEASES} leases of ${TERMS.leaseMs} ms, renewed every ${TERMS.everyMs} ms, twice; ` +
      `the main loop burned ${burns} × ${BURN_MS} ms\n\n` +
      `${''.padEnd(40)}${'kcont, CPU 1'.padStart(16)}${'setInterval, main'.padStart(20)}`,
  );
  for (const [label, value] of rows) {
    console.log(label.padEnd(40) + value(kcont).padStart(16) + value(interval).padStart(20));
  }
  console.log(`\nthe keeper itself was late by ${lagMs.toFixed(0)} ms at most`);
  const lost = sum(kcont, 'lost');
  const afterwards = kcont.reduce((total, { afterRelease }) => total + afterRelease, 0);
  const broken: string[] = [];
  // A machine too busy for the keeper may be too busy for CPU 1 as well.
  if (lost > 0 && lagMs < TERMS.leaseMs / 2) broken.push(`CPU 1 lost ${lost} leases`);
  if (afterwards > 0) broken.push(`${afterwards} renewals came after destroy()`);
  if (sum(interval, 'lost') === 0) broken.push('the main loop lost no lease: it shows nothing');
  for (const sentence of broken) console.error(`Broken: ${sentence}`);
  return broken.length === 0 ? 0 : 1;
}
