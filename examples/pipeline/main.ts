import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { compare } from './compare.ts';
import { serve } from './serve.ts';
import { openKcontSite } from './site-kcont.ts';
import { tokenOf } from './work.ts';

const USAGE = `Usage: node build/examples/pipeline/main.js [options]

  --seconds S   how long the comparison takes, about (1 to 60; default 10)
  --serve       run the kcont site as a server, to ask by hand, until SIGINT or SIGTERM
  --help        this text`;

process.exitCode = await main();

async function main(): Promise<number> {
  let values: { seconds?: string; serve?: boolean; help?: boolean };
  try {
    ({ values } = parseArgs({
      options: {
        seconds: { type: 'string' },
        serve: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }));
  } catch (error) {
    return misused((error as Error).message);
  }
  if (values.help === true) {
    console.log(USAGE);
    return 0;
  }
  if (values.serve === true) return await serveByHand();
  const seconds = Number(values.seconds ?? '10');
  if (!(seconds >= 1 && seconds <= 60)) return misused('--seconds must be a number from 1 to 60');
  return await compare(seconds);
}

function misused(message: string): number {
  console.error(`${message}\n\n${USAGE}`);
  return 2;
}

async function serveByHand(): Promise<number> {
  const site = openKcontSite();
  const front = await serve(site);
  console.log(`curl 'http://127.0.0.1:${front.port}/news?user=ann&token=${tokenOf('ann')}'`);
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  await front.close();
  console.log(site.draw?.());
  return 0;
}
