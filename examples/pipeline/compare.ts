import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CONNECTIONS, OPERATORS, OPERATOR_EVERY_MS, type Order, type Seen } from './population.ts';
import { serve } from './serve.ts';
import { openKcontSite } from './site-kcont.ts';
import { openRxjsSite } from './site-rxjs.ts';
import { openStreamsSite } from './site-streams.ts';
import type { Site } from './work.ts';

const ending = import.meta.url.slice(import.meta.url.lastIndexOf('.')); // .ts, or .js when compiled
/** Number of rounds. They are many and short, and medians are shown, because other programs interfere. */
const ROUNDS = 3;
/** The share of a round in which clients connect. */
const WARM_UP = 0.2;

interface Round extends Seen {
  /** The CPU time that the server used in total. */
  readonly cpuMs: number;
}

/** One implementation of the site, and its measurements. */
interface Contender {
  readonly name: string;
  readonly file: string;
  readonly open: () => Site;
  /** The measurements of the load, one per round. */
  readonly rounds: Round[];
  wrong: number;
  overtaken: number;
  /** The site as text, under load. */
  drawing: string;
}

/** Runs the three sites under the same load in turn, prints a table, and returns the exit code. */
export async function compare(seconds: number): Promise<number> {
  const contenders = [
    contender('kcont/pipeline', 'site-kcont', openKcontSite),
    contender('RxJS', 'site-rxjs', openRxjsSite),
    contender('streams + p-limit', 'site-streams', openStreamsSite),
  ];
  // One extra round warms up the code and is not counted.
  const plays = contenders.length * (ROUNDS + 1);
  const playMs = (seconds * 1000) / plays;
  const load = fork(fileURLToPath(new URL(`load${ending}`, import.meta.url)));
  try {
    for (let round = 0; round <= ROUNDS; round++) {
      for (const one of contenders) {
        progress(`round ${round} of ${ROUNDS}: ${one.name}`);
        const seen = await play(one, load, playMs);
        if (round > 0) one.rounds.push(seen);
      }
      // Each site comes first in turn.
      contenders.push(contenders.shift() as Contender);
    }
  } finally {
    load.kill();
    progress('');
  }
  contenders.unshift(contenders.pop() as Contender);
  const [kcont] = contenders as [Contender];
  const measuredMs = playMs * (1 - WARM_UP);
  const asked = kcont.rounds.map(({ operators }) => operators.length);
  console.log(`The site on kcont/pipeline, in the middle of a round:

${kcont.drawing}

${CONNECTIONS} connections ask again and again, ${OPERATORS} operators every ${OPERATOR_EVERY_MS} ms; an operator's time counts from
when he meant to ask. Medians of ${ROUNDS} rounds of ${measuredMs.toFixed(0)} ms, in each of which operators asked about
${median(asked)} times. On kcont they go before the crowd (\`urgent\`); the other two treat all alike.

${table(contenders, measuredMs / 1000)}

Less is better, but for the requests.`);
  const broken = contenders.filter(({ wrong, overtaken }) => wrong + overtaken > 0);
  for (const { name } of broken) console.error(`${name} gave wrong answers, or out of order`);
  return broken.length === 0 ? 0 : 1;
}

/** A progress line, rewritten in place on a terminal. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${text.padEnd(40)}${text === '' ? '\r' : ''}`);
}

function contender(name: string, file: string, open: () => Site): Contender {
  return { name, file, open, rounds: [], wrong: 0, overtaken: 0, drawing: '' };
}

async function play(one: Contender, load: ChildProcess, playMs: number): Promise<Round> {
  const site = one.open();
  const front = await serve(site);
  const warmUpMs = playMs * WARM_UP;
  const order: Order = { port: front.port, warmUpMs, forMs: playMs - warmUpMs };
  const look = setTimeout(() => (one.drawing = site.draw?.() ?? ''), playMs / 2);
  const before = process.cpuUsage();
  load.send(order);
  const [seen] = (await once(load, 'message')) as [Seen];
  clearTimeout(look);
  const { user, system } = process.cpuUsage(before);
  one.wrong += seen.wrong;
  one.overtaken += front.overtaken();
  await front.close();
  return { ...seen, cpuMs: (user + system) / 1000 };
}

function table(contenders: readonly Contender[], seconds: number): string {
  const row = (label: string, of: (round: Round) => number, digits: number, unit: string) => [
    label,
    ...contenders.map(({ rounds }) => {
      const values = rounds.map(of).filter((value) => Number.isFinite(value));
      return values.length === 0 ? '–' : `${median(values).toFixed(digits)}${unit}`;
    }),
  ];
  const rows = [
    ['', ...contenders.map(({ name }) => name)],
    ['lines of code', ...contenders.map(({ file }) => String(linesOf(file)))],
    row(
      'requests a second',
      ({ crowd, operators }) => (crowd.length + operators.length) / seconds,
      0,
      '',
    ),
    row('server CPU per request', ({ cpuMs, answered }) => (cpuMs * 1000) / answered, 0, ' µs'),
    row('operators, p50', ({ operators }) => quantile(operators, 0.5), 1, ' ms'),
    row('operators, p99', ({ operators }) => quantile(operators, 0.99), 1, ' ms'),
    row('the crowd, p50', ({ crowd }) => quantile(crowd, 0.5), 1, ' ms'),
    row('the crowd, p99', ({ crowd }) => quantile(crowd, 0.99), 1, ' ms'),
    ['wrong answers', ...contenders.map(({ wrong }) => String(wrong))],
    ['out of order for a user', ...contenders.map(({ overtaken }) => String(overtaken))],
  ];
  const widths =
    rows[0]?.map((_, i) => Math.max(...rows.map((cells) => cells[i]?.length ?? 0))) ?? [];
  return rows
    .map(([label = '', ...cells]) => {
      const padded = cells.map((cell, i) => cell.padStart((widths[i + 1] ?? 0) + 3));
      return label.padEnd(widths[0] ?? 0) + padded.join('');
    })
    .join('\n');
}

function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? NaN;
}

/** Counts the lines of a source file that are neither blank nor comments. */
function linesOf(file: string): number {
  // The source is not copied by the compiler: build/examples/pipeline/ is two folders further down.
  const source = ending === '.ts' ? `./${file}.ts` : `../../../examples/pipeline/${file}.ts`;
  return readFileSync(new URL(source, import.meta.url), 'utf8')
    .replaceAll(/\/\*[^]*?\*\//g, '')
    .split('\n')
    .filter((line) => !/^\s*(?:\/\/.*)?$/.test(line)).length;
}
