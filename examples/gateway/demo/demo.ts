import { mkdtemp, rm } from 'node:fs/promises';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { affordable, planFor } from './plan.ts';
import { Progress } from './progress.ts';
import { findings } from './report.ts';
import { runRound } from './round.ts';

/** Runs both gateways, one after the other, under the same load; returns the exit code. */
export async function runDemo(wanted: number, seconds: number): Promise<number> {
  const devices = affordable(wanted);
  if (devices < wanted) {
    console.log(`The limit of open files (ulimit -n) allows ${devices} devices, not ${wanted}.`);
  }
  if (devices < 10) {
    console.error('That is too few to show anything.');
    return 1;
  }
  const plan = planFor(devices, seconds);
  const progress = new Progress(process.stdout);
  const folder = await mkdtemp(join(tmpdir(), 'kcont-gateway-'));
  const interrupted = (): void => {
    rmSync(folder, { recursive: true, force: true });
    process.exit(130); // the other processes notice, and end too
  };
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  process.stdout.once('error', interrupted); // nobody reads on, as in npm start | head
  try {
    const kcont = await runRound('kcont', plan, folder, progress);
    const timeout = await runRound('setTimeout', plan, folder, progress);
    const { table, broken, excused } = findings(plan, kcont, timeout);
    console.log(`\n${table}\n`);
    for (const sentence of excused) {
      console.log(`This machine was too busy to judge whether ${sentence}.`);
    }
    for (const sentence of broken) console.error(`BROKEN: ${sentence}.`);
    if (broken.length === 0) {
      const so = excused.length === 0 ? '' : 'As far as can be judged, ';
      console.log(`${so}kcont kept what it promises.`);
    }
    return broken.length === 0 ? 0 : 1;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
