import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { runDemo } from './demo.ts';
import type { Affinity } from './seats.ts';
import { ThumbnailService } from './service.ts';

const USAGE = `Usage: node build/examples/thumbnails/main.js [options]

  --seconds S     how long the demonstration takes, about (3 to 60; default 16)
  --cpus N        CPUs beside the main thread (1 to 15; default: one less than there are, at least 2)
  --affinity A    of clients: strong, weak or none (default weak)
  --serve         a service with a page to look at in a browser, until SIGINT or SIGTERM
  --port N        with --serve: the port (default: one that is free)
  --help          this text`;

const AFFINITIES: ReadonlySet<string> = new Set(['strong', 'weak', 'none']);

class UsageError extends Error {}

interface Options {
  readonly help: boolean;
  readonly serve: boolean;
  readonly seconds: number;
  readonly cpus: number;
  readonly affinity: Affinity;
  readonly port: number;
}

process.exitCode = await main();

async function main(): Promise<number> {
  try {
    const { help, serve, seconds, cpus, affinity, port } = parse();
    if (help) console.log(USAGE);
    else if (serve) return await serveByHand(port, cpus, affinity);
    else return await runDemo(seconds, cpus, affinity);
    return 0;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(`${error.message}\n\n${USAGE}`);
    return 2;
  }
}

function parse(): Options {
  const options = {
    seconds: { type: 'string', default: '16' },
    cpus: {
      type: 'string',
      default: String(Math.min(15, Math.max(2, availableParallelism() - 1))),
    },
    affinity: { type: 'string', default: 'weak' },
    port: { type: 'string', default: '0' },
    serve: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  } as const;
  const given = (() => {
    try {
      return parseArgs({ options }).values;
    } catch (error) {
      throw new UsageError((error as Error).message, { cause: error });
    }
  })();
  const { help, serve, affinity } = given;
  if (!AFFINITIES.has(affinity)) {
    throw new UsageError(`--affinity must be strong, weak or none, got ${affinity}`);
  }
  return {
    help,
    serve,
    affinity: affinity as Affinity,
    seconds: whole('--seconds', given.seconds, 3, 60),
    cpus: whole('--cpus', given.cpus, 1, 15),
    port: whole('--port', given.port, 0, 65_535),
  };
}

function whole(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new UsageError(`${name} must be a whole number from ${least} to ${most}, got ${text}`);
}

async function serveByHand(port: number, cpus: number, affinity: Affinity): Promise<number> {
  const signalled = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  const service = await ThumbnailService.start({
    port,
    cpus,
    affinity,
    photos: 18,
    onCpu: ({ type, cpu, lagMs }) => console.log(`CPU ${cpu.index}: ${type} ${lagMs || ''}`),
  });
  console.log(`http://127.0.0.1:${service.port}/   ${cpus} CPUs, affinity ${affinity}`);
  await signalled;
  const { unfinished } = await service.close();
  console.log(service.counts);
  console.log(`unfinished: ${unfinished.map(({ name }) => name).join(', ') || 'none'}`);
  return unfinished.length === 0 ? 0 : 1;
}
