#!/usr/bin/env node
/*
 * The command `kcont`. Exit codes: 0 it has done what was asked, 1 no process answers or a file cannot be read, 2 it was
 * called wrongly.
 */

import { parseArgs } from 'node:util';
import { LONGEST_PAUSE_MS } from '../socket/protocol.ts';
import { Failure } from './connection.ts';
import { ps } from './ps.ts';
import { replay } from './replay.ts';
import { clean } from './text.ts';
import { SORT_KEYS, top } from './top.ts';

const USAGE = `usage:
  kcont ps [PID]        what processes have in hand: scopes, continuations, locks, holders
  kcont top [PID]       what a process does, live
  kcont replay FILE     what the flight recorder has recorded, and its red flags

  --json                one JSON object a line
  --limit N             show at most N continuations, flags and rows (ps, replay); default 200
  --events              show each record (replay)
  --interval MS         time between two samples (top), at most an hour; default 1000
  --count N             end after N samples (top)
  --sort KEY            late, run, wait or cpu (top); default cpu
  --timeout MS          how long to wait for an answer (ps, top); default 5000

ps and top reach processes of the same user that have called observe({ socket: true }) of kcont/observe.
exit codes: 0 done; 1 no process answers, or the file cannot be read; 2 wrong usage
`;

/** The width of what is not a terminal. */
const UNLIMITED = 10_000;

const OPTIONS = {
  json: { type: 'boolean', default: false },
  events: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
  limit: { type: 'string', default: '200' },
  interval: { type: 'string', default: '1000' },
  count: { type: 'string' },
  sort: { type: 'string', default: 'cpu' },
  timeout: { type: 'string', default: '5000' },
} as const;

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function warn(message: string): void {
  process.stderr.write(`kcont: ${message}\n`);
}

function wrong(message: string): Failure {
  return new Failure(`${message}\n\n${USAGE}`, 2);
}

function integer(name: string, text: string, least: number, most: number = Infinity): number {
  const value = Number(text);
  if (/^\d{1,10}$/.test(text) && value >= least && value <= most) return value;
  const range = most === Infinity ? `>= ${least}` : `from ${least} to ${most}`;
  throw wrong(`${name} must be an integer ${range}, got ${clean(text)}`);
}

function parse(): ReturnType<
  typeof parseArgs<{ options: typeof OPTIONS; allowPositionals: true }>
> {
  try {
    return parseArgs({ options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw wrong(clean((error as Error).message));
  }
}

async function run(): Promise<void> {
  const { values, positionals } = parse();
  const [command, argument, ...more] = positionals;
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  if (more.length > 0) throw wrong(`there are too many arguments`);
  const { json, events } = values;
  const limit = integer('--limit', values.limit, 1);
  const width = process.stdout.isTTY ? process.stdout.columns : UNLIMITED;
  const shown = { json, limit, width, print };
  if (command === 'replay') {
    if (argument === undefined) throw wrong('replay needs a file');
    replay(argument, { ...shown, events });
    return;
  }
  const pid = argument === undefined ? undefined : integer('PID', argument, 1);
  const target = { pid, timeoutMs: integer('--timeout', values.timeout, 1) };
  if (command === 'ps') await ps({ ...shown, ...target, warn });
  else if (command === 'top') {
    const sort = SORT_KEYS.find((key) => key === values.sort);
    if (sort === undefined) throw wrong(`--sort must be one of ${SORT_KEYS.join(', ')}`);
    const count = values.count === undefined ? Infinity : integer('--count', values.count, 1);
    const intervalMs = integer('--interval', values.interval, 10, LONGEST_PAUSE_MS);
    const { stdin: input, stdout: output } = process;
    await top({ ...shown, ...target, sort, count, intervalMs, input, output, warn });
  } else
    throw wrong(command === undefined ? 'which command?' : `there is no command ${clean(command)}`);
}

// The reader of a pipe, such as head, may end before all is written.
process.stdout.on('error', () => process.exit());

run().catch((error: unknown) => {
  if (!(error instanceof Failure)) throw error;
  warn(error.message.trimEnd());
  process.exitCode = error.exitCode;
});
