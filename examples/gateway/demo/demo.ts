import { mkdtemp, rm } from 'node:fs/promises';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { measureCapacity } from './capacity.ts';
import { NoAnswerError } from './peer.ts';
import { affordable, planFor } from './plan.ts';
import { Progress } from './progress.ts';
import { ENOUGH_CPU, findings } from './report.ts';
import { runRound } from './round.ts';

/** The largest default number of devices. More devices do not show the difference better. */
const MOST = 2000;

/**
 * Runs both gateways one after the other under the same load, and returns the exit code.
 *
 * @param wanted - number of devices; undefined for as many as the machine can carry
 * @param seconds - approximate duration of both rounds together
 */
export async function runDemo(wanted: number | undefined, seconds: number): Promise<number> {
  const limit = affordable(wanted ?? MOST);
  if (limit < (wanted ?? MOST)) {
    console.log(`The limit of open files (ulimit -n) allows ${limit} devices.`);
  }
  if (limit < 10) {
    console.error('That is too few to show anything: raise it, with ulimit -n 4096 for instance.');
    return 1;
  }
  const progress = new Progress(process.stdout);
  const folder = await mkdtemp(join(tmpdir(), 'kcont-gateway-'));
  const interrupted = (): void => {
    rmSync(folder, { recursive: true, force: true });
    process.exit(130); // the other processes notice, and exit too
  };
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  process.stdout.once('error', interrupted); // the reader has exited, as in npm start | head
  let cpuShare = 0;
  try {
    const capacity = await measureCapacity(folder, progress);
    ({ cpuShare } = capacity);
    const devices = Math.min(limit, wanted ?? capacity.devices);
    if (capacity.devices < limit) {
      const so = wanted === undefined ? '; --devices N insists on another number' : '';
      console.log(
        `This machine can carry about ${whole(capacity.devices)} devices at present: server and ` +
          `load get ${whole(cpuShare * 100)} % of a core each. ${whole(devices)} connect${so}.`,
      );
    }
    const plan = planFor(devices, seconds);
    const kcont = await runRound('kcont', plan, folder, progress);
    const timeout = await runRound('setTimeout', plan, folder, progress);
    const { table, broken, excused, notShown } = findings(plan, kcont, timeout);
    console.log(`\n${table}\n`);
    for (const sentence of excused) {
      console.log(`This machine was too busy to judge whether ${sentence}.`);
    }
    for (const sentence of notShown) console.log(`Not shown: ${sentence}.`);
    for (const sentence of broken) console.error(`BROKEN: ${sentence}.`);
    if (broken.length === 0) {
      const so = excused.length === 0 ? '' : 'As far as can be judged, ';
      console.log(`${so}kcont kept what it promises.`);
    }
    if (excused.length + notShown.length > 0) advise(devices);
    return broken.length === 0 ? 0 : 1;
  } catch (error) {
    if (!(error instanceof NoAnswerError) || cpuShare >= ENOUGH_CPU) throw error;
    console.log(
      `Not shown: ${error.message}. Server and load got ${whole(cpuShare * 100)} % of a core each, ` +
        'which is too little for this.',
    );
    advise(50);
    return 0;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function advise(devices: number): void {
  const fewer = Math.max(50, Math.floor(devices / 20) * 10);
  console.log(
    'To see it, run it when the machine has less to do, or with fewer devices and for longer: ' +
      `npm start -- --devices ${fewer} --seconds 40`,
  );
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}
