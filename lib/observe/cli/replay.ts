import { readFileSync, statSync } from 'node:fs';
import { duration } from '../duration.ts';
import { beginMs } from '../recorder/chrome-trace.ts';
import { parseRecording } from '../recorder/parse-recording.ts';
import { flightRecords, type FlightRecord, type Recorded } from '../recorder/records.ts';
import { redFlags, type RedFlag } from '../recorder/red-flags.ts';
import { runsOf, type CpuRuns, type Run } from '../recorder/runs.ts';
import { Failure } from './connection.ts';
import { clean, cleanJson, fit, ms, table, type Column } from './text.ts';

/** The largest file that is read. */
const LARGEST_BYTES = 2 ** 29;

/** Optional settings of `kcont replay`. @internal */
export interface ReplayOptions {
  readonly json: boolean;
  /** Whether each record is printed. */
  readonly events: boolean;
  /** How many rows are shown. */
  readonly limit: number;
  readonly width: number;
  readonly print: (line: string) => void;
}

/**
 * Prints what a flight recorder has recorded, and what stands out in it.
 *
 * @throws Failure if the file cannot be read, or is none of the flight recorder
 *
 * @internal
 */
export function replay(file: string, options: ReplayOptions): void {
  const { json, events, limit, width, print } = options;
  const recorded = read(file);
  const fromMs = beginMs(recorded);
  const endMs = recorded.nowMs - fromMs;
  const perCpu = recorded.cpus.map((cpu) => flightRecords(cpu, fromMs));
  const cpus = perCpu.map((records) => runsOf(records, endMs));
  const flags = redFlags(cpus, recorded.budgetMs, endMs);
  const rows = summarize(cpus);
  if (json) {
    const { pid, reason, wallMs } = recorded;
    print(cleanJson({ pid, reason, wallMs, lengthMs: endMs, flags, rows }));
    return;
  }
  const lines = [
    ...headLines(file, recorded, endMs),
    ...flagLines(flags, limit),
    '',
    ...table(COLUMNS, rows.slice(0, limit), width),
    ...(rows.length > limit ? [`and ${rows.length - limit} more`] : []),
  ];
  for (const line of lines) print(fit(line, width));
  if (!events) return;
  print('');
  for (const event of perCpu.flat().toSorted(byTime)) print(fit(eventLine(event), width));
}

function read(file: string): Recorded {
  let text: string;
  try {
    if (statSync(file).size > LARGEST_BYTES) throw new Error('it is too large');
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Failure(clean(`${file} cannot be read: ${(error as Error).message}`));
  }
  const recorded = parseRecording(text);
  if (typeof recorded === 'string')
    throw new Failure(clean(`${file} is no recording: ${recorded}`));
  return recorded;
}

function headLines(file: string, recorded: Recorded, endMs: number): string[] {
  const { pid, reason, cpus } = recorded;
  const records = cpus.reduce((sum, cpu) => sum + cpu.records.length, 0);
  const lost = cpus.reduce((sum, cpu) => sum + cpu.lost, 0);
  const older = lost === 0 ? '' : `, ${lost} older ones were overwritten`;
  return [
    `${clean(file)}: process ${pid}, ${cpus.length} CPUs, written for ${clean(reason)}`,
    `the last ${duration(endMs)}: ${records} records${older}`,
    '',
  ];
}

function flagLines(flags: readonly RedFlag[], limit: number): string[] {
  if (flags.length === 0) return ['no red flags'];
  const lines = flags.slice(0, limit).map(({ kind, message, atMs, cpu }) => {
    return `  ${kind.padEnd(8)} at ${ms(atMs)} ms on CPU ${cpu}: ${clean(message)}`;
  });
  const more = flags.length > limit ? [`  and ${flags.length - limit} more`] : [];
  return [`red flags: ${flags.length}`, ...lines, ...more];
}

/** What the continuations of one name did. */
interface SummaryRow {
  readonly name: string;
  readonly workqueue: string;
  runs: number;
  runMs: number;
  longestMs: number;
  latestMs: number;
  lockWaitMs: number;
  unfinished: number;
}

const COLUMNS: readonly Column<SummaryRow>[] = [
  { title: 'NAME', of: ({ name }) => clean(name), takesRest: true },
  { title: 'WORKQUEUE', of: ({ workqueue }) => fit(clean(workqueue), 16) },
  { title: 'RUNS', of: ({ runs }) => `${runs}`, isNumber: true },
  { title: 'OPEN', of: ({ unfinished }) => `${unfinished}`, isNumber: true },
  { title: 'TOTAL ms', of: ({ runMs }) => ms(runMs), isNumber: true },
  { title: 'LONGEST', of: ({ longestMs }) => ms(longestMs), isNumber: true },
  { title: 'LATEST', of: ({ latestMs }) => ms(latestMs), isNumber: true },
  { title: 'LOCK WAIT', of: ({ lockWaitMs }) => ms(lockWaitMs), isNumber: true },
];

function summarize(cpus: readonly CpuRuns[]): SummaryRow[] {
  const rows = new Map<string, SummaryRow>();
  for (const { runs } of cpus) for (const run of runs) add(rows, run);
  return [...rows.values()].toSorted((a, b) => b.runMs - a.runMs || b.runs - a.runs);
}

function add(rows: Map<string, SummaryRow>, { enter, returnedMs, wait, isOpen }: Run): void {
  const { name, workqueue, waitedMs, aside } = enter;
  const key = `${workqueue}\0${name}`;
  const nothing = { runs: 0, runMs: 0, longestMs: 0, latestMs: 0, lockWaitMs: 0, unfinished: 0 };
  const row = rows.get(key) ?? { name, workqueue, ...nothing };
  rows.set(key, row);
  const took = returnedMs - enter.atMs;
  row.runs++;
  row.runMs += took;
  row.longestMs = Math.max(row.longestMs, took);
  if (!aside) row.latestMs = Math.max(row.latestMs, waitedMs ?? 0);
  if (wait !== null) row.lockWaitMs += enter.atMs - wait.atMs;
  if (isOpen) row.unfinished++;
}

function byTime(a: FlightRecord, b: FlightRecord): number {
  return a.atMs - b.atMs;
}

function eventLine(record: FlightRecord): string {
  const { atMs, cpu, kind, id, name, workqueue, delayMs, waitedMs, lock, holder } = record;
  const delay = delayMs === null || delayMs === 0 ? '' : ` in ${ms(delayMs)} ms`;
  const late = waitedMs === null ? '' : `, due for ${ms(waitedMs)} ms`;
  const by = holder === null ? '' : `, held by #${holder}`;
  const what = lock === null ? '' : ` for lock ${clean(lock)}${by}`;
  const at = atMs.toFixed(3).padStart(12);
  return `${at}  CPU ${cpu}  ${kind.padEnd(8)}  #${id} ${clean(name)} on ${clean(workqueue)}${delay}${late}${what}`;
}
