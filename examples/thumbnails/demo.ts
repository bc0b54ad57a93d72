// The demonstration: four rounds against one service, and a report.

import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { get } from 'node:http';
import { fileURLToPath } from 'node:url';
import { VIEWERS } from './load.ts';
import type { Order, Seen } from './load.ts';
import { ThumbnailService } from './service.ts';
import type { Counts } from './service.ts';
import type { Affinity } from './seats.ts';
import type { Tally } from './work.ts';

const PHOTOS = 18;
const LOOK_MS = 500;
/** The approximate share of the CPUs' time that viewers use alone, calibrated in a warm-up. */
const SHARE = 0.25;
/** The shortest interval between two requests of a viewer, and that of the warm-up, in ms. */
const LEAST_MS = 40;
const WARM_UP_MS = 400;
/** Number of requests in progress when the service is closed. */
const AT_CLOSE = 6;

interface Round {
  readonly name: string;
  readonly seen: Seen;
  /** The work of each CPU in this round. */
  readonly cpus: readonly Tally[];
  readonly tookMs: number;
  /** The CPU time that the process used in this round. */
  readonly cpuMs: number;
}

/** The result of closing the service. */
interface End {
  readonly tookMs: number;
  readonly answered: number;
  readonly unfinished: readonly string[];
}

/** Runs the demonstration, and returns the exit code. */
export async function runDemo(seconds: number, cpus: number, affinity: Affinity): Promise<number> {
  say(`starting ${cpus} CPUs, drawing ${PHOTOS} photos`);
  const service = await ThumbnailService.start({ cpus, photos: PHOTOS, affinity });
  const ending = import.meta.url.slice(import.meta.url.lastIndexOf('.')); // .ts, or .js when compiled
  const load = fork(fileURLToPath(new URL(`load${ending}`, import.meta.url)));
  const rounds: Round[] = [];
  let end: End;
  try {
    const playMs = (seconds * 1000) / 4;
    const common = { port: service.port, photos: [...service.album.keys()] };
    const warm: Order = {
      ...common,
      forMs: playMs / 2,
      everyMs: WARM_UP_MS,
      crawl: false,
      leave: false,
    };
    await play(service, load, 'warm-up', warm);
    const { cpus: worked } = await play(service, load, 'warm-up', warm);
    const calm: Order = { ...warm, forMs: playMs, everyMs: paceFor(worked) };
    rounds.push(await play(service, load, 'calm', calm));
    rounds.push(await play(service, load, 'flood', { ...calm, crawl: true }));
    rounds.push(await play(service, load, 'hang-ups', { ...calm, leave: true }));
  } finally {
    load.kill();
    end = await close(service);
  }
  say('');
  console.log(report(service, rounds, end, affinity));
  const broken = judge(service, rounds, end);
  for (const sentence of broken) console.error(`Broken: ${sentence}`);
  return broken.length === 0 ? 0 : 1;
}

/** Returns the interval at which viewers use their share of the CPU time, in ms. */
function paceFor(worked: readonly Tally[]): number {
  const thumbnails = worked.reduce((sum, tally) => sum + tally.thumbnails, 0);
  const eachMs = worked.reduce((sum, { busyMs }) => sum + busyMs, 0) / Math.max(1, thumbnails);
  return Math.max(LEAST_MS, (VIEWERS * eachMs) / (worked.length * SHARE));
}

async function play(
  service: ThumbnailService,
  load: ChildProcess,
  name: string,
  order: Order,
): Promise<Round> {
  const before = await service.tallies();
  const counted = { ...service.counts };
  const burned = process.cpuUsage();
  const began = performance.now();
  const shows = setInterval(() => {
    const cpus = service.seats.all.map(
      ({ cpu, urgent, ahead }) => `CPU ${cpu.index}: ${urgent.size} urgent, ${ahead.size} ahead`,
    );
    const { urgent, ahead, refused, shed, hungUp } = since(counted, service.counts);
    say(
      `${name.padEnd(8)} ${((performance.now() - began) / 1000).toFixed(1).padStart(4)} s   ` +
        `${urgent} answered, ahead ${ahead} done ${refused + shed} put off, ${hungUp} hung up   ` +
        `in flight at ${cpus.join('; ')}`,
    );
  }, LOOK_MS);
  try {
    load.send(order);
    const [seen] = (await once(load, 'message')) as [Seen];
    const after = await service.tallies();
    const cpus = after.map((tally, i) => since(before[i] ?? tally, tally));
    const { user, system } = process.cpuUsage(burned);
    const cpuMs = (user + system) / 1000;
    return { name, seen, cpus, tookMs: performance.now() - began, cpuMs };
  } finally {
    clearInterval(shows);
  }
}

/** Closes the service while requests are in progress. */
async function close(service: ThumbnailService): Promise<End> {
  const [photo = ''] = service.album.keys();
  const asked = Array.from(
    { length: AT_CLOSE },
    (_, i) =>
      new Promise<number>((resolve) => {
        const url = `http://127.0.0.1:${service.port}/photos/${photo}?width=120&client=last-${i}`;
        get(url, { agent: false }, (response) => {
          response.resume().on('end', () => resolve(response.statusCode ?? 0));
        }).on('error', () => resolve(0));
      }),
  );
  while (service.inFlight < AT_CLOSE) await new Promise((resolve) => setImmediate(resolve));
  const began = performance.now();
  const { unfinished } = await service.close();
  const tookMs = performance.now() - began;
  const answered = (await Promise.all(asked)).filter((status) => status === 200).length;
  return { tookMs, answered, unfinished: unfinished.map(({ name }) => name) };
}

function since<T extends Counts | Tally>(before: T, after: T): T {
  const entries = Object.entries(after as unknown as Record<string, number>);
  const earlier = before as unknown as Record<string, number>;
  return Object.fromEntries(
    entries.map(([key, value]) => [key, value - (earlier[key] ?? 0)]),
  ) as unknown as T;
}

function report(
  service: ThumbnailService,
  rounds: readonly Round[],
  end: End,
  affinity: Affinity,
): string {
  const { counts, ridMs, seats } = service;
  const rows: [string, (round: Round) => string][] = [
    ['thumbnails people waited for', ({ seen }) => String(seen.waitedMs.length)],
    ['  p50', ({ seen }) => ms(quantile(seen.waitedMs, 0.5))],
    ['  p99', ({ seen }) => ms(quantile(seen.waitedMs, 0.99))],
    ['  refused, wrong', ({ seen }) => `${seen.refused}, ${seen.wrong}`],
    ['rendered ahead', ({ seen }) => String(seen.ahead)],
    ['  put off: 503, Retry-After', ({ seen }) => String(seen.putOff)],
    ['hung up on', ({ seen }) => String(seen.left)],
    ...seats.all.map(({ cpu }, i): [string, (round: Round) => string] => [
      `CPU ${cpu.index}: thumbnails, busy`,
      ({ cpus, tookMs }) =>
        `${cpus[i]?.thumbnails ?? 0}, ${(((cpus[i]?.busyMs ?? 0) / tookMs) * 100).toFixed(0)} %`,
    ]),
    ['  what the machine gave a busy one', (round) => `${(given(round) * 100).toFixed(0)} %`],
    [
      'photo was still decoded there',
      ({ cpus }) => {
        const made = cpus.reduce((sum, { thumbnails, givenUp }) => sum + thumbnails + givenUp, 0);
        const decoded = cpus.reduce((sum, tally) => sum + tally.decoded, 0);
        return `${((1 - decoded / Math.max(1, made)) * 100).toFixed(0)} %`;
      },
    ],
  ];
  const table = [
    ['', ...rounds.map(({ name }) => name)],
    ...rows.map(([label, of]) => [label].concat(rounds.map(of))),
  ];
  const givenUp = rounds.reduce(
    (sum, { cpus }) => sum + cpus.reduce((more, tally) => more + tally.givenUp, 0),
    0,
  );
  const never = counts.hungUp + counts.shed - counts.tooLate - givenUp;
  return `Thumbnails on ${seats.all.length} CPUs, affinity ${affinity}: ${seats.moves} times a client was moved

${layOut(table)}

cancelled: ${never} were withdrawn before they began, ${givenUp} given up between two steps, ${counts.tooLate} too late
  their CPU was rid of one that hung up after ${ms(quantile(ridMs, 0.5))} (p50), ${ms(Math.max(0, ...ridMs))} at most
work ahead: ${counts.refused} refused at the door, ${counts.shed} withdrawn for urgent work
closed in ${ms(end.tookMs)}, with ${end.answered} of the ${AT_CLOSE} answered who had asked; unfinished: ${end.unfinished.join(', ') || 'none'}`;
}

/** Returns the share of a core that a busy CPU got. */
function given({ cpus, cpuMs }: Round): number {
  return Math.min(
    1,
    cpuMs /
      Math.max(
        1,
        cpus.reduce((sum, { busyMs }) => sum + busyMs, 0),
      ),
  );
}

function judge(service: ThumbnailService, rounds: readonly Round[], end: End): string[] {
  const sum = (of: (round: Round) => number): number =>
    rounds.reduce((total, round) => total + of(round), 0);
  const broken: string[] = [];
  const expect = (kept: boolean, sentence: string): void => {
    if (!kept) broken.push(sentence);
  };
  const wrong = sum(({ seen }) => seen.wrong);
  const putOff = sum(({ seen }) => seen.putOff);
  expect(wrong === 0, `${wrong} answers were wrong`);
  expect(service.counts.failed === 0, `${service.counts.failed} thumbnails failed`);
  expect(sum(({ seen }) => seen.refused) === 0, 'a viewer was refused');
  expect(putOff > 0, 'no work ahead was put off under the flood');
  expect(
    putOff === service.counts.refused + service.counts.shed,
    `${putOff} got a Retry-After, ${service.counts.refused + service.counts.shed} were shed`,
  );
  expect(service.counts.hungUp > 0, 'no client hung up');
  expect(
    service.ridMs.length === service.counts.hungUp,
    `${service.counts.hungUp - service.ridMs.length} clients hung up, but their work continues`,
  );
  expect(service.inFlight === 0, `${service.inFlight} thumbnails have not finished`);
  expect(end.answered === AT_CLOSE, `${AT_CLOSE - end.answered} requests were not answered`);
  expect(end.unfinished.length === 0, `left over after close: ${end.unfinished.join(', ')}`);
  return broken;
}

function layOut(rows: readonly (readonly string[])[]): string {
  const widths =
    rows[0]?.map((_, i) => Math.max(...rows.map((cells) => cells[i]?.length ?? 0))) ?? [];
  return rows
    .map(([label = '', ...cells]) => {
      const padded = cells.map((cell, i) => cell.padStart((widths[i + 1] ?? 0) + 3));
      return label.padEnd(widths[0] ?? 0) + padded.join('');
    })
    .join('\n');
}

function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? NaN;
}

function ms(value: number): string {
  if (Number.isNaN(value)) return '–';
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`;
}

/** Prints a progress line; on a terminal it replaces the previous one. */
function say(line: string): void {
  const { stderr } = process;
  if (stderr.isTTY) stderr.write(`\r${line.slice(0, stderr.columns - 1)}\u001b[K`);
  else if (line !== '') stderr.write(`${line}\n`);
}
